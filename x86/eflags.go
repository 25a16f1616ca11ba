package x86

import "cr/regset"

// Flags of EFLAGS that are of interest here (include/uapi/asm/processor-flags.h).
const (
	flagFixed = 1 << 1 // reads as one
	flagIF    = 1 << 9
	flagIOPL  = 3 << 12
	flagNT    = 1 << 14
	flagVM    = 1 << 17

	// flagMask is what ptrace lets a tracer choose: CF, PF, AF, ZF, SF, TF,
	// DF, OF, RF, AC (FLAG_MASK_32 of arch/x86/kernel/ptrace.c).
	flagMask = 1<<0 | 1<<2 | 1<<4 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11 | 1<<16 | 1<<18
)

// checkFlags refuses the flags that would give a program other rights or
// another mode; all others that ptrace does not take are dropped by fitFlags.
func checkFlags(g gprs, out *regset.Problems) {
	f := g.get(g.flags)
	if f&flagIOPL != 0 {
		problem(out, namePRSTATUS, "eflags", "I/O privilege level %d cannot be restored", f&flagIOPL>>12)
	}
	if f&flagVM != 0 {
		problem(out, namePRSTATUS, "eflags", "virtual 8086 mode cannot be restored")
	}
}

func fitFlags(m *regset.Machine, f uint64) uint64 {
	mask := uint64(flagMask)
	if kernel64(m) {
		mask |= flagNT
	}
	return f&mask | flagIF | flagFixed
}
