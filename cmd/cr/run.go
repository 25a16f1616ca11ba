package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"cr/kernel"
)

// Four processes take part in `cr run`; each but the last is this program.
//
//	front        what the user started. It passes on signals and ends as the program does.
//	kernel side  carries out the calls. It is an ancestor of the program, as Yama wants it,
//	             but the parent of none of its tasks: to be that and to trace them would mix
//	             up what wait(2) tells about each.
//	parent       starts the program, adopts its orphans, tells front how it ended.
//	program      installs the filter, passes the listener to the kernel side, executes.
//
// The kernel side and the parent live as long as there are descendants of the
// program; front ends with the program, as a shell expects.
var runCommand = &command{
	name:  "run",
	args:  "[OPTION ...] [--] PROGRAM [ARGUMENT ...]",
	short: "run a program that has the system calls checkpoint and restart",
	long: `The program and all that it starts have the two calls, until the last of them
has exited. Other system calls are as they are without cr, at the same speed.

cr exits as the program does: with its exit status, or by the signal that killed
it. It exits with 125 if cr itself fails, 126 if the program cannot be executed,
127 if it is not found.

With --cpu or --cpu-like, the program and all that it starts are told of no more
CPU features than those given, so that they do not choose code that other
machines cannot run.
On x86 they ask the CPU by cpuid, which the kernel side answers where the CPU can
make it fault. The programs are traced for that, so no debugger can trace them.

With --3gb, 32-bit programs can move between 32-bit and 64-bit kernels: under a
64-bit one they lie where a 32-bit one has its programs. Those of powerpc are not
told of the size of cache blocks, which differs. There is no effect on 64-bit
programs of x86; those of powerpc have their mappings from the bottom up.

Without CAP_SYS_ADMIN, the program cannot gain privileges: set-user-ID programs
run as the user who calls them (no_new_privs).`,
	examples: []string{
		"cr run ./solver --steps=1000000",
		"cr run -- sh -c './job & ./other-job & wait'",
		"cr run --cpu=-vsx ./solver         # powerpc",
		"cr run --cpu=x86-64-v2 ./solver    # x86",
		"cr run --cpu-like oldbox.json ./solver",
		"cr run --3gb ./solver32",
	},
	inOrder: true,
	setup: func(flags *pflag.FlagSet) func([]string) (int, error) {
		var r runner
		flags.BoolVarP(&r.quiet, "quiet", "q", false, "do not say on standard error why a call failed")
		flags.Var(&r.numbers, "numbers", "`numbers` of the two calls, if the usual ones are in use: CHECKPOINT,RESTART")
		r.cpu.declare(flags)
		r.low.declare(flags)
		role := flags.String("role", "", "")
		socket := flags.Int("socket", -1, "")
		front := flags.Int("front", -1, "")
		for _, name := range []string{"role", "socket", "front"} {
			if err := flags.MarkHidden(name); err != nil {
				panic(err) // it is declared right above
			}
		}
		return func(args []string) (int, error) {
			if len(args) == 0 {
				return 0, usageError("no program is named")
			}
			r.args = args
			if r.numbers.set {
				kernel.SetNumbers(r.numbers.checkpoint, r.numbers.restart)
			}
			if err := r.cpu.resolve(); err != nil {
				return 0, err
			}
			switch *role {
			case "kernel":
				return r.kernelSide(*front)
			case "parent":
				return r.parent(*front, *socket)
			case "program":
				return r.program(*socket)
			}
			if !r.quiet {
				r.cpu.warn()
			}
			return r.front()
		}
	},
}

// runner is what `cr run` was asked for.
type runner struct {
	args    []string
	quiet   bool
	numbers numbers
	cpu     cpuOptions
	low     lowOption
}

// calls are those that the filter hands to the kernel side.
func (r *runner) calls() []kernel.Calls {
	switch {
	case r.cpu.faults():
		return kernel.FaultCalls()
	case r.cpu.told != nil || r.low.byHand():
		return kernel.ExecCalls()
	}
	return kernel.HostCalls()
}

// numbers are the numbers of the two calls, as an option.
type numbers struct {
	set                 bool
	checkpoint, restart uint32
}

// String is the option's value.
func (n *numbers) String() string {
	if !n.set {
		return ""
	}
	return fmt.Sprintf("%d,%d", n.checkpoint, n.restart)
}

// Set parses the option's value.
func (n *numbers) Set(s string) error {
	first, second, ok := strings.Cut(s, ",")
	if !ok {
		return errors.New("two numbers are needed, with a comma between them")
	}
	for _, x := range []struct {
		text string
		to   *uint32
	}{{first, &n.checkpoint}, {second, &n.restart}} {
		v, err := strconv.ParseUint(x.text, 10, 31)
		if err != nil {
			return fmt.Errorf("%q is no system call number", x.text)
		}
		*x.to = uint32(v)
	}
	if n.checkpoint == n.restart {
		return errors.New("the two numbers are the same")
	}
	n.set = true
	return nil
}

// Type says what the value is.
func (n *numbers) Type() string { return "numbers" }

// start runs this program in another role, with the standard streams and
// whatever else was inherited. It returns the pid.
func (r *runner) start(role string, front, socket int) (int, error) {
	argv := []string{"cr", "run", "--role=" + role, "--front=" + strconv.Itoa(front), "--socket=" + strconv.Itoa(socket)}
	if r.quiet {
		argv = append(argv, "--quiet")
	}
	if r.numbers.set {
		argv = append(argv, "--numbers="+r.numbers.String())
	}
	argv = append(append(argv, r.cpu.args()...), r.low.args()...)
	argv = append(append(argv, "--"), r.args...)
	return fork("/proc/self/exe", argv, os.Environ())
}
