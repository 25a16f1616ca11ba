package ppc

import "cr/regset"

const sizeVSX = 32 * 8

// vsxSet is NT_PPC_VSX: doubleword 1, the low half, of VSR 0 to 31, 256 bytes
// (arch/powerpc/kernel/ptrace/ptrace-vsx.c). The high halves are f0 to f31, and
// VSR 32 to 63 are v0 to v31.
var vsxSet = set{
	note: regset.PPC_VSX, name: "NT_PPC_VSX", feature: FeatureVSX, access: regset.Regset, bits: 64,
	size:    fixed(sizeVSX),
	fields:  func(regset.ABI) []field { return array(numbered("vs%dl", 32), 0, 8) },
	used:    anyBit,
	initial: zeros(sizeVSX),
}

// vsxCompatSet is the same set of 32-bit tasks of a 64-bit kernel, which have no
// note for it but PTRACE_GETVSRREGS.
var vsxCompatSet = set{
	note: regset.PPC_VSX, name: "NT_PPC_VSX", feature: FeatureVSX, access: regset.VSRRegs, bits: 32,
	size: vsxSet.size, fields: vsxSet.fields, used: vsxSet.used, initial: vsxSet.initial,
}
