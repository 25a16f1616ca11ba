package x86

import "cr/regset"

// Results inside the kernel of a call that a signal or a tracer interrupted
// (include/linux/errno.h).
const (
	restartSys    = -512
	restartNoIntr = -513
	restartNoHand = -514
	restartBlock  = -516
)

const (
	// noCall in orig_rax says that the task is in no system call.
	noCall = ^uint64(0)
	// insnLen is the length of syscall, sysenter and int 0x80. A 32-bit call
	// by sysenter or syscall returns behind an int 0x80 of the vDSO, so
	// stepping back makes the call again there too.
	insnLen = 2
)

// PC is rip or eip.
func (arch) PC(_ regset.ABI, prstatus []byte) uint64 {
	g, ok := gprsOf(prstatus)
	if !ok {
		return 0
	}
	return g.get(g.ip)
}

// SP is rsp or esp.
func (arch) SP(_ regset.ABI, prstatus []byte) uint64 {
	g, ok := gprsOf(prstatus)
	if !ok {
		return 0
	}
	return g.get(g.sp)
}

// SetPC writes rip or eip.
func (arch) SetPC(_ regset.ABI, prstatus []byte, pc uint64) {
	if g, ok := gprsOf(prstatus); ok {
		g.set(g.ip, pc)
	}
}

// SetSP writes rsp or esp.
func (arch) SetSP(_ regset.ABI, prstatus []byte, sp uint64) {
	if g, ok := gprsOf(prstatus); ok {
		g.set(g.sp, sp)
	}
}

// inCall reports whether orig_rax holds a system call's number. The number is
// an int to the kernel (syscall_get_nr of include/asm/syscall.h).
func (g gprs) inCall() bool { return int32(g.get(g.origAX)) >= 0 }

// Syscall reads number and arguments of the call that the task is in.
func (arch) Syscall(_ regset.ABI, prstatus []byte) (nr int, args [6]uint64, in bool) {
	g, ok := gprsOf(prstatus)
	if !ok || !g.inCall() {
		return 0, args, false
	}
	for i, r := range g.args {
		args[i] = g.get(r)
	}
	return int(int32(g.get(g.origAX))), args, true
}

// SetSyscall puts number and arguments where the call at pc expects them.
func (arch) SetSyscall(_ regset.ABI, prstatus []byte, pc uint64, nr int, args [6]uint64) {
	g, ok := gprsOf(prstatus)
	if !ok {
		return
	}
	g.set(g.ip, pc)
	g.set(g.ax, uint64(int64(nr)))
	g.set(g.origAX, noCall)
	for i, r := range g.args {
		g.set(r, args[i])
	}
}

// Result is rax or eax, as a signed number.
func (arch) Result(_ regset.ABI, prstatus []byte) int64 {
	g, ok := gprsOf(prstatus)
	if !ok {
		return 0
	}
	return g.signed(g.ax)
}

// SetResult writes rax or eax; orig_rax of -1 keeps the kernel from restarting
// the call.
func (arch) SetResult(_ regset.ABI, prstatus []byte, result int64) {
	if g, ok := gprsOf(prstatus); ok {
		g.set(g.ax, uint64(result))
		g.set(g.origAX, noCall)
	}
}

// Rewind does what arch_do_signal_or_restart does for a task without a handler
// to run. It makes the original call again where the kernel would make
// restart_syscall: what that one needs is kept in the kernel and does not move.
func (arch) Rewind(_ regset.ABI, prstatus []byte) bool {
	g, ok := gprsOf(prstatus)
	if !ok {
		return false
	}
	in, nr := g.inCall(), g.get(g.origAX)
	g.set(g.origAX, noCall)
	if !in {
		return false
	}
	switch g.signed(g.ax) {
	case restartSys, restartNoIntr, restartNoHand, restartBlock:
		g.set(g.ax, nr)
		g.set(g.ip, g.get(g.ip)-insnLen)
		return true
	}
	return false
}

// Retry writes rax or eax, and leaves orig_rax for the kernel.
func (arch) Retry(_ regset.ABI, prstatus []byte) {
	if g, ok := gprsOf(prstatus); ok && g.inCall() {
		result := int64(restartNoHand)
		g.set(g.ax, uint64(result))
	}
}

// Unenter steps back to the instruction, with the call's number in rax or eax.
func (a arch) Unenter(abi regset.ABI, prstatus []byte) {
	g, ok := gprsOf(prstatus)
	if !ok || !g.inCall() {
		return
	}
	g.set(g.ax, g.get(g.origAX))
	g.set(g.ip, g.get(g.ip)-insnLen)
	a.Skip(abi, prstatus)
}

// Skip sets orig_rax to -1, which is no call, and leaves rax as it is.
func (arch) Skip(_ regset.ABI, prstatus []byte) {
	if g, ok := gprsOf(prstatus); ok {
		g.set(g.origAX, noCall)
	}
}

// SyscallInsn is syscall for 64-bit tasks, int $0x80 for 32-bit ones.
func (arch) SyscallInsn(abi regset.ABI) []byte {
	if abi == regset.X86_64 {
		return []byte{0x0f, 0x05}
	}
	return []byte{0xcd, 0x80}
}
