// Command cr saves running programs and restarts them.
//
// See `cr help` and the manual pages.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"cr/kernel"
)

// version is what `cr version` prints and images name as their creator.
const version = "0.1"

// failed is the exit status for failures of cr itself, as env(1) and
// timeout(1) have it: the statuses below are those of the program it runs.
const failed = 125

// command is one sub-command.
type command struct {
	name     string
	args     string // after the name in the usage line
	short    string // one line
	long     string // what it does and how it exits
	examples []string

	// setup declares the options and returns what runs with the arguments that
	// remain. That returns the exit status, or an error, for which cr exits
	// with 125.
	setup func(*pflag.FlagSet) func(args []string) (int, error)

	// hidden leaves it out of the list of commands.
	hidden bool

	// inOrder stops option parsing at the first argument that is no option,
	// for commands that take another command.
	inOrder bool
}

// usageError is an error for which the usage line helps.
type usageError string

func (e usageError) Error() string { return string(e) }

// commands are the sub-commands in the order in which help shows them.
var commands []*command

func init() {
	commands = []*command{
		runCommand,
		checkpointCommand,
		restartCommand,
		psCommand,
		waitCommand,
		killCommand,
		infoCommand,
		featuresCommand,
		verifyCommand,
		rewriteCommand,
		coreCommand,
		diffCommand,
		selftestCommand,
		callCommand,
		helpCommand,
		versionCommand,
		completionCommand,
		manCommand,
	}
}

var helpCommand = &command{
	name:  "help",
	args:  "[COMMAND]",
	short: "say what cr or one of its commands does",
	setup: func(*pflag.FlagSet) func([]string) (int, error) {
		return func(args []string) (int, error) {
			if len(args) == 0 {
				usage(os.Stdout)
				return 0, nil
			}
			if len(args) > 1 {
				return 0, usageError("name one command")
			}
			c := find(args[0])
			if c == nil {
				return 0, fmt.Errorf("there is no command %q", args[0])
			}
			c.help(os.Stdout)
			return 0, nil
		}
	},
}

var versionCommand = &command{
	name:  "version",
	short: "print the version",
	setup: func(*pflag.FlagSet) func([]string) (int, error) {
		return func(args []string) (int, error) {
			if len(args) > 0 {
				return 0, usageError("it takes no arguments")
			}
			fmt.Println("cr", version)
			return 0, nil
		}
	},
}

func main() {
	os.Exit(dispatch(os.Args[1:]))
}

func dispatch(args []string) int {
	if len(args) == 0 {
		usage(os.Stderr)
		return failed
	}
	switch args[0] {
	case "-h", "-help", "--help":
		usage(os.Stdout)
		return 0
	case "--version":
		args[0] = "version"
	}
	cmd := find(args[0])
	if cmd == nil {
		fmt.Fprintf(os.Stderr, "cr: there is no command %q; `cr help` lists them\n", args[0])
		return failed
	}
	status, err := cmd.run(args[1:])
	kernel.FinishHandovers()
	if errors.Is(err, pflag.ErrHelp) {
		cmd.help(os.Stdout)
		return 0
	}
	if err != nil {
		for _, line := range strings.Split(err.Error(), "\n") {
			fmt.Fprintf(os.Stderr, "cr %s: %s\n", cmd.name, line)
		}
		var u usageError
		if errors.As(err, &u) {
			fmt.Fprintf(os.Stderr, "usage: %s\n", cmd.line())
		}
		return failed
	}
	return status
}

func (c *command) run(args []string) (int, error) {
	flags := pflag.NewFlagSet(c.name, pflag.ContinueOnError)
	flags.Usage = func() {}
	flags.SetInterspersed(!c.inOrder)
	body := c.setup(flags)
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return 0, err
		}
		return 0, usageError(err.Error())
	}
	return body(flags.Args())
}

func (c *command) line() string {
	line := "cr " + c.name
	if c.args != "" {
		line += " " + c.args
	}
	return line
}

// flags are the options.
func (c *command) flags() *pflag.FlagSet {
	flags := pflag.NewFlagSet(c.name, pflag.ContinueOnError)
	c.setup(flags)
	return flags
}

func (c *command) help(w io.Writer) {
	flags := c.flags()
	fmt.Fprintf(w, "usage: %s\n\n%s\n", c.line(), c.short)
	if c.long != "" {
		fmt.Fprintf(w, "\n%s\n", c.long)
	}
	if flags.HasFlags() {
		fmt.Fprintf(w, "\noptions:\n%s", flags.FlagUsages())
	}
	if len(c.examples) > 0 {
		fmt.Fprint(w, "\nexamples:\n")
		for _, e := range c.examples {
			fmt.Fprintf(w, "  %s\n", e)
		}
	}
}

func find(name string) *command {
	for _, c := range commands {
		if c.name == name {
			return c
		}
	}
	return nil
}

// listed are the commands that are not hidden.
func listed() []*command {
	var list []*command
	for _, c := range commands {
		if !c.hidden {
			list = append(list, c)
		}
	}
	return list
}

func usage(w io.Writer) {
	fmt.Fprint(w, "usage: cr COMMAND [ARGUMENT ...]\n\nCheckpoint and restart of running programs.\n\n")
	for _, c := range listed() {
		fmt.Fprintf(w, "  %-11s %s\n", c.name, c.short)
	}
	fmt.Fprint(w, "\n`cr help COMMAND` shows options and examples.\n")
}
