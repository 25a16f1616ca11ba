package x86

import "cr/regset"

// The bases of FS and GS are words of a 64-bit task's PRSTATUS set. The kernel
// takes any address below TASK_SIZE_MAX (putreg of arch/x86/kernel/ptrace.c).
func checkBases(m *regset.Machine, g gprs, out *regset.Problems) {
	limit := userLimit(m, regset.X86_64)
	for _, i := range []int{fsBase, gsBase} {
		if v := g.get(i); v >= limit {
			problem(out, namePRSTATUS, g.names[i], "%#x is no address of a user program, which ends at %#x", v, limit)
		}
	}
}
