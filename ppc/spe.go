package ppc

import "cr/regset"

const sizeSPE = 35 * 4

// speSet is NT_PPC_SPE: the high words of r0 to r31, the accumulator and
// SPEFSCR, 140 bytes (arch/powerpc/kernel/ptrace/ptrace-spe.c).
var speSet = set{
	note: regset.PPC_SPE, name: "NT_PPC_SPE", feature: FeatureSPE, access: regset.Regset, bits: 32,
	size: fixed(sizeSPE),
	fields: func(regset.ABI) []field {
		return append(array(numbered("ev%dh", 32), 0, 4), field{"acc", 32 * 4, 8}, field{"spefscr", 34 * 4, 4})
	},
	used:    anyBit,
	initial: zeros(sizeSPE),
}
