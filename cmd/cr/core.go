package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/pflag"

	"cr/core"
	"cr/image"
)

var coreCommand = &command{
	name:  "core",
	args:  "[OPTION ...] IMAGE [PID]",
	short: "make a core file of a process in an image",
	long: "The core file is that of the root process if no PID is given. It has all threads\n" +
		"with all their registers, and all memory that the image has; the rest is in the\n" +
		"program and its libraries, where debuggers look for it. IMAGE can be - for\n" +
		"standard input.",
	examples: []string{
		"cr core image && gdb /usr/bin/job core.1234",
		"cr checkpoint 1234 | cr core -o core - && gdb -c core",
	},
	setup: func(flags *pflag.FlagSet) func([]string) (int, error) {
		output := flags.StringP("output", "o", "", "write to `FILE` (default core.PID), with mode 0600")
		return func(args []string) (int, error) {
			if len(args) < 1 || len(args) > 2 {
				return 0, usageError("give an image, and a pid if it is not the root's")
			}
			pid := uint64(0)
			if len(args) == 2 {
				var err error
				if pid, err = strconv.ParseUint(args[1], 10, 32); err != nil || pid == 0 {
					return 0, usageError(fmt.Sprintf("%q is no pid", args[1]))
				}
			}
			return 0, writeCore(args[0], uint32(pid), *output)
		}
	},
}

// writeCore makes a core file of a process of an image; pid 0 is the root.
func writeCore(file string, pid uint32, output string) (err error) {
	in, err := openImage([]string{file})
	if err != nil {
		return err
	}
	defer in.Close()
	m, rd, err := image.Read(in)
	if err != nil {
		return fmt.Errorf("%s: %w", in.Name(), err)
	}
	if pid == 0 {
		pid = m.Header.Root
	}
	if output == "" {
		output = fmt.Sprint("core.", pid)
	}
	out, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if info, e := out.Stat(); e != nil || !info.Mode().IsRegular() {
		out.Close()
		return errors.New(output + " is no regular file: a core file is not written from front to back")
	}
	err = core.Write(out, m, rd, pid)
	if e := out.Close(); err == nil {
		err = e
	}
	if err != nil {
		return removed(output, fmt.Errorf("%s: %w", in.Name(), err))
	}
	return nil
}
