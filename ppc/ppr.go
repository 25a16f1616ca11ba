package ppc

import (
	"fmt"

	"cr/regset"
)

// The thread priority in PPR, from very low (1) to very high (7). exec leaves
// medium low (DEFAULT_PPR in asm/processor.h).
const (
	pprShift      = 50
	pprField      = 7 << pprShift
	pprDefault    = 3 << pprShift
	pprMediumHigh = 5
)

// pprSet is NT_PPC_PPR: the program priority register, 8 bytes. Every 64-bit
// kernel has it, used or not.
var pprSet = set{
	note: regset.PPC_PPR, name: "NT_PPC_PPR", feature: FeaturePPR, access: regset.Regset,
	size: fixed(8), fields: words("ppr"),
	used: func(abi regset.ABI, data []byte) bool {
		p := abi.Order().Uint64(data) & pprField
		return p != 0 && p != pprDefault
	},
	// Priorities above medium high are the kernel's and the hypervisor's
	// (Power ISA, Book II, Program Priority Registers).
	check: func(_ *regset.Machine, abi regset.ABI, data []byte, r *report) {
		if p := abi.Order().Uint64(data) & pprField >> pprShift; p > pprMediumHigh {
			r.add("ppr", fmt.Sprintf("priority %d is not a program's to choose", p))
		}
	},
	fit: func(_ *regset.Machine, abi regset.ABI, data []byte) []byte {
		p := abi.Order().Uint64(data) & pprField
		if p == 0 {
			p = pprDefault
		}
		abi.Order().PutUint64(data, p)
		return data
	},
	initial: func(abi regset.ABI) []byte {
		data := make([]byte, 8)
		abi.Order().PutUint64(data, pprDefault)
		return data
	},
}
