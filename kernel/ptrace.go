package kernel

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"cr/cpu"
	"cr/image"
	"cr/regset"
)

// Requests of ptrace(2) that golang.org/x/sys does not name on every machine
// (include/uapi/linux/ptrace.h).
const (
	ptracePeekSiginfo  = 0x4209
	ptraceGetSigmask   = 0x420a
	ptraceSetSigmask   = 0x420b
	ptraceGetRseq      = 0x420f
	peekSiginfoShared  = 1
	eventStop          = 128
	sigsetSize         = 8
	siginfoSize        = 128
	syscallStop        = syscall.SIGTRAP | 0x80
	optTraceSysGood    = 1
	optTraceFork       = 2
	optTraceVfork      = 4
	optTraceClone      = 8
	optExitKill        = 1 << 20
	ptraceSetOptions   = 0x4200
	optSuspendSeccomp  = 1 << 21
	erestartRestartblk = 516
)

// A task is one that this thread traces. Its methods are for the thread that
// seized it only, as ptrace has it.
type task struct {
	tid, pid int
	abi      regset.ABI
	arch     regset.Arch
	stopped  bool
	killed   bool // before it could be detached from

	insn  uint64 // address of a system call instruction in the task
	end   uint64 // where it is when it has sent itself the marker behind that; 0 if it does not
	list  *callList
	home  *undoList // of the main thread of a caller of restart()
	child int       // tid of the last task that it has made
	regs  []byte    // NT_PRSTATUS as last read

	// What note has noted: NT_PRSTATUS at the stop, the same taken back to the
	// instruction of an interrupted call, whether there was one, what the task
	// shall run on with if the kernel does not make the call again, and its
	// signal mask.
	entry, saved, live []byte
	rewound            bool
	mask               uint64
	cpu                *regset.State // in the image that is being made
	marker             marker
	status             *status // since it is frozen
	kept               []byte  // what else system calls change: NT_PPC_PPR
	dispatch           image.Dispatch
	suspended          bool // its seccomp filters are put off
	jobStop            bool // it was stopped for job control
	ownFiles, ownFS    bool // of a thread: it has descriptors, a working directory for itself
}

// step is called before each request to a traced task, and before each change
// of its memory. Tests count them.
var step = func() {}

// ptrace makes a request. What data points to must stay in place meanwhile,
// which the directive sees to.
//
//go:uintptrescapes
func ptrace(request int, tid int, addr, data uintptr) error {
	step()
	_, err := ptraceResult(request, tid, addr, data)
	return err
}

// ptraceResult makes a request that has a result.
//
//go:uintptrescapes
func ptraceResult(request int, tid int, addr, data uintptr) (n uintptr, err error) {
	var e unix.Errno
	if k := keeperElsewhere(); k != nil {
		n, e = k.request(request, tid, addr, data)
	} else {
		n, e = rawPtrace(request, tid, addr, data)
	}
	if e != 0 {
		return 0, e
	}
	return n, nil
}

// rawPtrace is ptrace as this thread makes it.
//
//go:uintptrescapes
func rawPtrace(request int, tid int, addr, data uintptr) (uintptr, unix.Errno) {
	n, _, e := unix.Syscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), addr, data, 0, 0)
	return n, e
}

// seize begins to trace a task, without stopping it.
func seize(tid int, options uintptr) error {
	quietStops()
	if err := ptrace(unix.PTRACE_SEIZE, tid, 0, options); err != nil {
		return seizeError(tid, err)
	}
	return nil
}

// seizeError explains why a task cannot be traced.
func seizeError(tid int, err error) error {
	s, e := readStatus(tid)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return fmt.Errorf("pid %d: %w: %v", tid, err, errVfork) // keeper.take
	case errors.Is(e, unix.ESRCH) || e == nil && (s.state == 'Z' || s.state == 'X'):
		// One that is about to exit gives EPERM.
		return fmt.Errorf("pid %d has exited: %w", tid, unix.ESRCH)
	case e == nil && s.tracer != 0:
		return tracedAlready(tid, s.tracer)
	}
	return fmt.Errorf("trace pid %d: %w", tid, err)
}

// tracedAlready is the error for a task that somebody else traces, by the tid of
// that.
func tracedAlready(tid, tracer int) error {
	hint := "detach the debugger or strace"
	if conn := connectKeeper(tracer); conn >= 0 {
		unix.Close(conn)
		hint = "it runs under cr run --cpu, which answers its cpuid instructions: start it with --cpuid=leave"
	}
	if s, err := readStatus(tracer); err == nil {
		tracer = s.tgid
	}
	return &RefusedError{PID: tid, Kind: "task", Errno: unix.EBUSY,
		Reason: fmt.Sprintf("it is traced already, by pid %d", tracer), Hint: hint}
}

func interrupt(tid int) error { return ptrace(unix.PTRACE_INTERRUPT, tid, 0, 0) }

// errGone is what a task that exits while it is traced gives.
var errGone = fmt.Errorf("the task has exited: %w", unix.ESRCH)

// waitTask waits for the next stop of a traced task.
func waitTask(tid int) (unix.WaitStatus, error) {
	for {
		ws, _, err := waitFor(tid, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.ECHILD) && theKeeper != nil {
			return 0, fmt.Errorf("pid %d: %w", tid, errGone) // before it was held
		}
		if err != nil {
			return 0, fmt.Errorf("wait for pid %d: %w", tid, err)
		}
		if ws.Exited() || ws.Signaled() {
			return ws, fmt.Errorf("pid %d: %w", tid, errGone)
		}
		return ws, nil
	}
}

// waitFor is wait4(2) for a traced task, with WALL. It reports whether there was
// something, which there is always without WNOHANG.
func waitFor(tid, options int) (ws unix.WaitStatus, got bool, err error) {
	if k := keeperElsewhere(); k != nil {
		return k.wait(tid, options&unix.WNOHANG != 0)
	}
	pid, err := unix.Wait4(tid, &ws, options|unix.WALL, nil)
	return ws, err == nil && pid == tid, err
}

// stopEvent is the PTRACE_EVENT_* of a stop, 0 if it is another kind of stop.
func stopEvent(ws unix.WaitStatus) int { return int(uint32(ws) >> 16) }

// sets are buffers that hold any register set.
var sets = sync.Pool{New: func() any { return new([16 << 10]byte) }}

// regset reads a register set; nil without error if the task has none of that
// type.
func (t *task) regset(note regset.Note) ([]byte, error) {
	buf := sets.Get().(*[16 << 10]byte)
	defer sets.Put(buf)
	n, err := t.readRegset(note, buf[:])
	if n == 0 || err != nil {
		return nil, err
	}
	return append([]byte(nil), buf[:n]...), nil
}

// readRegset reads a register set into buf and returns its size, 0 if the task
// has none of that type.
func (t *task) readRegset(note regset.Note, buf []byte) (int, error) {
	iov := unix.Iovec{Base: &buf[0]}
	iov.SetLen(len(buf))
	err := ptrace(unix.PTRACE_GETREGSET, t.tid, uintptr(note), uintptr(unsafe.Pointer(&iov)))
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENODATA) ||
		errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EIO) || errors.Is(err, unix.ENXIO) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("pid %d: read register set %#x: %w", t.tid, uint32(note), err)
	}
	return int(iov.Len), nil
}

func (t *task) setRegset(note regset.Note, data []byte) error {
	iov := unix.Iovec{Base: &data[0]}
	iov.SetLen(len(data))
	err := ptrace(unix.PTRACE_SETREGSET, t.tid, uintptr(note), uintptr(unsafe.Pointer(&iov)))
	if err != nil {
		return fmt.Errorf("pid %d: write register set %#x: %w", t.tid, uint32(note), err)
	}
	return nil
}

// gprs reads the general registers, and learns from their size what ABI the
// task has at present. The result is valid until the next call.
func (t *task) gprs() ([]byte, error) {
	const most = 512 // larger than NT_PRSTATUS of any ABI
	if t.regs == nil {
		t.regs = make([]byte, most)
	}
	n, err := t.readRegset(regset.PRSTATUS, t.regs[:most])
	if err != nil {
		return nil, err
	}
	t.regs = t.regs[:n]
	regs := t.regs
	abi, err := abiOf(len(regs))
	if err != nil {
		return nil, fmt.Errorf("pid %d: %w", t.tid, err)
	}
	if t.abi != abi {
		t.abi, t.arch = abi, cpu.For(abi)
	}
	return regs, nil
}

func (t *task) sigmask() (mask uint64, err error) {
	var set [sigsetSize]byte
	if err := ptrace(ptraceGetSigmask, t.tid, sigsetSize, uintptr(unsafe.Pointer(&set[0]))); err != nil {
		return 0, fmt.Errorf("pid %d: read the signal mask: %w", t.tid, err)
	}
	return ownLayout.sigset(set[:]), nil
}

func (t *task) setSigmask(mask uint64) error {
	var set [sigsetSize]byte
	ownLayout.putSigset(set[:], mask)
	if err := ptrace(ptraceSetSigmask, t.tid, sigsetSize, uintptr(unsafe.Pointer(&set[0]))); err != nil {
		return fmt.Errorf("pid %d: set the signal mask: %w", t.tid, err)
	}
	return nil
}

// pendingSignals reads a queue of pending signals without taking them from it:
// siginfo_t as this program's own ABI lays it out.
func (t *task) pendingSignals(shared bool) ([][]byte, error) {
	var all [][]byte
	for {
		const batch = 16
		buf := make([]byte, batch*siginfoSize)
		args := struct {
			off   uint64
			flags uint32
			nr    int32
		}{uint64(len(all)), 0, batch}
		if shared {
			args.flags = peekSiginfoShared
		}
		n, err := ptraceResult(ptracePeekSiginfo, t.tid, uintptr(unsafe.Pointer(&args)), uintptr(unsafe.Pointer(&buf[0])))
		if err != nil {
			return nil, fmt.Errorf("pid %d: read pending signals: %w", t.tid, err)
		}
		for i := 0; i < int(n); i++ {
			all = append(all, buf[i*siginfoSize:(i+1)*siginfoSize:(i+1)*siginfoSize])
		}
		if int(n) < batch {
			return all, nil
		}
	}
}

// rseq reads the registration of restartable sequences.
func (t *task) rseq() (ptr uint64, size, signature, flags uint32, err error) {
	var c struct {
		ptr                    uint64
		size, signature, flags uint32
		pad                    uint32
	}
	err = ptrace(ptraceGetRseq, t.tid, unsafe.Sizeof(c), uintptr(unsafe.Pointer(&c)))
	if errors.Is(err, unix.EIO) || errors.Is(err, unix.EINVAL) {
		return 0, 0, 0, 0, nil // a kernel without rseq
	}
	if err != nil {
		return 0, 0, 0, 0, fmt.Errorf("pid %d: read the rseq registration: %w", t.tid, err)
	}
	return c.ptr, c.size, c.signature, c.flags, nil
}

// detach lets a stopped task run on.
func (t *task) detach() error {
	if !t.stopped {
		return nil
	}
	t.stopped = false
	err := ptrace(unix.PTRACE_DETACH, t.tid, 0, 0)
	if t.killed = errors.Is(err, unix.ESRCH); t.killed {
		return nil
	}
	if err != nil {
		return fmt.Errorf("detach from pid %d: %w", t.tid, err)
	}
	return nil
}
