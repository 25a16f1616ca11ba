package main

import (
	"fmt"
	"os"
	"regexp"
	"time"

	"github.com/spf13/pflag"

	"cr/selftest"
	"cr/sys"
)

var selftestCommand = &command{
	name:  "selftest",
	args:  "[OPTION ...]",
	short: "check on this machine that programs come back as they were",
	long: "Programs that come with cr load patterns into every register, memory, signal\n" +
		"actions and files, are checkpointed and restarted, and what comes back is\n" +
		"compared bit by bit. Results are in KTAP, the format of the kernel's own tests\n" +
		"(Documentation/dev-tools/ktap.rst). What this machine or its kernel has nothing\n" +
		"for is skipped, with the CONFIG_ symbol that is missing.\n\n" +
		"With --native, cr emulates nothing: the kernel must have the two calls. Their\n" +
		"numbers may be in the environment, as CR_NUMBERS=CHECKPOINT,RESTART, too. Under\n" +
		"cr run, where the calls are there already, --native is the default.\n\n" +
		"The exit status is 0 if all that was run passed, 1 if something failed, 4 if\n" +
		"everything was skipped.",
	examples: []string{
		"cr selftest",
		"cr selftest --list",
		"cr selftest --run 'fpr|vmx/self'",
		"cr selftest --native --numbers=500,501",
	},
	setup: func(flags *pflag.FlagSet) func([]string) (int, error) {
		match := flags.String("run", "", "run the tests whose CASE/TEST matches the regular `EXPRESSION`")
		skip := flags.String("skip", "", "leave out the tests whose CASE/TEST matches the regular `EXPRESSION`")
		quick := flags.Bool("quick", false, "kill but one checkpoint of a program in case killed: for machines that are emulated")
		list := flags.Bool("list", false, "list the tests and run none")
		verbose := flags.BoolP("verbose", "v", false, "show diagnostics of tests that pass, too")
		timeout := flags.Duration("timeout", time.Minute, "the `TIME` that one test may take, as 90s")
		save := flags.String("save", "", "only checkpoint, and leave programs and images in `DIR`")
		keep := flags.String("keep", "", "leave programs and images of the tests of registers in `DIR`, as --save does")
		load := flags.String("load", "", "only restart what --save, on another machine, has left in `DIR`;\nwith --save, save that once more there")
		native := flags.Bool("native", false, "test the calls of the kernel itself: emulate nothing")
		var n numbers
		flags.Var(&n, "numbers", "`numbers` of the two calls: CHECKPOINT,RESTART")
		return func(args []string) (int, error) {
			if len(args) != 0 {
				return 0, usageError("it takes no arguments")
			}
			if !flags.Changed("native") && sys.Available() {
				*native = true
				fmt.Fprintln(os.Stderr, "cr selftest: the two calls are there already: they are tested, and nothing is emulated")
			}
			c := selftest.Config{Out: os.Stdout, Verbose: *verbose, Timeout: *timeout, Native: *native, Save: *save, Load: *load, Keep: *keep, Quick: *quick}
			if env := os.Getenv("CR_NUMBERS"); env != "" && !n.set {
				if err := n.Set(env); err != nil {
					return 0, fmt.Errorf("CR_NUMBERS=%s: %w", env, err)
				}
			}
			if n.checkpoint > selftest.MaxNumber {
				return 0, fmt.Errorf("%d is higher than %d, the highest number that the programs can call", n.checkpoint, selftest.MaxNumber)
			}
			c.Numbers = selftest.Numbers{Checkpoint: int(n.checkpoint), Restart: int(n.restart)}
			for _, m := range []struct {
				expression string
				to         **regexp.Regexp
			}{{*match, &c.Match}, {*skip, &c.Skip}} {
				if m.expression == "" {
					continue
				}
				re, err := regexp.Compile(m.expression)
				if err != nil {
					return 0, usageError(err.Error())
				}
				*m.to = re
			}
			if *list {
				return 0, listTests(c)
			}
			totals, err := selftest.Run(c)
			if err != nil {
				return 0, err
			}
			switch {
			case totals.Failed > 0:
				return selftestFailed, nil
			case totals.Passed == 0 && totals.Skipped > 0:
				return selftestSkipped, nil
			}
			return 0, nil
		}
	},
}

// Exit statuses, as kselftest has them (tools/testing/selftests/kselftest.h).
const (
	selftestFailed  = 1
	selftestSkipped = 4
)

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
