package ppc

import (
	"fmt"

	"cr/regset"
)

// Bits below the address in the value of PTRACE_GET_DEBUGREG
// (asm/hw_breakpoint.h).
const (
	dabrRead      = 1 << 0
	dabrWrite     = 1 << 1
	dabrTranslate = 1 << 2
	dabrFlags     = 7
)

// dabrSet is NoteDebugreg: the value of PTRACE_GET_DEBUGREG, widened to 8
// bytes, in the task's byte order. It watches the doubleword at the address. On
// BookE the request gives the address alone, which does not tell what to
// watch for.
var dabrSet = set{
	note: regset.NoteDebugreg, name: "PPC_DEBUGREG", feature: FeatureDABR, access: regset.Debugreg,
	size: fixed(8), fields: words("dabr"), used: anyBit, initial: zeros(8),
	check: func(m *regset.Machine, abi regset.ABI, data []byte, r *report) {
		v := abi.Order().Uint64(data)
		if v == 0 {
			return
		}
		if a := v &^ dabrFlags; a >= taskSize(m, abi) {
			r.add("dabr", fmt.Sprintf("%#x is not an address of user memory", a))
		}
		if v&(dabrRead|dabrWrite) == 0 {
			r.add("dabr", "neither read nor write is watched: disarmed, or a BookE register whose mode ptrace does not give")
		}
		if v&dabrTranslate == 0 {
			r.add("dabr", "the translation bit, which the kernel insists on, is clear")
		}
	},
}
