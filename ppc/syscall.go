package ppc

import "cr/regset"

// Errors by which a system call asks to be made again
// (include/linux/errno.h). They never reach a program.
const (
	eRESTARTSYS           = 512
	eRESTARTNOINTR        = 513
	eRESTARTNOHAND        = 514
	eRESTART_RESTARTBLOCK = 516
)

const (
	trapSyscall = 0xc00      // by sc
	trapSCV     = 0x3000     // by scv, whose errors are negative results
	trapFlags   = 0xf        // low bits of trap that are no part of the vector
	noRestart   = 0x1        // in trap: the registers are final
	crSO        = 0x10000000 // CR0.SO: the call by sc failed
	maxErrno    = 4095
)

// sc is the instruction, "sc" with LEV 0, in both byte orders.
const sc = 0x44000002

// inSyscall reports whether the task is in a call whose registers the kernel
// still may change; after sigreturn it is not (trap_norestart).
func (g gpr) inSyscall() bool {
	return (g.vector() == trapSyscall || g.vector() == trapSCV) && g.get(ptTrap)&noRestart == 0
}

func (g gpr) vector() uint64 { return g.get(ptTrap) &^ trapFlags }

// leave takes the task out of the call it is in, if any.
func (g gpr) leave() {
	g.set(ptTrap, 0)
	g.set(ptResult, 0)
}

// Syscall reads the call that the task is in. The first argument is
// orig_gpr3, for r3 holds the result.
func (arch) Syscall(abi regset.ABI, prstatus []byte) (nr int, args [6]uint64, in bool) {
	g := gprs(abi, prstatus)
	if !g.inSyscall() {
		return 0, args, false
	}
	args[0] = g.get(ptOrigR3)
	for i := 1; i < len(args); i++ {
		args[i] = g.get(3 + i)
	}
	return int(int32(g.get(0))), args, true
}

// SetSyscall lays out r0 and r3 to r8 for the instruction at pc.
func (arch) SetSyscall(abi regset.ABI, prstatus []byte, pc uint64, nr int, args [6]uint64) {
	g := gprs(abi, prstatus)
	g.set(0, uint64(nr))
	for i, a := range args {
		g.set(3+i, a)
	}
	g.set(ptOrigR3, args[0])
	g.set(ptNIP, pc)
	g.set(ptCCR, g.get(ptCCR)&^crSO)
	g.leave()
}

// Result reads r3 and, after sc, CR0.SO. Results of 32-bit tasks that are no
// errors come zero-extended, as addresses want.
func (arch) Result(abi regset.ABI, prstatus []byte) int64 {
	g := gprs(abi, prstatus)
	r3 := g.get(3)
	switch {
	case g.vector() == trapSCV:
		if g.word == 4 && uint32(r3) > ^uint32(maxErrno) {
			return int64(int32(r3))
		}
		return int64(r3)
	case g.get(ptCCR)&crSO != 0:
		return -int64(r3)
	}
	return int64(r3)
}

// SetResult ends the call with a result: errno and CR0.SO after sc, the
// negative errno itself after scv.
func (arch) SetResult(abi regset.ABI, prstatus []byte, result int64) {
	g := gprs(abi, prstatus)
	if g.vector() != trapSCV {
		ccr := g.get(ptCCR) &^ crSO
		if result < 0 && result >= -maxErrno {
			result = -result
			ccr |= crSO
		}
		g.set(ptCCR, ccr)
	}
	g.set(3, uint64(result))
	g.leave()
}

// Rewind does what check_syscall_restart does without a handler
// (arch/powerpc/kernel/signal.c), but for ERESTART_RESTARTBLOCK: the kernel
// goes on by restart_syscall, whose state stays in the kernel that had it, so
// the call is made anew with its arguments.
func (arch) Rewind(abi regset.ABI, prstatus []byte) bool {
	g := gprs(abi, prstatus)
	if !g.inSyscall() {
		return false
	}
	r3 := g.get(3)
	if g.vector() == trapSCV {
		if r3 = -r3; g.word == 4 {
			r3 = uint64(uint32(r3))
		}
	} else if g.get(ptCCR)&crSO == 0 {
		return false
	}
	switch r3 {
	case eRESTARTSYS, eRESTARTNOINTR, eRESTARTNOHAND, eRESTART_RESTARTBLOCK:
	default:
		return false
	}
	g.set(3, g.get(ptOrigR3))
	g.set(ptNIP, g.get(ptNIP)-4)
	g.leave()
	return true
}

// Retry writes r3 and, after sc, CR0.SO, as the kernel has them before
// check_syscall_restart.
func (arch) Retry(abi regset.ABI, prstatus []byte) {
	g := gprs(abi, prstatus)
	switch {
	case !g.inSyscall():
	case g.vector() == trapSCV:
		result := -int64(eRESTARTNOHAND)
		g.set(3, uint64(result))
	default:
		g.set(3, eRESTARTNOHAND)
		g.set(ptCCR, g.get(ptCCR)|crSO)
	}
}

// Unenter steps back to the instruction, with the first argument in r3.
func (arch) Unenter(abi regset.ABI, prstatus []byte) {
	g := gprs(abi, prstatus)
	if !g.inSyscall() {
		return
	}
	g.set(3, g.get(ptOrigR3))
	g.set(ptNIP, g.get(ptNIP)-4)
	g.leave()
}

// Skip gives r0 a number that no call has: r3 is ENOSYS afterwards.
func (arch) Skip(abi regset.ABI, prstatus []byte) {
	gprs(abi, prstatus).set(0, ^uint64(0))
}

// SyscallInsn is "sc".
func (arch) SyscallInsn(abi regset.ABI) []byte {
	insn := make([]byte, 4)
	abi.Order().PutUint32(insn, sc)
	return insn
}
