package ppc

import "cr/regset"

// tarSet is NT_PPC_TAR: the target address register, 8 bytes.
var tarSet = set{
	note: regset.PPC_TAR, name: "NT_PPC_TAR", feature: FeatureTAR, access: regset.Regset,
	size: fixed(8), fields: words("tar"), used: anyBit, initial: zeros(8),
}

// words lays out 64-bit registers.
func words(names ...string) func(regset.ABI) []field {
	return func(regset.ABI) []field { return array(names, 0, 8) }
}

// anyBit is the use of registers that exec leaves zero.
func anyBit(_ regset.ABI, data []byte) bool { return nonzero(data) }
