package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"

	"cr/image"
)

// A fault is a signal that the kernel forces upon a task: if the task blocks
// SIGSEGV, or ignores it, it is made not to, and its process loses its handler
// (force_sig_info_to_task in kernel/signal.c). As nothing has happened that the
// task knows of, the keeper puts all that back. The handler it knows from the
// filter, which hands over rt_sigaction for SIGSEGV. Whether the signal was blocked
// the missing handler shows; where there was none it is inferred from other
// signals that mean the same.

// sigIgnore is SIG_IGN.
const sigIgnore = 1

// sigaction takes note of what a caller will have SIGSEGV do, and lets the call
// proceed.
func (s *Intercept) sigaction(n *notification) {
	if k := theKeeper; k != nil && n.args[1] != 0 {
		k.noteAction(n)
	}
	s.log(s.listener.proceed(n))
}

func (k *keeper) noteAction(n *notification) {
	st, err := readStatus(n.tid)
	if err != nil {
		return // it is gone
	}
	mem, err := openMemory(n.tid)
	if err != nil {
		return
	}
	defer mem.close()
	abi := hostABI
	if arch, err := auditArch(hostABI); err != nil || arch != n.arch {
		abi = narrowABI(hostABI)
	}
	l := layoutOf(abi)
	b := make([]byte, l.actionSize())
	if mem.read(n.args[1], b) != nil {
		return // the call fails with EFAULT
	}
	a := l.action(b)
	k.mu.Lock()
	defer k.mu.Unlock()
	if t := k.find(st.tgid); t != nil {
		t.segv = &a
	}
}

// restoreSEGV puts back what a fault has done to SIGSEGV, in a task that is
// stopped by it.
func (k *keeper) restoreSEGV(t *task, kept *keptTask) error {
	t.pid = k.process(t.tid, kept)
	k.mu.Lock()
	var before *image.Action
	if p := k.find(t.pid); p != nil {
		before = p.segv
	}
	k.mu.Unlock()
	mask, err := t.sigmask()
	if err != nil {
		return err
	}
	const segv = 1 << (unix.SIGSEGV - 1)
	const alike = 1<<(unix.SIGBUS-1) | 1<<(unix.SIGFPE-1) | 1<<(unix.SIGILL-1)
	blocked := mask&alike == alike
	if before != nil && before.Handler != 0 {
		s, err := readStatus(t.tid)
		if err != nil {
			return err
		}
		if s.sigCgt&segv != 0 {
			return nil // it has its handler still
		}
		blocked = blocked || before.Handler != sigIgnore
		if err := t.restoreAction(before); err != nil {
			return fmt.Errorf("pid %d loses its handler of SIGSEGV, which it had blocked when it executed cpuid: %w", t.tid, err)
		}
	}
	if blocked {
		return t.setSigmask(mask | segv)
	}
	return nil
}

// restoreAction makes a task set what SIGSEGV does. The arguments of the call lie
// below the red zone of its stack.
func (t *task) restoreAction(a *image.Action) error {
	mem, err := openMemory(t.tid)
	if err != nil {
		return err
	}
	defer mem.close()
	insn, err := (&process{pid: t.pid, tasks: []*task{t}, mem: mem}).findInsn()
	if err != nil {
		return err
	}
	if err := t.hold(); err != nil {
		return err
	}
	t.insn = insn
	const below = 512
	at := (t.arch.SP(t.abi, t.live) - below) &^ 15
	arg := layoutOf(t.abi).putAction(*a)
	was := make([]byte, len(arg))
	if err := mem.read(at, was); err != nil {
		return firstError(t.release(), err)
	}
	err = mem.write(at, arg)
	if err == nil {
		_, err = t.call(sysRtSigaction, uint64(unix.SIGSEGV), at, 0, sigsetSize)
	}
	return firstError(err, mem.write(at, was), t.release())
}
