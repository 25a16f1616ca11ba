package x86

import "cr/regset"

// NoteX86Permits is the bitmap of state components that the process may use,
// as arch_prctl(ARCH_GET_XCOMP_PERM) gives it: a 64-bit word.
const permitsSize = 8

// xPermit is the set of components that a process must ask for
// (XFEATURE_MASK_USER_DYNAMIC).
const xPermit = 1 << xTileData

func permitsRegs(_ regset.ABI, data []byte) []regset.Reg {
	if len(data) != permitsSize {
		return nil
	}
	return []regset.Reg{reg("xcomp_perm", data)}
}

func permitsUsed(_ regset.ABI, data []byte) bool {
	return len(data) == permitsSize && le.Uint64(data)&xPermit != 0
}

func permitsCheck(m *regset.Machine, abi regset.ABI, data []byte, out *regset.Problems) {
	if !checkSize(namePermits, data, permitsSize, out) {
		return
	}
	if _, ok := machineLayout(m)[xTileData]; !ok && permitsUsed(abi, data) {
		lacking(out, namePermits, xcomponents[xTileData].name, AMX)
	}
}

func permitsFit(m *regset.Machine, _ regset.ABI, data []byte) []byte {
	fit := make([]byte, permitsSize)
	le.PutUint64(fit, le.Uint64(data)&m.XFeatures)
	return fit
}

// lacking reports state of a feature that the machine has not.
func lacking(out *regset.Problems, set, reg string, feature regset.Mask) {
	name := featureName(feature)
	*out = append(*out, &regset.Problem{
		Set: set, Reg: reg, Feature: name, Reason: "is in use, and the machine has no " + name,
	})
}
