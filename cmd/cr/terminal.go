package main

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"cr/kernel"
)

// terminal is the controlling terminal of a restart in the foreground. Where the
// program led a process group of its own it does so again, and cr does for that
// group what a shell does for a job, while cr itself is a job of the shell that
// stops and goes on with the program.
type terminal struct {
	sync.Mutex
	fd         int // -1 if there is none
	own        int // process group of cr
	root       int // pid of the program's first process
	group      int // process group of that
	foreground int // of the program's groups, the one in the foreground
}

func openTerminal() *terminal {
	t := &terminal{fd: -1, own: unix.Getpgrp()}
	if fd, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0); err == nil {
		t.fd = fd
	}
	return t
}

// give lets the program have the terminal, if cr has it.
func (t *terminal) give(made *kernel.Restarted) error {
	t.Lock()
	defer t.Unlock()
	var err error
	if t.group, err = unix.Getpgid(made.PID); err != nil {
		return err
	}
	t.root, t.foreground = made.PID, made.Foreground
	if t.foreground == 0 {
		t.foreground = t.group
	}
	t.toProgram()
	return nil
}

// toProgram puts the program's group in the foreground in place of cr's own.
func (t *terminal) toProgram() {
	if t.fd >= 0 && t.foreground != t.own && t.current() == t.own {
		t.set(t.foreground)
	}
}

// takeBack puts the group of cr in the foreground again, if one of the program
// is, or one that has gone.
func (t *terminal) takeBack() {
	t.Lock()
	defer t.Unlock()
	if t.fd < 0 || t.group == 0 {
		return
	}
	if now := t.current(); now != t.own && (now == t.group || now == t.foreground || unix.Kill(-now, 0) == unix.ESRCH) {
		t.set(t.own)
	}
}

// stopped stops cr, as the program has stopped.
func (t *terminal) stopped(sig unix.Signal) {
	if t.fd < 0 {
		return
	}
	// What the terminal sends to a group that both are in has stopped cr too:
	// then the program goes on by now, with the rest of its group.
	const pause = 20 * time.Millisecond
	time.Sleep(pause)
	if _, state, err := startOf(t.root); err != nil || state != 'T' {
		return
	}
	t.Lock()
	if now := t.current(); now != t.own && isDescendant(now) {
		t.foreground = now
	}
	t.Unlock()
	switch {
	case sig == unix.SIGSTOP:
		_ = unix.Kill(unix.Getpid(), sig)
	case !inSession(unix.Getppid()):
		// There is no shell that could let the group go on, which is why the
		// kernel would not have stopped the program.
		_ = unix.Kill(-t.group, unix.SIGCONT)
	default:
		_ = unix.Kill(0, sig)
	}
}

// isDescendant reports whether a process descends from cr.
func isDescendant(pid int) bool {
	for pid > 1 {
		if pid == unix.Getpid() {
			return true
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return false
		}
		_, rest, _ := strings.Cut(string(b), "\nPPid:")
		if n, err := fmt.Sscan(rest, &pid); n != 1 || err != nil {
			return false
		}
	}
	return false
}

// inSession reports whether a process is in the session of cr.
func inSession(pid int) bool {
	sid, err := unix.Getsid(pid)
	own, _ := unix.Getsid(0) // it cannot fail
	return err == nil && sid == own
}

// goOn lets the program go on, as cr does.
func (t *terminal) goOn() {
	t.Lock()
	defer t.Unlock()
	t.toProgram()
	if t.group != t.own {
		_ = unix.Kill(-t.group, unix.SIGCONT) // it may have ended
	} else {
		_ = unix.Kill(t.root, unix.SIGCONT)
	}
}

// current is the process group in the foreground; 0 if nobody knows.
func (t *terminal) current() int {
	group, err := unix.IoctlGetInt(t.fd, unix.TIOCGPGRP)
	if err != nil {
		return 0
	}
	return group
}

// set puts a process group in the foreground. Who is in the background would be
// stopped for it.
func (t *terminal) set(group int) {
	if !signal.Ignored(unix.SIGTTOU) {
		signal.Ignore(unix.SIGTTOU)
		defer signal.Reset(unix.SIGTTOU)
	}
	v := int32(group)
	// The group may have gone, and the terminal too.
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(t.fd), uintptr(uint32(unix.TIOCSPGRP)), uintptr(unsafe.Pointer(&v)))
}
