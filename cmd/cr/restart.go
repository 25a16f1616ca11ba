package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"cr/kernel"
)

var restartCommand = &command{
	name:  "restart",
	args:  "[OPTION ...] [IMAGE]",
	short: "make processes from an image",
	long: "The image comes from standard input if none is named. The program goes on in the\n" +
		"foreground, and cr ends as it ends: with its exit status, or by its signal.\n" +
		"Descriptors that led out of what was checkpointed, a terminal or a pipe to\n" +
		"another program, become those of cr with the same numbers.\n" +
		"Failures of cr itself have the exit status 125.",
	examples: []string{
		"cr restart image",
		"cr restart <image",
		"cr restart --pids=new image",
	},
	setup: func(flags *pflag.FlagSet) func([]string) (int, error) {
		force := flags.Bool("force", false, "restart although files have changed since the checkpoint")
		pids := flags.String("pids", "namespace", "pids of the processes: `HOW` is \"namespace\" (those that they had,\n"+
			"in a namespace of their own), \"keep\" or \"new\"")
		clocks := flags.Bool("keep-clocks", false, "let CLOCK_MONOTONIC and CLOCK_BOOTTIME go on from where they were,\n"+
			"in a time namespace")
		return func(args []string) (int, error) {
			o := kernel.LaunchOptions{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}}
			o.Force, o.KeepClocks = *force, *clocks
			how, ok := map[string]kernel.PIDs{"namespace": kernel.NamespacePIDs, "keep": kernel.SamePIDs, "new": kernel.FreshPIDs}[*pids]
			if !ok {
				return 0, usageError(fmt.Sprintf("--pids=%s: it is namespace, keep or new", *pids))
			}
			o.PIDs = how
			in := io.Reader(os.Stdin)
			switch len(args) {
			case 0:
				// The image is read from descriptor 0, which the program
				// cannot have as well: it gets the terminal, if there is one.
				name := os.DevNull
				if isTerminal(os.Stdout) {
					name = "/dev/tty"
				}
				f, err := os.OpenFile(name, os.O_RDWR, 0)
				if err != nil {
					return 0, err
				}
				defer f.Close()
				o.Files[0] = f
			case 1:
				f, err := os.Open(args[0])
				if err != nil {
					return 0, err
				}
				defer f.Close()
				in = f
			default:
				return 0, usageError("give one image at most")
			}
			o.Progress = progress("restored")
			return restart(in, o)
		}
	},
}

// restart restarts an image in the foreground and returns its exit status.
func restart(in io.Reader, o kernel.LaunchOptions) (int, error) {
	made, err := kernel.Restart(in, o)
	if err != nil {
		return 0, err
	}
	// The terminal sends these to the program as well.
	signal.Ignore(unix.SIGINT, unix.SIGQUIT)
	forward := make(chan os.Signal, 8)
	signal.Notify(forward, unix.SIGTERM, unix.SIGHUP)
	go func() {
		for s := range forward {
			_ = unix.Kill(made.PID, s.(unix.Signal)) // it may have ended
		}
	}()
	if made.Listener >= 0 {
		side, err := kernel.NewIntercept(made.Listener)
		if err != nil {
			return 0, err
		}
		side.Creator = "cr " + version
		go func() {
			if err := side.Serve(); err != nil {
				fmt.Fprintln(os.Stderr, "cr restart:", err)
			}
		}()
	}
	ws, err := made.Wait()
	if err != nil {
		return 0, err
	}
	return exitAs(ws), nil
}
