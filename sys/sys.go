// Package sys makes the two system calls of checkpoint and restart from Go
// programs. The calls are there for programs that run under `cr run`, and on
// kernels that have them; docs/abi.md describes them.
//
// A call concerns whole processes, all threads of them. A Go program always has
// several, and is saved and comes back with all of them and their goroutines.
// What belongs to the world outside goes on meanwhile: time, for one, has
// passed, the monotonic clock that timers go by included.
package sys

import "syscall"

// Flags of Checkpoint. Other bits are reserved: EINVAL.
const (
	// Tree saves the descendants of the process with it.
	Tree = 1
)

// Checkpoint saves process pid to the descriptor fd, which is written
// sequentially from where it stands, and which may be that of a file, a pipe or
// a socket. Pid 0 is the caller's own process; other pids are those of the
// caller's pid namespace.
//
// It returns the identifier of the checkpoint, which is greater than 0. If the
// caller itself is among what was saved, Checkpoint returns once more, with
// identifier 0, in each process that is restarted from the image. An error is a
// syscall.Errno, ENOSYS if nothing provides the call; then fd may hold a
// part of an image, which restart refuses.
func Checkpoint(pid, fd int, flags uint) (id int, err error) {
	r, _, e := syscall.Syscall(Numbers.Checkpoint, uintptr(pid), uintptr(fd), uintptr(flags))
	if e != 0 {
		return 0, e
	}
	return int(r), nil
}

// Restart turns the calling process into the one that was saved in the image
// which it reads from descriptor fd, sequentially from where it stands. The
// identifier must be that of the image, or 0. There are no flags yet.
//
// It returns only if it fails, with a syscall.Errno, and then the process is as
// it was, but for what has been read from fd.
func Restart(id, fd int, flags uint) error {
	_, _, e := syscall.Syscall(Numbers.Restart, uintptr(id), uintptr(fd), uintptr(flags))
	if e != 0 {
		return e
	}
	return nil
}

// Available reports whether the two calls are there for the calling thread.
func Available() bool {
	// No process has pid -1, and the old owners of the number do not say ESRCH.
	_, err := Checkpoint(-1, -1, 0)
	return err == syscall.ESRCH
}
