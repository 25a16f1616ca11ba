package kernel

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"cr/convert"
	"cr/regset"
	"cr/sys"
)

// ErrListener says that the calling task has a filter with a listener already,
// of which the kernel allows one.
var ErrListener = errors.New("a seccomp filter with a listener is installed already")

// Install puts a filter for calls, HostCalls() for one, on the calling thread,
// which must be locked (runtime.LockOSThread), and on what it executes and makes
// from then on. It returns the descriptor of the listener. A thread without
// CAP_SYS_ADMIN gives up gaining privileges by execve (no_new_privs), as the
// kernel demands.
func Install(calls []Calls) (listener int, err error) {
	program, err := Filter(calls)
	if err != nil {
		return -1, err
	}
	raw, err := bpf.Assemble(program)
	if err != nil {
		return -1, err
	}
	code := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		code[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	fprog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	// The filter is no sandbox: no need to make tasks slower for fear of what
	// they speculate (SPEC_ALLOW).
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	install := func() (int, unix.Errno) {
		fd, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&fprog)))
		return int(fd), e
	}
	fd, e := install()
	if e == unix.EACCES {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return -1, fmt.Errorf("set no_new_privs: %w", err)
		}
		fd, e = install()
	}
	switch e {
	case 0:
		return fd, nil
	case unix.EBUSY:
		return -1, ErrListener
	case unix.EINVAL, unix.ENOSYS:
		return -1, fmt.Errorf("this kernel has no seccomp user notification (Linux 5.5 has it): %w", e)
	}
	return -1, fmt.Errorf("install the seccomp filter: %w", e)
}

// Intercept is the kernel side of all tasks that have one filter.
type Intercept struct {
	listener *listener
	turns    turns

	// Log is told why calls failed, and of failures that are no call's.
	// It may be called by several goroutines at once; nil is fine.
	Log func(error)

	// Creator names the program and its version in images.
	Creator string

	// CPU is what programs are told of the CPU, if the filter is one for
	// ExecCalls.
	CPU *convert.CPU

	// Low makes 32-bit powerpc programs fit for kernels of either word size, if
	// the filter is one for ExecCalls: their stacks are moved below 3 GiB, and
	// they do not learn how large cache blocks are. See LowByHand.
	Low   bool
	execs execs

	// Fault makes cpuid fault in all tasks, and the kernel side answer it by CPU.
	// The filter is one for FaultCalls, and KeepTasks has been called.
	Fault bool
}

// NewIntercept makes the kernel side of the filter whose listener is given.
func NewIntercept(fd int) (*Intercept, error) {
	l, err := newListener(fd)
	if err != nil {
		return nil, err
	}
	return &Intercept{listener: l}, nil
}

func (s *Intercept) log(err error) {
	if err != nil && s.Log != nil {
		s.Log(err)
	}
}

// Serve carries out calls until no task has the filter any more.
func (s *Intercept) Serve() error {
	var calls sync.WaitGroup
	for {
		n, err := s.listener.receive()
		if errors.Is(err, errHangup) {
			calls.Wait()
			return nil
		}
		if err != nil {
			return err
		}
		calls.Add(1)
		go func() {
			defer calls.Done()
			s.handle(n)
		}()
	}
}

// handle carries out one call and gives the caller its result.
func (s *Intercept) handle(n *notification) {
	which, err := whichCall(n)
	if err != nil {
		s.log(err)
		s.log(s.listener.answer(n, 0, err))
		return
	}
	switch which {
	case execCall:
		s.exec(n)
		return
	case sigactionCall:
		s.sigaction(n)
		return
	}
	if which == restartCall && isProbe(n) {
		s.log(s.listener.answer(n, probeAnswer, nil))
		return
	}
	var result int64
	var answered bool
	// A call that was interrupted may be made again before that is noticed.
	defer s.turns.take(n.tid)()
	c, err := s.caller(n)
	if err == nil {
		defer c.close()
		if which == checkpointCall {
			result, answered, err = s.checkpoint(n, c)
		} else {
			answered, err = s.restart(n, c)
		}
	}
	if err != nil && !quiet(err) {
		s.log(fmt.Errorf("%s called by pid %d: %w", which, n.tid, err))
	}
	if !answered {
		s.log(s.listener.answer(n, result, err))
	}
}

// quiet reports whether the errno says all that there is to say: the answer to
// whether the calls are there (sys.Available), and signals.
func quiet(err error) bool {
	return errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINTR)
}

// callKind is one of the two calls, or one that executes a program.
type callKind string

const (
	checkpointCall callKind = "checkpoint"
	restartCall    callKind = "restart"
	execCall       callKind = "execve"
	sigactionCall  callKind = "rt_sigaction"
)

// whichCall tells which call a notification is.
func whichCall(n *notification) (callKind, error) {
	for _, c := range hostCalls {
		arch, err := auditArch(c.ABI)
		if err != nil {
			return "", err
		}
		if arch != n.arch {
			continue
		}
		switch n.nr {
		case c.Checkpoint.Number:
			return checkpointCall, nil
		case c.Restart.Number:
			return restartCall, nil
		case uint32(sysExecve.number(c.ABI)), uint32(sysExecveat.number(c.ABI)):
			return execCall, nil
		case uint32(sysRtSigaction.number(c.ABI)):
			return sigactionCall, nil
		}
	}
	return "", fmt.Errorf("pid %d: system call %d of architecture %#x is none of ours: %w", n.tid, n.nr, n.arch, unix.ENOSYS)
}

// caller looks the caller of a call up.
func (s *Intercept) caller(n *notification) (*caller, error) {
	c, err := openCaller(n.tid)
	if err != nil {
		return nil, err
	}
	// Only now is it certain that the pid has not passed to another task.
	if !s.listener.waiting(n) {
		c.close()
		return nil, fmt.Errorf("pid %d waits no longer: %w", n.tid, unix.EINTR)
	}
	return c, nil
}

// checkpoint carries out a checkpoint call.
func (s *Intercept) checkpoint(n *notification, c *caller) (id int64, answered bool, err error) {
	pid, fd, flags := int(int32(n.args[0])), int(int32(n.args[1])), n.args[2]
	if flags&^sys.Tree != 0 {
		return 0, false, fmt.Errorf("flags %#x: %w", flags, unix.EINVAL)
	}
	o := CheckpointOptions{Tree: flags&sys.Tree != 0, Caller: c.tid, Answered: &answered, call: n, Creator: s.Creator}
	target, err := c.resolve(pid)
	if err != nil {
		return 0, false, err
	}
	pids, err := members(target, o.Tree)
	if err != nil {
		return 0, false, err
	}
	save := func() (int64, error) {
		// Who may be checkpointed can change until the tasks are frozen, as
		// they are when the first byte is written.
		may := func() error { return c.mayCheckpoint(target, o.Tree) }
		if err := may(); err != nil {
			return 0, err
		}
		f, err := c.file(fd, true)
		if err != nil {
			return 0, err
		}
		defer f.close()
		f.first, o.as = may, f.as
		u, err := Checkpoint(target, f, o)
		return int64(u), err
	}
	for _, p := range pids {
		if p == c.status.tgid {
			id, err = save()
			return id, answered, err
		}
	}
	return holdWhile(n, save)
}

// mayCheckpoint makes sure that the caller may checkpoint a process, with its
// descendants if so asked.
func (c *caller) mayCheckpoint(target int, descendants bool) error {
	pids, err := members(target, descendants)
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if pid == unix.Getpid() {
			return &RefusedError{PID: pid, Kind: "process", Reason: "it is the kernel side of the call", Errno: unix.EBUSY}
		}
		tids, err := threads(pid)
		if err == nil {
			for _, tid := range tids {
				err = mayTrace(c.tid, tid)
				if errors.Is(err, unix.ESRCH) && tid != target {
					err = nil // a thread that has gone meanwhile
				}
				if err != nil {
					break
				}
			}
		}
		if errors.Is(err, unix.ESRCH) && pid != target {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// holdWhile carries out a call while the caller is stopped, and gives the
// caller its result. Otherwise a signal might end the caller's wait, and the
// call fail or be made again although it has been carried out.
func holdWhile(n *notification, call func() (int64, error)) (result int64, answered bool, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	held, err := holdCaller(n.tid)
	if err != nil {
		// Something else traces the caller, or it has gone.
		result, err = call()
		return result, false, err
	}
	if !held.inCall(n) {
		return 0, true, firstError(held.detach(), fmt.Errorf("pid %d waits no longer: %w", n.tid, unix.EINTR))
	}
	result, err = call()
	if err != nil {
		result = -int64(Errno(err))
	}
	return result, true, firstError(err, held.finish(result))
}

func firstError(list ...error) error {
	for _, err := range list {
		if err != nil {
			return err
		}
	}
	return nil
}

// holdCaller stops a task that waits in a call. The thread must be locked.
func holdCaller(tid int) (*task, error) {
	if err := seize(tid, 0); err != nil {
		return nil, err
	}
	t := &task{tid: tid, pid: tid}
	if err := interrupt(tid); err != nil {
		return nil, err
	}
	_, err := new(tree).awaitStop(t)
	return t, err
}

// inCall reports whether a stopped task is still in the call that a
// notification is about, or in one like it.
func (t *task) inCall(n *notification) bool {
	regs, err := t.gprs()
	if err != nil || t.arch == nil {
		return false
	}
	nr, args, in := t.arch.Syscall(t.abi, regs)
	if !in || uint32(nr) != n.nr {
		return false
	}
	for i := 0; i < 3; i++ {
		if args[i] != n.args[i] {
			return false
		}
	}
	return true
}

// finish gives the call that a stopped task is in its result, and lets the task
// run on.
func (t *task) finish(result int64) error {
	regs, err := t.gprs()
	if err != nil {
		return err
	}
	t.arch.SetResult(t.abi, regs, result)
	if err := t.setRegset(regset.PRSTATUS, regs); err != nil {
		return err
	}
	return t.detach()
}

// restart carries out a restart call.
func (s *Intercept) restart(n *notification, c *caller) (answered bool, err error) {
	id, fd, flags := n.args[0], int(int32(n.args[1])), n.args[2]
	if flags != 0 {
		return false, fmt.Errorf("flags %#x: %w", flags, unix.EINVAL)
	}
	f, err := c.file(fd, false)
	if err != nil {
		return false, err
	}
	defer f.close()
	return RestartInto(c.tid, f, RestartOptions{ID: id, call: n, as: f.as, Warn: s.log})
}
