package kernel

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// watchdog is a copy of this program that kills processes if this program ends
// before it has dismissed it. While the tasks of a tree are let go one after
// another, PTRACE_O_EXITKILL holds for some only: with a watchdog all processes go
// on or none does, as dismissing it is one system call.
type watchdog struct {
	pid  int
	hold *os.File // that this program lives
}

// newWatchdog starts a watchdog of processes.
func newWatchdog(pids []int) (*watchdog, error) {
	in, out, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("a pipe for the watchdog of the restart: %w", err)
	}
	defer in.Close()
	d := &watchdog{hold: out}
	all, old := unix.Sigset_t{}, unix.Sigset_t{}
	for i := range all.Val {
		all.Val[i]--
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// In the copy no handler of the Go runtime may run: it has this thread only.
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		out.Close()
		return nil, err
	}
	pid, errno := forkWatchdog(in.Fd(), out.Fd(), pids)
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil); err != nil {
		panic(err) // not with these arguments
	}
	if errno != 0 {
		out.Close()
		return nil, fmt.Errorf("make the watchdog of the restart: %w", errno)
	}
	d.pid = int(pid)
	return d, nil
}

// forkWatchdog returns in this program only. A copy of a Go program can do no more
// than system calls, on the stack that there is.
//
//go:norace
//go:nosplit
func forkWatchdog(in, out uintptr, pids []int) (uintptr, unix.Errno) {
	// Without a signal at its end, so that it is nobody's business.
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, 0, 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return pid, errno
	}
	var b byte
	unix.RawSyscall(unix.SYS_CLOSE, out, 0, 0)
	unix.RawSyscall(unix.SYS_READ, in, uintptr(unsafe.Pointer(&b)), 1) // until nobody can write
	for _, pid := range pids {
		unix.RawSyscall(unix.SYS_KILL, uintptr(pid), uintptr(unix.SIGKILL), 0)
	}
	for {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

// dismiss ends a watchdog: from now on the processes do not depend on this
// program. There may be none.
func (d *watchdog) dismiss() {
	if d == nil {
		return
	}
	_ = unix.Kill(d.pid, unix.SIGKILL)
	for {
		if _, err := unix.Wait4(d.pid, nil, unix.WALL, nil); err != unix.EINTR {
			break
		}
	}
	d.hold.Close()
}
