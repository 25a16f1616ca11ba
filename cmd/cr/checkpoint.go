package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"cr/kernel"
)

var checkpointCommand = &command{
	name:  "checkpoint",
	args:  "[OPTION ...] PID",
	short: "save a process and its descendants",
	long: "The image goes to standard output, or to a file that only its owner can read,\n" +
		"which appears when it is whole. On a terminal, a bar shows how far it has come.\n" +
		"The processes run on, unless told otherwise, and are never left in between:\n" +
		"if the image cannot be made, they run on as if nothing had been.\n" +
		"A container is named by the pid of its first process: cr says what of its\n" +
		"namespaces an image cannot hold.",
	examples: []string{
		"cr checkpoint 1234 >image",
		"cr checkpoint --kill -o image 1234",
		"cr checkpoint 1234 | gzip | ssh host 'gunzip | cr restart'",
	},
	setup: func(flags *pflag.FlagSet) func([]string) (int, error) {
		output := flags.StringP("output", "o", "", "write the image to `FILE`, with mode 0600")
		kill := flags.Bool("kill", false, "end the processes once the image is whole")
		stop := flags.Bool("stop", false, "leave the processes stopped, as by SIGSTOP")
		running := flags.Bool("leave-running", false, "let the processes run on (the default)")
		single := flags.Bool("single", false, "save the process without its descendants")
		return func(args []string) (int, error) {
			if len(args) != 1 {
				return 0, usageError("give one pid")
			}
			pid, err := strconv.Atoi(args[0])
			if err != nil || pid <= 0 {
				return 0, usageError(fmt.Sprintf("%q is no pid", args[0]))
			}
			if *kill && *stop || *running && (*kill || *stop) {
				return 0, usageError("--kill, --stop and --leave-running exclude each other")
			}
			return 0, checkpoint(pid, *output, kernel.CheckpointOptions{Tree: !*single, Kill: *kill, Stop: *stop})
		}
	},
}

func checkpoint(pid int, name string, o kernel.CheckpointOptions) (err error) {
	o.Creator = "cr " + version
	o.Progress = progress("saved")
	if name == "" {
		if isTerminal(os.Stdout) {
			return errText
		}
		_, err = kernel.Checkpoint(pid, os.Stdout, o)
		return err
	}
	out, err := createOutput(name)
	if err != nil {
		return err
	}
	o.Whole = func() error {
		if o.Kill {
			// Nothing but the image is left of the processes.
			if err := out.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
				return err
			}
		}
		return out.publish()
	}
	_, err = kernel.Checkpoint(pid, out, o)
	if e := out.finish(); err == nil {
		err = e
	}
	return err
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
