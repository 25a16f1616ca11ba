package ppc

import (
	"fmt"

	"cr/regset"
)

// Bits that a program has of the performance monitor's registers
// (SIER_USER_MASK, MMCR2_USER_MASK, MMCR0_USER_MASK in asm/reg.h).
const (
	sierUser  = 0x7fffff
	mmcr2User = 0x4020100804020000
	mmcr0User = 0x84000080 // FC, PMXE, PMAO
)

const sizePMU = 5 * 8

// pmuSet is NT_PPC_PMU, 40 bytes. The kernel ORs MMCR0 into the machine's when
// the task uses event based branches, so the privileged bits must not be there.
var pmuSet = set{
	note: regset.PPC_PMU, name: "NT_PPC_PMU", feature: FeaturePMU, access: regset.Regset, bits: 64,
	size: fixed(sizePMU), fields: words("siar", "sdar", "sier", "mmcr2", "mmcr0"), used: anyBit,
	check: func(_ *regset.Machine, abi regset.ABI, data []byte, r *report) {
		for _, c := range []struct {
			name string
			off  int
			user uint64
		}{{"sier", 16, sierUser}, {"mmcr2", 24, mmcr2User}, {"mmcr0", 32, mmcr0User}} {
			if v := abi.Order().Uint64(data[c.off:]); v&^c.user != 0 {
				r.add(c.name, fmt.Sprintf("%#x has bits that are the kernel's", v))
			}
		}
	},
	initial: zeros(sizePMU),
}
