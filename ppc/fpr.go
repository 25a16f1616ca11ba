package ppc

import "cr/regset"

const sizeFPR = 33 * 8

// Bits of FPSCR that the architecture has: the low word, and in CPUs with
// decimal floating point its rounding mode above that. What mffs puts into the
// rest of the high word is undefined on 32-bit CPUs.
const (
	fpscrLow = 1<<32 - 1
	fpscrDRN = 7 << 32
)

func fpscr(abi regset.ABI, data []byte) uint64 { return abi.Order().Uint64(data[32*8:]) }

// fprSet is NT_PRFPREG: f0 to f31 and FPSCR, 264 bytes
// (arch/powerpc/kernel/ptrace/ptrace-fpu.c).
var fprSet = set{
	note: regset.PRFPREG, name: "NT_PRFPREG", feature: FeatureFPU, access: regset.Regset,
	size: fixed(sizeFPR),
	fields: func(regset.ABI) []field {
		return array(append(numbered("f%d", 32), "fpscr"), 0, 8)
	},
	used: func(abi regset.ABI, data []byte) bool {
		return nonzero(data[:32*8]) || fpscr(abi, data)&(fpscrDRN|fpscrLow) != 0
	},
	fit: func(m *regset.Machine, abi regset.ABI, data []byte) []byte {
		keep := uint64(fpscrLow)
		if m.Has.Has(FeatureDFP) {
			keep |= fpscrDRN
		}
		abi.Order().PutUint64(data[32*8:], fpscr(abi, data)&keep)
		return data
	},
	initial: zeros(sizeFPR),
}

func nonzero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return true
		}
	}
	return false
}

func zeros(n int) func(regset.ABI) []byte {
	return func(regset.ABI) []byte { return make([]byte, n) }
}
