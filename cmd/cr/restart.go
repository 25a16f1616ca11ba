package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sort"
	"syscall"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"cr/kernel"
)

var restartCommand = &command{
	name:  "restart",
	args:  "[OPTION ...] [IMAGE]",
	short: "make processes from an image",
	long: "The image comes from standard input if none is named. The program goes on in the\n" +
		"foreground, and cr ends as it ends: with its exit status, or by its signal. On a\n" +
		"terminal it is a job of the shell, as it was: ^C and ^Z are for the program.\n" +
		"Descriptors that led out of what was checkpointed, a terminal or a pipe to\n" +
		"another program, become those of cr with the same numbers.\n" +
		"\n" +
		"All tasks of the image are there before the first of them runs; if one cannot be\n" +
		"made, none is left, and cr says which and why. With --detach, cr returns when they\n" +
		"run, with status 0; a terminal as standard input is replaced by /dev/null then.\n" +
		"cr ps, cr wait and cr kill take the name that --name gives.\n" +
		"Namespaces that the processes had for themselves, as a container has, are made\n" +
		"anew, whatever --pids says.\n" +
		"Failures of cr itself have the exit status 125. Warnings tell of features that the\n" +
		"programs know of and may use later, and that this machine lacks, as cr verify does.",
	examples: []string{
		"cr restart image",
		"cr restart <image",
		"cr restart --pids=new image",
		"cr restart --detach --name solver image >log 2>&1",
	},
	setup: func(flags *pflag.FlagSet) func([]string) (int, error) {
		var r restarting
		flags.BoolVar(&r.options.Force, "force", false, "restart although files have changed since the checkpoint")
		pids := flags.String("pids", "namespace", "pids of the processes: `HOW` is \"namespace\" (those that they had,\n"+
			"in a namespace of their own), \"keep\" or \"new\"")
		flags.BoolVar(&r.options.KeepClocks, "keep-clocks", false, "let CLOCK_MONOTONIC and CLOCK_BOOTTIME go on from where they were,\n"+
			"in a time namespace")
		flags.BoolVar(&r.options.ControlGroups, "cgroups", false, "put each process into the control groups that it was in")
		detach := flags.Bool("detach", false, "return once all of it runs; takes --name")
		flags.StringVar(&r.name, "name", "", "let cr ps, cr wait and cr kill know it as `NAME`")
		front := flags.Int("front", -1, "")
		image := flags.Int("image", -1, "")
		for _, name := range []string{"front", "image"} {
			if err := flags.MarkHidden(name); err != nil {
				panic(err) // it is declared right above
			}
		}
		return func(args []string) (int, error) {
			how, ok := map[string]kernel.PIDs{"namespace": kernel.NamespacePIDs, "keep": kernel.SamePIDs, "new": kernel.FreshPIDs}[*pids]
			switch {
			case !ok:
				return 0, usageError(fmt.Sprintf("--pids=%s: it is namespace, keep or new", *pids))
			case *detach && r.name == "":
				return 0, usageError("--detach takes --name, for cr wait and cr kill")
			case len(args) > 1:
				return 0, usageError("give one image at most")
			}
			r.options.PIDs = how
			if len(args) == 1 {
				r.path = args[0]
			}
			if *front >= 0 {
				return r.watch(*front, *image)
			}
			in, err := r.open()
			if err != nil {
				return 0, err
			}
			defer in.Close()
			if isTerminal(in) {
				return 0, errors.New("an image is read from a file or a pipe, not from a terminal: name one")
			}
			if *detach {
				return 0, r.detach(in, flags)
			}
			return r.foreground(in)
		}
	},
}

// restarting is what `cr restart` was asked for.
type restarting struct {
	options kernel.LaunchOptions
	name    string // for the other commands; may be empty
	path    string // of the image; empty if it comes from standard input
	entry   *named // nil without a name
}

// open opens the image, and chooses the program's standard input.
func (r *restarting) open() (*os.File, error) {
	r.options.Files = []*os.File{os.Stdin, os.Stdout, os.Stderr}
	if r.path != "" {
		return os.Open(r.path)
	}
	// The image is read from descriptor 0, which the program cannot have as
	// well: it gets the terminal, if there is one.
	name := os.DevNull
	if isTerminal(os.Stdout) {
		name = "/dev/tty"
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	r.options.Files[0] = f
	return os.Stdin, nil
}

// inherit gives the program the other descriptors that cr was started with.
func (r *restarting) inherit(but ...int) error {
	fds, err := inheritedFiles(but...)
	if err != nil {
		return err
	}
	sort.Ints(fds)
	for _, fd := range fds {
		for len(r.options.Files) < fd {
			r.options.Files = append(r.options.Files, nil)
		}
		r.options.Files = append(r.options.Files, os.NewFile(uintptr(fd), fmt.Sprint("descriptor ", fd)))
		unix.CloseOnExec(fd)
	}
	return nil
}

// launch restarts the image. Before the program runs, ready is called.
func (r *restarting) launch(in io.Reader, ready func(*kernel.Restarted) error) (*kernel.Restarted, error) {
	r.options.Progress = progress("restored")
	r.options.Warn = func(w error) { fmt.Fprintln(os.Stderr, "cr restart: warning:", w) }
	r.options.Creator = "cr " + version
	if r.name != "" {
		var err error
		if r.entry, err = claim(r.name); err != nil {
			return nil, err
		}
		if r.path != "" {
			if r.entry.Image, err = filepath.Abs(r.path); err != nil {
				return nil, err
			}
		}
	}
	r.options.Ready = func(m *kernel.Restarted) error {
		if err := ready(m); err != nil || r.entry == nil {
			return err
		}
		return r.entry.begun(m.PID, m.Init, m.Tasks)
	}
	made, err := kernel.Restart(in, r.options)
	if err != nil && r.entry != nil {
		if e := r.entry.forget(); e != nil {
			err = fmt.Errorf("%w\n%v", err, e)
		}
	}
	return made, err
}

// ended notes how the program has ended.
func (r *restarting) ended(ws unix.WaitStatus) error {
	if r.entry == nil {
		return nil
	}
	return r.entry.end(ws)
}

// foreground restarts an image in the foreground and returns its exit status.
func (r *restarting) foreground(in io.Reader) (int, error) {
	if err := r.inherit(); err != nil {
		return 0, err
	}
	t := openTerminal()
	defer t.takeBack()
	// Before it runs: from then on they are for the program. Until then they end cr.
	signals := make(chan os.Signal, 16)
	made, err := r.launch(in, func(made *kernel.Restarted) error {
		signal.Notify(signals, append(notIgnored(passedOn), unix.SIGCONT)...)
		return t.give(made)
	})
	if err != nil {
		return 0, err
	}
	for _, f := range r.options.Files[3:] {
		if f != nil {
			f.Close()
		}
	}
	go func() {
		for s := range signals {
			sig := s.(syscall.Signal)
			switch {
			case sig == unix.SIGCONT:
				t.goOn()
			case !fromTerminal(sig):
				_ = unix.Kill(made.PID, sig) // it may have ended
			}
		}
	}()
	serve(made)
	for {
		ws, err := made.WaitStop()
		if err != nil {
			return 0, err
		}
		if ws.Stopped() {
			t.stopped(ws.StopSignal())
			continue
		}
		t.takeBack()
		kernel.FinishHandovers()
		return exitAs(ws), r.ended(ws)
	}
}

// serve carries out the two calls for a program that has them.
func serve(made *kernel.Restarted) {
	if made.Listener < 0 {
		return
	}
	side, err := kernel.NewIntercept(made.Listener)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cr restart:", err)
		return
	}
	side.Creator = "cr " + version
	go func() {
		if err := side.Serve(); err != nil {
			fmt.Fprintln(os.Stderr, "cr restart:", err)
		}
	}()
}

// errNoFront ends a restart whose user does not wait for it any longer.
var errNoFront = errors.New("the cr that was to report it has been killed")
