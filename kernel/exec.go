package kernel

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"cr/convert"
	"cr/image"
)

const optTraceExec = 16 // PTRACE_O_TRACEEXEC

// exec lets a program be executed, tells it no more of the CPU than it shall
// know, and moves its stack where it shall be. Under cr run --cpu, and --3gb on
// some machines, the filter hands over execve and execveat too: the task is traced
// from the call to the first instruction of the new program and not any longer, so
// debuggers still work.
func (s *Intercept) exec(n *notification) {
	if s.Fault {
		if err := theKeeper.adopt(n.tid, s.CPU); err != nil && !errors.Is(err, unix.ESRCH) {
			s.log(fmt.Errorf("pid %d executes a program that %s: %w", n.tid, s.missed(err), err))
		}
		s.log(s.listener.proceed(n))
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := s.traceExec(n); err != nil && !errors.Is(err, unix.ESRCH) {
		s.log(fmt.Errorf("pid %d executes a program that %s: %w", n.tid, s.missed(err), err))
	}
}

// missed says what is wrong with a program that could not be changed.
func (s *Intercept) missed(err error) string {
	const sees, lies = "sees all of the CPU's features", "lies above 3 GiB"
	switch {
	case s.CPU == nil || errors.As(err, new(*highError)):
		return lies
	case s.Low:
		return sees + " and " + lies
	}
	return sees
}

// traceExec answers a call of execve or execveat, and changes the program that
// is about to begin if the call succeeds.
func (s *Intercept) traceExec(n *notification) error {
	st, err := readStatus(n.tid)
	if err == nil {
		var ours bool
		if ours, err = s.execs.seize(n.tid); ours {
			// A signal came before the answer to the call, which the task now
			// makes again.
			return s.listener.proceed(n)
		}
	}
	if err != nil {
		return firstError(s.listener.proceed(n), err)
	}
	t := &task{tid: n.tid, pid: st.tgid}
	err = s.listener.proceed(n)
	// A call that fails does not stop the task by itself. If it has succeeded
	// already, the task may have got another tid by it.
	if e := interrupt(n.tid); e != nil && !errors.Is(e, unix.ESRCH) {
		err = firstError(err, e)
	}
	done, e := t.awaitExec()
	if err = firstError(err, e); done {
		c := newcomer{cpu: s.CPU, low: s.Low}
		err = firstError(err, c.begin(t))
	}
	return firstError(err, s.execs.detach(n.tid, t))
}

// execs are the tasks that are traced from a call of execve on, by the tid that
// they had then.
type execs struct {
	sync.Mutex
	tids map[int]bool
}

// seize begins to trace a task, if it is not traced here already.
func (x *execs) seize(tid int) (already bool, err error) {
	x.Lock()
	defer x.Unlock()
	if x.tids[tid] {
		return true, nil
	}
	if err := seize(tid, optTraceExec|optTraceSysGood); err != nil {
		return false, err
	}
	if x.tids == nil {
		x.tids = make(map[int]bool)
	}
	x.tids[tid] = true
	return false, nil
}

// detach lets a task run on.
func (x *execs) detach(tid int, t *task) error {
	x.Lock()
	defer x.Unlock()
	delete(x.tids, tid)
	return t.detach()
}

// awaitExec waits until a task that was interrupted in execve has stopped, and
// reports whether it executes a new program. If so it is the leader of its
// process now, whatever it was.
func (t *task) awaitExec() (done bool, err error) {
	for {
		ws, err := t.waitEither()
		if err != nil {
			return false, err
		}
		t.stopped = true
		switch event := stopEvent(ws); {
		case event == unix.PTRACE_EVENT_EXEC:
			t.tid = t.pid
			return true, nil
		case event == eventStop:
			return false, nil
		}
		deliver := uintptr(0)
		if stopEvent(ws) == 0 {
			deliver = uintptr(ws.StopSignal())
		}
		if err := ptrace(unix.PTRACE_CONT, t.tid, 0, deliver); err != nil {
			return false, err
		}
	}
}

// waitEither waits for a task that may become its process's leader meanwhile:
// then its stop is reported with the leader's pid, and nothing wakes up who
// waits for its own.
func (t *task) waitEither() (unix.WaitStatus, error) {
	if t.tid == t.pid {
		return waitTask(t.tid)
	}
	for {
		gone := 0
		for _, pid := range []int{t.tid, t.pid} {
			ws, got, err := waitFor(pid, unix.WNOHANG)
			switch {
			case errors.Is(err, unix.ECHILD):
				gone++
			case err != nil && !errors.Is(err, unix.EINTR):
				return 0, fmt.Errorf("wait for pid %d: %w", pid, err)
			case !got:
			case ws.Exited() || ws.Signaled():
				return ws, fmt.Errorf("pid %d: %w", pid, errGone)
			default:
				return ws, nil
			}
		}
		if gone == 2 {
			return 0, fmt.Errorf("pid %d: %w", t.tid, errGone)
		}
		time.Sleep(time.Millisecond)
	}
}

// newcomer says what is to change in a program that is about to begin.
type newcomer struct {
	cpu    *convert.CPU // what it is told; nil: all
	low    bool         // its stack is moved below 3 GiB, if it is a 32-bit one
	faults bool         // cpuid is to fault in it
}

// begin changes a program that is about to begin: what it is told of the CPU, in
// the auxiliary vector on its stack, and in the one that the kernel keeps for
// /proc/PID/auxv, from which some programs read, and images; and where its stack
// is.
func (c *newcomer) begin(t *task) error {
	regs, err := t.gprs()
	if err != nil {
		return err
	}
	if t.arch == nil {
		return fmt.Errorf("tasks of this kind are not known: %w", unix.EOPNOTSUPP)
	}
	low := c.low && t.abi.WordSize() == 4
	if c.cpu == nil && !low {
		return nil
	}
	mem, err := openMemory(t.pid)
	if err != nil {
		return err
	}
	defer mem.close()
	n := &newStack{sp: t.arch.SP(t.abi, regs)}
	read := buffered(mem.read)
	if n.vectorAt, n.auxv, err = convert.Auxv(t.abi, n.sp, read); err != nil {
		return err
	}
	if c.cpu != nil {
		told, patches, err := c.cpu.Tell(t.abi, n.vectorAt, n.auxv, read)
		if err != nil {
			return err
		}
		for _, p := range patches {
			if err := mem.write(p.Addr, p.Data); err != nil {
				return err
			}
		}
		n.auxv = told
	}
	if low {
		convert.HideCacheBlock(t.abi, n.auxv)
		if err := mem.write(n.vectorAt, n.auxv); err != nil {
			return err
		}
	}
	return c.change(t, mem, n, low)
}

// newStack is the start of the stack of a program that is about to begin.
type newStack struct {
	sp, vectorAt uint64
	auxv         []byte
}

// buffered makes many small reads of a function that reads memory cheap.
func buffered(read func(uint64, []byte) error) func(uint64, []byte) error {
	const size = 4096
	var at uint64
	var page []byte
	return func(addr uint64, b []byte) error {
		if base := addr &^ (size - 1); page == nil || base != at {
			page = make([]byte, size)
			if err := read(base, page); err != nil {
				page = nil
				return err
			}
			at = base
		}
		if addr-at+uint64(len(b)) > size {
			return read(addr, b)
		}
		copy(b, page[addr-at:])
		return nil
	}
}

// change makes a task that is about to begin a program tell the kernel its
// auxiliary vector, moves its stack below 3 GiB if low is set, and lets cpuid
// fault.
func (c *newcomer) change(t *task, mem memory, n *newStack, low bool) error {
	// The task is in execve still.
	if err := t.toSyscallStop(); err != nil {
		return err
	}
	if err := t.hold(); err != nil {
		return err
	}
	err := t.changeHeld(&process{pid: t.pid, tasks: []*task{t}, mem: mem}, n, low)
	if c.faults {
		err = firstError(err, t.faultCPUID())
	}
	return firstError(err, t.release())
}

func (t *task) changeHeld(p *process, n *newStack, low bool) error {
	insn, err := p.findInsn()
	if err != nil {
		return err
	}
	t.insn = insn
	st, err := readStat(t.pid)
	if err != nil {
		return err
	}
	mm := mmOf(&st)
	if mm.Brk, err = t.call(sysBrk, 0); err != nil {
		return err
	}
	high := error(nil)
	if low {
		high = t.lowerStack(p, n, mm)
	}
	return firstError(high, t.keepMM(p.mem, n, mm))
}

// keepMM makes a task tell the kernel where things lie, and its auxiliary vector.
// The arguments of the call lie below the stack pointer.
func (t *task) keepMM(mem memory, n *newStack, mm *image.MM) error {
	const below, vectorAt = 16 << 10, 256
	at := n.sp&^0xfff - below
	args, err := mmMap(mm, at+vectorAt, len(n.auxv), -1)
	if err != nil {
		return err
	}
	b := append(append(args, make([]byte, vectorAt-len(args))...), n.auxv...)
	if err := mem.write(at, b); err != nil {
		return err
	}
	_, err = t.call(sysPrctl, prSetMM, prSetMMMap, at, uint64(len(args)), 0)
	if errors.Is(err, unix.EINVAL) {
		err = nil // a kernel without CONFIG_CHECKPOINT_RESTORE
	}
	return firstError(err, mem.write(at, make([]byte, len(b))))
}

// mmOf reads where things lie in an address space from /proc/PID/stat.
func mmOf(st *stat) *image.MM {
	return &image.MM{
		StartCode:  st.num(26),
		EndCode:    st.num(27),
		StartStack: st.num(28),
		StartData:  st.num(45),
		EndData:    st.num(46),
		StartBrk:   st.num(47),
		ArgStart:   st.num(48),
		ArgEnd:     st.num(49),
		EnvStart:   st.num(50),
		EnvEnd:     st.num(51),
	}
}
