package x86

import "cr/regset"

// NT_X86_SHSTK is the shadow stack pointer, which the kernel gives where the
// task has switched its shadow stack on (ssp_set of arch/x86/kernel/fpu/regset.c).
const shstkSize = 8

func shstkRegs(_ regset.ABI, data []byte) []regset.Reg {
	if len(data) != shstkSize {
		return nil
	}
	return []regset.Reg{reg("ssp", data)}
}

func shstkUsed(regset.ABI, []byte) bool { return true }

func shstkCheck(m *regset.Machine, abi regset.ABI, data []byte, out *regset.Problems) {
	if !checkSize(nameSHSTK, data, shstkSize, out) {
		return
	}
	ssp := le.Uint64(data)
	if limit := userLimit(m, abi); ssp >= limit {
		problem(out, nameSHSTK, "ssp", "%#x is no address of a user program, which ends at %#x", ssp, limit)
	}
	if ssp%shstkSize != 0 {
		problem(out, nameSHSTK, "ssp", "%#x is no multiple of %d", ssp, shstkSize)
	}
}

func shstkFit(_ *regset.Machine, _ regset.ABI, data []byte) []byte { return clone(data) }
