package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Messages between front and the others: packets with a type in the first byte.
const (
	msgSignal = 'k' // front to parent: a signal for the program, in the second byte
	msgStatus = 's' // parent to front: how the program ended; see status
	msgLog    = 'l' // kernel side to front: a line for the user
)

// status is a message about how the program ended.
type status struct {
	wait unix.WaitStatus
	last bool // it left no descendants
}

func (s status) message() []byte {
	w := uint32(s.wait)
	b := []byte{msgStatus, byte(w), byte(w >> 8), byte(w >> 16), byte(w >> 24), 0}
	if s.last {
		b[5] = 1
	}
	return b
}

func parseStatus(b []byte) (status, error) {
	if len(b) != 6 || b[0] != msgStatus {
		return status{}, fmt.Errorf("malformed message %q", b)
	}
	w := uint32(b[1]) | uint32(b[2])<<8 | uint32(b[3])<<16 | uint32(b[4])<<24
	return status{unix.WaitStatus(w), b[5] != 0}, nil
}

// front starts the kernel side, passes on signals, and ends as the program does.
func (r *runner) front() (int, error) {
	ours, theirs, err := socketpair()
	if err != nil {
		return 0, err
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, notIgnored(passedOn)...)
	pid, err := r.startWith("kernel", theirs, -1)
	if err != nil {
		return 0, err
	}
	unix.Close(theirs)

	messages := make(chan []byte)
	go func() {
		defer close(messages)
		for {
			b, err := receive(ours)
			if err != nil || len(b) == 0 {
				return
			}
			messages <- b
		}
	}()
	var ended *status
	for {
		select {
		case s := <-signals:
			if sig, ok := s.(syscall.Signal); ok && !fromTerminal(sig) {
				// If the parent is gone, so will be the answer.
				_ = send(ours, []byte{msgSignal, byte(sig)})
			}
		case b, ok := <-messages:
			if !ok {
				w, err := await(pid)
				switch {
				case ended != nil:
					return exitAs(ended.wait), nil
				case err == nil && w.ExitStatus() == failed:
					return failed, nil // it has said why
				}
				return 0, errors.New("the process that started the program has been killed")
			}
			if b[0] == msgLog {
				fmt.Fprintf(os.Stderr, "cr run: %s\n", b[1:])
				continue
			}
			s, err := parseStatus(b)
			if err != nil {
				return 0, err
			}
			if !s.last {
				return exitAs(s.wait), nil
			}
			ended = &s // the others will end too, but may have something to say
		}
	}
}

// startWith starts another role that inherits two descriptors.
func (r *runner) startWith(role string, front, socket int) (int, error) {
	for _, fd := range []int{front, socket} {
		if fd < 0 {
			continue
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return 0, err
		}
	}
	return r.start(role, front, socket)
}

// passedOn are the signals that a user may send to front and means for the
// program.
var passedOn = []os.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2,
	unix.SIGALRM,
}

// notIgnored leaves out signals that were ignored when this program started:
// they stay so, in the program that it runs too.
func notIgnored(list []os.Signal) []os.Signal {
	var kept []os.Signal
	for _, s := range list {
		if !signal.Ignored(s) {
			kept = append(kept, s)
		}
	}
	return kept
}

// fromTerminal reports whether a terminal has probably sent a signal: then the
// program has it already.
func fromTerminal(s syscall.Signal) bool {
	switch s {
	case unix.SIGINT, unix.SIGQUIT:
		fd, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
		if err != nil {
			return false
		}
		defer unix.Close(fd)
		group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
		return err == nil && group == unix.Getpgrp()
	}
	return false
}

// exitAs returns the exit status of a program that has ended, or ends this one
// by the signal that ended the other.
func exitAs(w unix.WaitStatus) int {
	if !w.Signaled() {
		return w.ExitStatus()
	}
	sig := w.Signal()
	runtime.LockOSThread() // a thread does not get past a signal that it sends itself
	// No core of this program; and the runtime's handlers would say more than
	// the signal does.
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	var byDefault [64]byte // struct sigaction of every machine, SIG_DFL
	unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&byDefault[0])), 0, 8, 0, 0)
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), sig)
	return 128 + int(sig)
}
