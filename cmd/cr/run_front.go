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
	msgBegun  = 'b' // parent to front: the program is about to begin
	msgStop   = 't' // parent to front: job control has stopped the program, by the signal in the second byte
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

// front starts the kernel side, passes on signals, and stops and ends as the
// program does.
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
				passTo(ours, sig)
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
			switch {
			case b[0] == msgLog:
				fmt.Fprintf(os.Stderr, "cr run: %s\n", b[1:])
				continue
			case b[0] == msgBegun:
				// From here on the program decides whether the job stops. A shell
				// that is told of the stop earlier would take the terminal while
				// the program may still be reading from it.
				signal.Notify(signals, notIgnored(stops)...)
				continue
			case b[0] == msgStop && len(b) == 2:
				stopAs(unix.Signal(b[1]))
				passTo(ours, unix.SIGCONT)
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

// passTo has the parent send the program a signal.
func passTo(parent int, sig syscall.Signal) {
	// If the parent is gone, so will be the answer.
	_ = send(parent, []byte{msgSignal, byte(sig)})
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

// stops are those that stop front only if they have stopped the program. SIGTTOU
// is none: a write to the terminal would be tried again for ever.
var stops = []os.Signal{unix.SIGTSTP, unix.SIGTTIN}

// stopAs stops this process by the signal that has stopped the program, until it
// is sent SIGCONT.
func stopAs(sig unix.Signal) {
	runtime.LockOSThread() // a thread does not get past a signal that it sends itself
	defer runtime.UnlockOSThread()
	defer byDefault(sig)()
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), sig) // it cannot fail
}

// byDefault has a signal do what it does by default, until what it returns is
// called. The runtime does not give up a handler that it once had for SIGTSTP.
func byDefault(sig unix.Signal) (undo func()) {
	var dfl, old [64]byte // struct sigaction of every machine; SIG_DFL is 0
	set := func(act, old *[64]byte) {
		unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(act)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
	}
	set(&dfl, &old)
	return func() { set(&old, nil) }
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
	case unix.SIGTTIN:
		return true
	case unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP:
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
	byDefault(sig)
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), sig)
	return 128 + int(sig)
}
