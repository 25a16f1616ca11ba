package main

import (
	"fmt"
	"os"
	"regexp"
	"time"

	"github.com/spf13/pflag"

	"cr/selftest"
)

var selftestCommand = &command{
	name:  "selftest",
	args:  "[OPTION ...]",
	short: "check on this machine that programs come back as they were",
	long: "Programs that come with cr load patterns into every register, memory, signal\n" +
		"actions and files, are checkpointed and restarted, and what comes back is\n" +
		"compared bit by bit. Results are in KTAP. The exit status is 0 if all that was\n" +
		"run passed, 1 if something failed.",
	examples: []string{
		"cr selftest",
		"cr selftest --list",
		"cr selftest --run 'fpr|vmx/self'",
	},
	setup: func(flags *pflag.FlagSet) func([]string) (int, error) {
		match := flags.String("run", "", "run the tests whose CASE/TEST matches the regular `EXPRESSION`")
		list := flags.Bool("list", false, "list the tests and run none")
		verbose := flags.BoolP("verbose", "v", false, "show diagnostics of tests that pass, too")
		timeout := flags.Duration("timeout", time.Minute, "the `TIME` that one test may take, as 90s")
		save := flags.String("save", "", "only checkpoint, and leave programs and images in `DIR`")
		load := flags.String("load", "", "only restart what --save, on another machine, has left in `DIR`")
		native := flags.Bool("native", false, "test the calls of the kernel itself: offer programs none")
		return func(args []string) (int, error) {
			if len(args) != 0 {
				return 0, usageError("it takes no arguments")
			}
			c := selftest.Config{Out: os.Stdout, Verbose: *verbose, Timeout: *timeout, Native: *native, Save: *save, Load: *load}
			if *match != "" {
				re, err := regexp.Compile(*match)
				if err != nil {
					return 0, usageError(err.Error())
				}
				c.Match = re
			}
			if *list {
				return 0, listTests(c)
			}
			ok, err := selftest.Run(c)
			if err != nil {
				return 0, err
			}
			if !ok {
				return 1, nil
			}
			return 0, nil
		}
	},
}

func listTests(c selftest.Config) error {
	cases, err := selftest.List(c)
	if err != nil {
		return err
	}
	for _, k := range cases {
		for _, t := range k.Tests {
			fmt.Printf("%s/%s\n", k.Name, t.Name)
		}
	}
	return nil
}
