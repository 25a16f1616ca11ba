package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"cr/internal/proc"
)

var killCommand = &command{
	name:  "kill",
	args:  "[OPTION ...] NAME",
	short: "send a signal to what was restarted under a name",
	long: "The signal, SIGTERM unless another is given, goes to the first process. SIGKILL ends\n" +
		"all of them: the pid namespace, or where they have none of their own, the first\n" +
		"process and its descendants. A pid that has come to another process is never hit.",
	examples: []string{
		"cr kill solver",
		"cr kill -s KILL solver",
	},
	setup: func(flags *pflag.FlagSet) func([]string) (int, error) {
		name := flags.StringP("signal", "s", "TERM", "send `SIGNAL`, a name or a number")
		return func(args []string) (int, error) {
			if len(args) != 1 {
				return 0, usageError("give one name")
			}
			sig, err := parseSignal(*name)
			if err != nil {
				return 0, err
			}
			n, err := openNamed(args[0])
			if err != nil {
				return 0, err
			}
			err = n.kill(sig)
			if errors.Is(err, unix.ESRCH) {
				err = fmt.Errorf("%q has ended: %w", n.Name, err)
			}
			return 0, err
		}
	},
}

// parseSignal parses a signal as kill(1) takes it.
func parseSignal(text string) (unix.Signal, error) {
	if v, err := strconv.ParseUint(text, 10, 8); err == nil && v <= 64 {
		return unix.Signal(v), nil
	}
	name := strings.ToUpper(text)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if s := unix.SignalNum(name); s != 0 {
		return s, nil
	}
	return 0, usageError(fmt.Sprintf("there is no signal %q", text))
}

// kill sends the program a signal, unix.ESRCH if it has ended.
func (n *named) kill(sig unix.Signal) error {
	if !n.started() {
		return fmt.Errorf("%q has not come up yet: %w", n.Name, unix.EAGAIN)
	}
	target := n.Root
	if sig == unix.SIGKILL && n.Init.PID != 0 {
		target = n.Init
	}
	pidfd, err := n.open(target)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	if sig == unix.SIGKILL && n.Init.PID == 0 {
		if err := killDescendants(n.Root.PID); err != nil {
			return err
		}
	}
	return unix.PidfdSendSignal(pidfd, sig, nil, 0)
}

// killDescendants ends the descendants of a process, which is stopped so that
// it makes no more.
func killDescendants(pid int) error {
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		return err
	}
	// A call that it is in may take a while.
	for i := 0; i < 1000; i++ {
		if _, state, err := startOf(pid); err != nil || state == 'T' || state == 'Z' {
			break
		}
		time.Sleep(time.Millisecond)
	}
	children, err := proc.Children(pid)
	if err != nil {
		return err
	}
	for _, c := range children {
		if err := killDescendants(c); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
		if err := unix.Kill(c, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}
