package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

var waitCommand = &command{
	name:  "wait",
	args:  "[OPTION ...] NAME",
	short: "wait for what was restarted under a name, and exit as it has",
	long: "The exit status is that of the program, or 128 and the number of the signal that\n" +
		"killed it. It can be had any number of times, by the user who restarted it, until\n" +
		"the name is used again, --forget is given, or the machine is booted.\n" +
		"Failures of cr itself have the exit status 125; with --print, which is for programs\n" +
		"that may exit with 125 too, cr says on standard output how the program ended, as\n" +
		"\"exited 3\" or \"killed SIGTERM\", and exits with 0.",
	examples: []string{
		"cr restart --detach --name solver image && cr wait solver",
		"cr wait --print solver",
	},
	setup: func(flags *pflag.FlagSet) func([]string) (int, error) {
		text := flags.Bool("print", false, "say how it ended instead of exiting the same way")
		forget := flags.Bool("forget", false, "then remove it from what cr ps lists")
		return func(args []string) (int, error) {
			if len(args) != 1 {
				return 0, usageError("give one name")
			}
			n, err := openNamed(args[0])
			if err != nil {
				return 0, err
			}
			ws, err := n.await()
			if err != nil {
				return 0, err
			}
			if *text {
				state, err := n.state()
				if err != nil {
					return 0, err
				}
				fmt.Println(state)
			}
			if *forget {
				if err := n.forget(); err != nil {
					return 0, err
				}
			}
			switch {
			case *text:
				return 0, nil
			case ws.Signaled():
				return 128 + int(ws.Signal()), nil
			}
			return ws.ExitStatus(), nil
		}
	},
}

// errLost says that nobody knows how a program has ended.
var errLost = errors.New("it has ended, and its status is lost: the cr that restarted it was killed before")

// await waits for the program to end.
func (n *named) await() (unix.WaitStatus, error) {
	const pause = 20 * time.Millisecond
	for {
		watched, err := n.watched()
		if err != nil {
			return 0, err
		}
		ws, ended, err := n.ended()
		if err != nil || ended {
			return ws, err
		}
		if !n.started() {
			if !watched {
				return 0, fmt.Errorf("%q was never restarted: the cr that should do it was killed", n.Name)
			}
			time.Sleep(pause)
			if n, err = openNamed(n.Name); err != nil {
				return 0, err
			}
			continue
		}
		pidfd, err := n.open(n.Root)
		if err == nil {
			err = pollExit(pidfd)
			unix.Close(pidfd)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return 0, err
		}
		if !watched {
			return 0, fmt.Errorf("%q: %w", n.Name, errLost)
		}
		time.Sleep(pause) // its cr is about to write the status
	}
}

// pollExit waits for the process of a pidfd to end.
func pollExit(pidfd int) error {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, -1)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
