package kernel

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"cr/regset"
)

// A CallError is a system call that failed when a task was made to make it.
type CallError struct {
	TID   int
	Call  string
	Errno unix.Errno
}

// Error names the task, the call and the errno.
func (e *CallError) Error() string {
	return fmt.Sprintf("pid %d: %s in the task: %v", e.TID, e.Call, e.Errno)
}

// Unwrap returns the errno.
func (e *CallError) Unwrap() error { return e.Errno }

// allSignals is a signal mask that blocks all that can be blocked.
const allSignals = ^uint64(0)

// failCall, set by tests only, says with which errno a call fails instead of
// being made; 0 lets it be made.
var failCall func(nr sysno) unix.Errno

// failed is the error of a call that a test makes fail, or nil.
func (t *task) failed(nr sysno) error {
	if failCall == nil {
		return nil
	}
	if errno := failCall(nr); errno != 0 {
		return &CallError{t.tid, nr.String(), errno}
	}
	return nil
}

// call makes a stopped task make a system call, and returns its result. The
// task's registers are lost: whoever lets the task run on writes them first.
// Signals must be blocked in the task. A result that is an errno is a
// *CallError.
func (t *task) call(nr sysno, args ...uint64) (uint64, error) {
	if err := t.failed(nr); err != nil {
		return 0, err
	}
	u := t.home
	switch {
	case u == nil || u.gone && !u.records:
		return t.make(nr, args)
	case u.records:
		return 0, u.note(nr, args)
	}
	if nr == sysClone3 {
		t.insn = u.birth
		defer func() { t.insn = u.insn }()
	}
	return u.around(nr, args, func() (uint64, error) { return t.make(nr, args) })
}

// make does what call does.
func (t *task) make(nr sysno, args []uint64) (uint64, error) {
	number := nr.number(t.abi)
	if number < 0 {
		return 0, &CallError{t.tid, nr.String(), unix.ENOSYS}
	}
	result, err := t.callNumber(number, args...)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", nr, err)
	}
	return t.result(nr, result)
}

// result is what a call has returned: a number, or an errno as a *CallError.
func (t *task) result(nr sysno, result int64) (uint64, error) {
	if result < 0 && result >= -4095 {
		return 0, &CallError{t.tid, nr.String(), unix.Errno(-result)}
	}
	if t.abi.WordSize() == 4 {
		return uint64(uint32(result)), nil
	}
	return uint64(result), nil
}

// callNumber makes a task make the system call with a number; the result is as
// the call returned it.
func (t *task) callNumber(number int, args ...uint64) (int64, error) {
	var a [6]uint64
	copy(a[:], args)
	if t.list != nil && len(args) < 6 {
		results, err := t.callListed([]listed{{number, a}})
		if err != nil {
			return 0, err
		}
		return results[0], nil
	}
	if err := t.setOutFor(t.insn, number, a); err != nil {
		return 0, err
	}
	if t.end != 0 {
		if err := t.toMarker(t.end, nil); err != nil {
			return 0, err
		}
		return markedResult(t.abi, t.regs), nil
	}
	for i := 0; i < 2; i++ { // the stop on entry, the stop on exit
		if err := t.toSyscallStop(); err != nil {
			return 0, err
		}
	}
	regs, err := t.gprs()
	if err != nil {
		return 0, err
	}
	return t.arch.Result(t.abi, regs), nil
}

// setOutFor gives a task the registers with which it makes a call at an address.
func (t *task) setOutFor(pc uint64, number int, args [6]uint64) error {
	regs, err := t.anyRegs()
	if err != nil {
		return err
	}
	t.arch.SetSyscall(t.abi, regs, pc, number, args)
	return t.setRegset(regset.PRSTATUS, regs)
}

// anyRegs are registers that a task has had, which do where all that matter are set.
func (t *task) anyRegs() ([]byte, error) {
	if len(t.regs) > 0 {
		return t.regs, nil
	}
	return t.gprs()
}

// errFault is a signal that the task raised when it should have made a call.
var errFault = errors.New("the task faulted when it was made to make a system call")

// toSyscallStop lets a task run to the next entry to or exit from a system call.
func (t *task) toSyscallStop() error {
	return t.runTo(unix.PTRACE_SYSCALL, func(sig unix.Signal) (there, taken bool, err error) {
		return sig == syscallStop, sig == t.marker.sig, nil
	})
}

// runTo lets a task run, by a request of ptrace, to a stop for a signal that is
// asked about: whether that is the one, or was taken.
func (t *task) runTo(request int, at func(unix.Signal) (there, taken bool, err error)) error {
	deliver := uintptr(0)
	for {
		if err := ptrace(request, t.tid, 0, deliver); err != nil {
			return fmt.Errorf("pid %d: resume: %w", t.tid, err)
		}
		ws, err := waitTask(t.tid)
		if err != nil {
			t.stopped = false
			return err
		}
		deliver = 0
		switch sig := ws.StopSignal(); {
		case stopEvent(ws) == eventStop:
			// A stop for job control: go on.
		case stopEvent(ws) != 0:
			// It has made a task.
			var child uintptr
			if err := ptrace(unix.PTRACE_GETEVENTMSG, t.tid, 0, uintptr(unsafe.Pointer(&child))); err != nil {
				return fmt.Errorf("pid %d: learn of its child: %w", t.tid, err)
			}
			t.child = int(child)
		case sig == syscall.SIGSTOP:
			// The one signal that cannot be blocked. The process is stopped by
			// it once nobody traces it any more.
			deliver = uintptr(sig)
		default:
			there, taken, err := at(sig)
			if there || err != nil {
				return err
			}
			if !taken {
				return fmt.Errorf("pid %d: %w: %v", t.tid, errFault, sig)
			}
		}
	}
}

// mmap maps memory in a task. Its arguments are those of mmap(2), offset in
// bytes.
func (t *task) mmap(addr, length uint64, prot, flags uint32, fd int, offset uint64) (uint64, error) {
	if t.abi.WordSize() == 4 {
		offset >>= 12 // mmap2 counts in 4096 bytes, whatever the page size
	}
	return t.call(sysMmap, addr, length, uint64(prot), uint64(flags), uint64(int64(fd)), offset)
}

// memory is the memory of a process, by address. It can be read and written
// whatever the protection of the pages is.
type memory struct{ f *os.File }

func openMemory(pid int) (memory, error) {
	f, err := os.OpenFile("/proc/"+strconv.Itoa(pid)+"/mem", os.O_RDWR, 0)
	if err != nil {
		return memory{}, err
	}
	return memory{f}, nil
}

func (m memory) read(addr uint64, b []byte) error {
	if _, err := m.f.ReadAt(b, int64(addr)); err != nil {
		return fmt.Errorf("read memory at %#x: %w", addr, ended(err))
	}
	return nil
}

// ended gives an errno to the end of file that stands for memory whose process
// has ended (mem_rw in fs/proc/base.c).
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("its process has ended: %w", unix.ESRCH)
	}
	return err
}

func (m memory) write(addr uint64, b []byte) error {
	step()
	if _, err := m.f.WriteAt(b, int64(addr)); err != nil {
		return fmt.Errorf("write memory at %#x: %w", addr, ended(err))
	}
	return nil
}

func (m memory) close() error { return m.f.Close() }
