package selftest

import (
	"strconv"

	"cr/regset"
)

// Bits of AT_HWCAP and AT_HWCAP2 (arch/powerpc/include/uapi/asm/cputable.h).
const (
	ppcAltivec = 0x10000000
	ppcFPU     = 0x08000000
	ppcSPE     = 0x00800000
	ppcDFP     = 0x00000400
	ppcVSX     = 0x00000080

	ppc2Arch207 = 0x80000000
	ppc2DSCR    = 0x20000000
	ppc2TAR     = 0x04000000
	ppc2Arch31  = 0x00040000
)

var ppcClasses = []*Class{
	{Name: "gpr", Regs: ppcGPR},
	{Name: "fpr", Regs: ppcFPR, Needs: need{hwcap: ppcFPU, name: "PPC_FEATURE_HAS_FPU"}},
	{Name: "vmx", Regs: ppcVMX, Needs: need{hwcap: ppcAltivec, name: "PPC_FEATURE_HAS_ALTIVEC"}},
	{Name: "vsx", Regs: ppcVSXRegs, Needs: need{hwcap: ppcVSX, name: "PPC_FEATURE_HAS_VSX"}},
	{Name: "dfp", Regs: ppcDRN, Needs: need{hwcap: ppcDFP, name: "PPC_FEATURE_HAS_DFP"}},
	{Name: "tar", Regs: ppcTAR, Needs: need{hwcap2: ppc2TAR, name: "PPC_FEATURE2_TAR"}},
	{Name: "dscr", Regs: ppcDSCR, Needs: need{hwcap2: ppc2DSCR, name: "PPC_FEATURE2_DSCR"}},
	{Name: "ppr", Regs: ppcPPR, Needs: need{hwcap2: ppc2Arch207, name: "PPC_FEATURE2_ARCH_2_07"}},
	{Name: "spe", Regs: ppcSPERegs, Needs: need{hwcap: ppcSPE, name: "PPC_FEATURE_HAS_SPE"}},
	{Name: "modes", Regs: ppcModes},
	{Name: "dexcr", Regs: ppcDEXCR, Needs: need{hwcap2: ppc2Arch31, name: "PPC_FEATURE2_ARCH_3_1"}, Lacks: "the kernel has no PR_PPC_SET_DEXCR"},
	{Name: "hashkey", Regs: ppcHashKey, Needs: need{hwcap2: ppc2Arch31, name: "PPC_FEATURE2_ARCH_3_1"}},
}

func ppcGPR(abi regset.ABI, symbol func(string) uint64) []Reg {
	l := &layout{abi: abi}
	w := abi.WordSize()
	for i := 0; i < 32; i++ {
		r := l.filled("r"+strconv.Itoa(i), w)
		switch {
		case i == 0 || i >= 3 && i <= 12:
			r.clobbered()
		case i == 1:
			r.P = number(abi.Order(), w, symbol("area"))
			r.Q = r.P
		}
	}
	// sc changes CR0, XER and CTR besides general registers
	// (Documentation/arch/powerpc/syscall64-abi.rst).
	cr := l.filled("cr", w)
	cr.P, cr.Q = low32(abi, cr.P), low32(abi, cr.Q)
	cr.CallMask = number(abi.Order(), w, 0x0fffffff)
	l.fixed("xer", w, 0xa0000055, 0x4000002a).clobbered()
	l.word += w / 4
	l.filled("ctr", w).clobbered()
	l.filled("lr", w)
	return l.regs
}

// low32 clears the upper half of a 64-bit number.
func low32(abi regset.ABI, b []byte) []byte {
	if len(b) == 8 && abi.BigEndian {
		return append(make([]byte, 4), b[4:]...)
	}
	return append(append([]byte(nil), b[:4]...), make([]byte, len(b)-4)...)
}

func ppcFPR(abi regset.ABI, _ func(string) uint64) []Reg {
	l := &layout{abi: abi}
	for i := 0; i < 32; i++ {
		l.filled("f"+strconv.Itoa(i), 8)
	}
	// The upper half of FPSCR is class dfp's.
	l.fixed("fpscr", 8, 0xb4ad520a, 0xaa52a451).Mask = number(abi.Order(), 8, 0xffffffff)
	return l.regs
}

func ppcVMX(abi regset.ABI, _ func(string) uint64) []Reg {
	l := &layout{abi: abi}
	for i := 0; i < 32; i++ {
		l.filled("v"+strconv.Itoa(i), 16)
	}
	vscr := func(v uint64) []byte {
		b := make([]byte, 16)
		at := b[:4]
		if abi.BigEndian {
			at = b[12:]
		}
		copy(at, number(abi.Order(), 4, v))
		return b
	}
	l.regs = append(l.regs, Reg{Name: "vscr", P: vscr(1), Q: vscr(1 << 16)})
	l.filled("vrsave", 4)
	return l.regs
}

func ppcVSXRegs(abi regset.ABI, _ func(string) uint64) []Reg {
	l := &layout{abi: abi}
	for i := 0; i < 64; i++ {
		l.filled("vs"+strconv.Itoa(i), 16).Unit = 8
	}
	return l.regs
}

func ppcDRN(abi regset.ABI, _ func(string) uint64) []Reg {
	l := &layout{abi: abi}
	l.fixed("fpscr", 8, 5<<32, 2<<32)
	return l.regs
}

func ppcTAR(abi regset.ABI, _ func(string) uint64) []Reg {
	l := &layout{abi: abi}
	l.filled("tar", abi.WordSize())
	return l.regs
}

func ppcDSCR(abi regset.ABI, _ func(string) uint64) []Reg {
	l := &layout{abi: abi}
	l.fixed("dscr", abi.WordSize(), 0x01a55ac3, 0x005aa53c)
	return l.regs
}

// The kernel gives a task medium low priority when it returns from a system
// call.
func ppcPPR(abi regset.ABI, _ func(string) uint64) []Reg {
	l := &layout{abi: abi}
	l.fixed("ppr", 4, 0x00080000, 0x000c0000).clobbered()
	return l.regs
}

// ppcModes are modes of prctl.
func ppcModes(abi regset.ABI, _ func(string) uint64) []Reg {
	l := &layout{abi: abi}
	l.fixed("fpexc", 4, 1, 2)
	l.fixed("unalign", 4, 1, 2)
	return l.regs
}

// ppcDEXCR are the controls that prctl gives: editable, and set or clear, now
// and on exec.
func ppcDEXCR(abi regset.ABI, _ func(string) uint64) []Reg {
	const set, clear = 0x0b, 0x15
	l := &layout{abi: abi}
	l.fixed("ibrtpd", 4, set, clear)
	l.fixed("srapd", 4, clear, set)
	return l.regs
}

// ppcHashKey is what the program makes of the key, whose value it cannot know.
func ppcHashKey(abi regset.ABI, _ func(string) uint64) []Reg {
	if abi.WordSize() != 8 {
		return nil
	}
	l := &layout{abi: abi}
	l.fixed("difference of hashes", 8, 0, 0)
	l.fixed("hash instructions do nothing", 8, 0, 0)
	return l.regs
}

func ppcSPERegs(abi regset.ABI, symbol func(string) uint64) []Reg {
	if abi != regset.PPC {
		return nil
	}
	l := &layout{abi: abi}
	for i := 0; i < 32; i++ {
		r := l.filled("evr"+strconv.Itoa(i), 8)
		if i == 1 {
			copy(r.P[4:], number(abi.Order(), 4, symbol("area")))
			copy(r.Q[4:], r.P[4:])
		}
		if i == 0 || i >= 3 && i <= 12 {
			r.CallMask = []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}
		}
	}
	l.filled("acc", 8)
	l.fixed("spefscr", 4, 0xc0328c01, 0x3f0c7302)
	return l.regs
}
