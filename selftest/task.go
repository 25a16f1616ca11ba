package selftest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"cr/internal/proc"
)

// Requests of ptrace(2) that package syscall has not for every machine.
const (
	ptracePeekUser  = 3
	ptraceDetach    = 17
	ptraceSeize     = 0x4206
	ptraceInterrupt = 0x4207

	waitAll = 0x40000000 // __WALL
)

// ptrace makes a request; the calling goroutine is locked to its thread.
//
//go:uintptrescapes
func ptrace(request, pid int, addr, data uintptr) error {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PTRACE, uintptr(request), uintptr(pid), addr, data, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// peekUser reads a word of the task's user area, at an offset that is the
// tracer's own, whatever the ABI of the task.
func peekUser(pid int, offset uintptr) (uint64, error) {
	var word uintptr
	err := ptrace(ptracePeekUser, pid, offset, uintptr(unsafe.Pointer(&word)))
	runtime.KeepAlive(&word)
	return uint64(word), err
}

// pcOffset is the offset of the program counter in the user area.
func pcOffset() uintptr {
	switch runtime.GOARCH {
	case "amd64":
		return 16 * 8
	case "386":
		return 12 * 4
	}
	return 32 * unsafe.Sizeof(uintptr(0)) // PT_NIP
}

// errExited is returned where a task has ended.
var errExited = errors.New("the task has exited")

// stopped calls f while the task is in a ptrace stop, and then lets it run on.
func stopped(pid int, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := ptrace(ptraceSeize, pid, 0, 0); err != nil {
		return fmt.Errorf("seize %d: %w", pid, err)
	}
	if err := ptrace(ptraceInterrupt, pid, 0, 0); err != nil {
		return fmt.Errorf("interrupt %d: %w", pid, err)
	}
	if err := waitStop(pid); err != nil {
		return err
	}
	err := f()
	if derr := ptrace(ptraceDetach, pid, 0, 0); derr != nil && err == nil {
		err = fmt.Errorf("detach from %d: %w", pid, derr)
	}
	return err
}

// waitStop waits for a tracee to stop. If it has ended instead, that is left to
// be waited for.
func waitStop(pid int) error {
	const (
		exited, stopped, noWait = 4, 2, 0x01000000 // WEXITED, WSTOPPED, WNOWAIT
		byPID                   = 1                // P_PID
		codeAt                  = 8                // si_code in siginfo_t
		trapped                 = 4                // CLD_TRAPPED
	)
	var info [128]byte
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, byPID, uintptr(pid),
			uintptr(unsafe.Pointer(&info)), exited|stopped|noWait|waitAll, 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			return fmt.Errorf("wait for %d: %w", pid, errno)
		}
		break
	}
	if code := *(*int32)(unsafe.Pointer(&info[codeAt])); code < trapped {
		return fmt.Errorf("%d: %w", pid, errExited)
	}
	_, err := syscall.Wait4(pid, nil, waitAll, nil)
	return err
}

// pc reads the program counter of a task.
func pc(pid int) (uint64, error) {
	var at uint64
	err := stopped(pid, func() (err error) {
		at, err = peekUser(pid, pcOffset())
		return err
	})
	return at, err
}

// awaitSpin waits until a task of the program is at its spin. A task whose
// restart is not over is still traced, and cannot be asked.
func awaitSpin(pid int, p *program, limit time.Time) error {
	spin, _ := p.spinCode()
	var pause poll
	for {
		at, err := pc(pid)
		switch {
		case errors.Is(err, syscall.ESRCH), errors.Is(err, errExited):
			return err
		case err != nil && isZombie(pid):
			return fmt.Errorf("%d: %w", pid, errExited)
		case err == nil && at == spin:
			return nil
		case time.Now().After(limit):
			return fmt.Errorf("%d has not come to spin: pc %#x, %v", pid, at, err)
		}
		pause.wait()
	}
}

// giveWay lets a program that spins run when nothing else does: on a machine of
// one processor it would take half of that from what is tested.
func giveWay(pid int) error {
	const idle = 5      // SCHED_IDLE
	var priority uint32 // struct sched_param
	_, _, errno := syscall.Syscall(syscall.SYS_SCHED_SETSCHEDULER, uintptr(pid), idle, uintptr(unsafe.Pointer(&priority)))
	if errno != 0 {
		return fmt.Errorf("sched_setscheduler for %d: %w", pid, errno)
	}
	return nil
}

// release takes the branch to itself away, in one task's memory.
func release(pid int, p *program) error {
	addr, nop := p.releaseCode()
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt([]byte{nop}, int64(addr))
	return err
}

// runs reports whether the task has the program's code in its memory.
func runs(pid int, p *program) bool {
	f, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return false
	}
	defer f.Close()
	spin, code := p.spinCode()
	b := make([]byte, len(code))
	_, err = f.ReadAt(b, int64(spin))
	return err == nil && bytes.Equal(b, code)
}

// family is descendants by the lists of children that the kernel keeps, which are
// few to read where there are many processes; a list may miss one while threads
// end. A kernel without CONFIG_PROC_CHILDREN has none.
func family(root int) []int {
	if _, err := os.Stat(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid())); err != nil {
		return descendants(root)
	}
	list := []int{root}
	for i := 0; i < len(list); i++ {
		born, _ := proc.Children(list[i]) // none if it has gone
		list = append(list, born...)
	}
	return list
}

// poll is the pause between two looks at a process, which are longer and longer:
// on a slow machine of one processor each look takes from what is awaited.
type poll time.Duration

func (p *poll) wait() {
	const first, most = poll(time.Millisecond), poll(10 * time.Millisecond)
	if *p = *p * 3 / 2; *p < first {
		*p = first
	} else if *p > most {
		*p = most
	}
	time.Sleep(time.Duration(*p))
}

// descendants lists a process and those that it and its children started, as
// far as they live.
func descendants(root int) []int {
	children := make(map[int][]int)
	names, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, n := range names {
		if pid, err := strconv.Atoi(n.Name()); err == nil {
			if parent, ok := parentOf(pid); ok {
				children[parent] = append(children[parent], pid)
			}
		}
	}
	list := []int{root}
	for i := 0; i < len(list); i++ {
		list = append(list, children[list[i]]...)
	}
	return list
}

// statFields reads the fields of /proc/PID/stat behind the name, the first of
// which is the state.
func statFields(pid int) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	// The name is in parentheses and may have some in it.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 2 {
		return nil, fmt.Errorf("/proc/%d/stat: %q", pid, b)
	}
	return f, nil
}

// parentOf is the pid of a process's parent.
func parentOf(pid int) (int, bool) {
	f, err := statFields(pid)
	if err != nil {
		return 0, false
	}
	parent, err := strconv.Atoi(f[1])
	return parent, err == nil
}

// stateOf is the letter for a process's state, as proc(5) has it.
func stateOf(pid int) (byte, error) {
	f, err := statFields(pid)
	if err != nil {
		return 0, err
	}
	return f[0][0], nil
}

func isZombie(pid int) bool {
	state, err := stateOf(pid)
	return err == nil && state == 'Z'
}

// awaitState waits until a process is in a state.
func awaitState(pid int, state byte, limit time.Time) error {
	var pause poll
	for {
		s, err := stateOf(pid)
		if err != nil || s == state {
			return err
		}
		if time.Now().After(limit) {
			return fmt.Errorf("%d is in state %c, not %c", pid, s, state)
		}
		pause.wait()
	}
}
