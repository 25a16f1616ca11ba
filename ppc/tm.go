package ppc

import "cr/regset"

const reasonTransaction = "the task is in a transaction, which cannot be restored"

const sizeTMSPR = 3 * 8

// tmSPRSet is NT_PPC_TM_SPR: the registers of transactional memory outside of a
// transaction, 24 bytes (arch/powerpc/kernel/ptrace/ptrace-tm.c).
var tmSPRSet = set{
	note: regset.PPC_TM_SPR, name: "NT_PPC_TM_SPR", feature: FeatureTM, access: regset.Regset,
	size: fixed(sizeTMSPR), fields: words("tfhar", "texasr", "tfiar"), used: anyBit, initial: zeros(sizeTMSPR),
}

// The checkpointed registers: the values that a transaction falls back on.
// They are there in a transaction only, and refused.
var (
	tmGPRSet  = checkpointedSet(regset.PPC_TM_CGPR, "NT_PPC_TM_CGPR", gprSet.size, gprSet.fields)
	tmFPRSet  = checkpointedSet(regset.PPC_TM_CFPR, "NT_PPC_TM_CFPR", fprSet.size, fprSet.fields)
	tmVMXSet  = checkpointedSet(regset.PPC_TM_CVMX, "NT_PPC_TM_CVMX", vmxSet.size, vmxSet.fields)
	tmVSXSet  = checkpointedSet(regset.PPC_TM_CVSX, "NT_PPC_TM_CVSX", vsxSet.size, vsxSet.fields)
	tmTARSet  = checkpointedSet(regset.PPC_TM_CTAR, "NT_PPC_TM_CTAR", tarSet.size, tarSet.fields)
	tmPPRSet  = checkpointedSet(regset.PPC_TM_CPPR, "NT_PPC_TM_CPPR", pprSet.size, pprSet.fields)
	tmDSCRSet = checkpointedSet(regset.PPC_TM_CDSCR, "NT_PPC_TM_CDSCR", dscrSet.size, dscrSet.fields)
)

// checkpointedSet is a set of checkpointed registers, laid out like the running
// ones and named so with a c before them.
func checkpointedSet(n regset.Note, name string, size func(regset.ABI) int, fields func(regset.ABI) []field) set {
	return set{
		note: n, name: name, feature: FeatureTM, access: regset.Regset,
		size: size,
		fields: func(abi regset.ABI) []field {
			c := fields(abi)
			for i := range c {
				c[i].name = "c" + c[i].name
			}
			return c
		},
		used:    func(regset.ABI, []byte) bool { return true },
		unsaved: reasonTransaction,
		check: func(_ *regset.Machine, _ regset.ABI, _ []byte, r *report) {
			r.add("", reasonTransaction)
		},
	}
}

// checkpointed reports whether a set is one of those.
func checkpointed(n regset.Note) bool {
	return n >= regset.PPC_TM_CGPR && n <= regset.PPC_TM_CDSCR && n != regset.PPC_TM_SPR
}
