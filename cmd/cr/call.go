package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/pflag"

	"cr/sys"
)

// callCommand makes the two calls as any program would, with nothing emulated:
// for cr selftest --native.
var callCommand = &command{
	name:   "call",
	args:   "[OPTION ...] checkpoint PID -o IMAGE | restart IMAGE",
	short:  "make one of the two calls of the kernel itself",
	hidden: true,
	setup: func(flags *pflag.FlagSet) func([]string) (int, error) {
		var n numbers
		flags.Var(&n, "numbers", "`numbers` of the two calls: CHECKPOINT,RESTART")
		output := flags.StringP("output", "o", "", "write the image to `FILE`")
		return func(args []string) (int, error) {
			if n.set {
				sys.Numbers = sys.Pair{Checkpoint: uintptr(n.checkpoint), Restart: uintptr(n.restart)}
			}
			switch {
			case len(args) == 2 && args[0] == "checkpoint" && *output != "":
				return 0, callCheckpoint(args[1], *output)
			case len(args) == 2 && args[0] == "restart":
				return 0, callRestart(args[1])
			}
			return 0, usageError("name a call and what it is for")
		}
	},
}

func callCheckpoint(process, path string) error {
	pid, err := strconv.Atoi(process)
	if err != nil {
		return usageError(process + " is no pid")
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := sys.Checkpoint(pid, int(f.Fd()), sys.Tree); err != nil {
		return fmt.Errorf("checkpoint of %d: %w", pid, err)
	}
	return nil
}

// callRestart returns only if it fails.
func callRestart(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := sys.Restart(0, int(f.Fd()), 0); err != nil {
		return fmt.Errorf("restart of %s: %w", path, err)
	}
	return nil
}
