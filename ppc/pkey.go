package ppc

import "cr/regset"

const (
	sizePkey   = 3 * 8
	sizePkeyIn = 8 // what PTRACE_SETREGSET takes of it: AMR alone
)

// pkeySet is NT_PPC_PKEY: AMR, IAMR and UAMOR, 24 bytes. The kernel takes AMR
// alone, of which it keeps the bits that its UAMOR allows; IAMR follows from the
// keys that mappings have (pkey_set in arch/powerpc/kernel/ptrace/ptrace-view.c).
var pkeySet = set{
	note: regset.PPC_PKEY, name: "NT_PPC_PKEY", feature: FeaturePKEY, access: regset.Regset, bits: 64,
	sized: func(_ regset.ABI, data []byte) bool {
		return len(data) == sizePkey || len(data) == sizePkeyIn
	},
	fields: words("amr", "iamr", "uamor"),
	// exec denies all keys that a program may allocate
	// (arch/powerpc/mm/book3s64/pkeys.c).
	used: func(abi regset.ABI, data []byte) bool {
		o := abi.Order()
		if len(data) == sizePkeyIn {
			return nonzero(data)
		}
		uamor := o.Uint64(data[16:])
		return o.Uint64(data)&uamor != uamor
	},
	fit: func(_ *regset.Machine, _ regset.ABI, data []byte) []byte { return data[:sizePkeyIn] },
}
