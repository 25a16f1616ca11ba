package ppc

import "cr/regset"

// hashkeyrSet is NT_PPC_HASHKEYR: the key of the hashst and hashchk
// instructions, 8 bytes. exec chooses it at random, so that no value says
// whether a program uses them.
var hashkeyrSet = set{
	note: regset.PPC_HASHKEYR, name: "NT_PPC_HASHKEYR", feature: FeatureHASHKEYR, access: regset.Regset, bits: 64,
	size: fixed(8), fields: words("hashkeyr"),
	used: func(regset.ABI, []byte) bool { return false },
}
