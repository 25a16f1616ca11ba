package ppc

import "cr/regset"

const sizeEBB = 3 * 8

// ebbSet is NT_PPC_EBB: return address, handler and branch control of event
// based branches, 24 bytes. The kernel gives it once a task has opened an event
// for them. All bits are the program's own.
var ebbSet = set{
	note: regset.PPC_EBB, name: "NT_PPC_EBB", feature: FeatureEBB, access: regset.Regset,
	size: fixed(sizeEBB), fields: words("ebbrr", "ebbhr", "bescr"), used: anyBit,
}
