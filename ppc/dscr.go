package ppc

import (
	"fmt"

	"cr/regset"
)

// dscrBits are those of the data stream control register, ISA bits 39 to 63;
// the rest is reserved (Power ISA, Book II, Data Stream Control Register).
const dscrBits = 1<<25 - 1

// dscrSet is NT_PPC_DSCR, 8 bytes. Every 64-bit kernel has it. A task that has
// not set it has the machine's default, which is zero unless an administrator
// changed it.
var dscrSet = set{
	note: regset.PPC_DSCR, name: "NT_PPC_DSCR", feature: FeatureDSCR, access: regset.Regset,
	size: fixed(8), fields: words("dscr"), used: anyBit,
	check: func(_ *regset.Machine, abi regset.ABI, data []byte, r *report) {
		if v := abi.Order().Uint64(data); v&^dscrBits != 0 {
			r.add("dscr", fmt.Sprintf("%#x has reserved bits", v))
		}
	},
}
