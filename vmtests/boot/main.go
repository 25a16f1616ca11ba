// Command boot boots a guest whose user sits at its console.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"cr/vmtests"
)

func main() {
	var c vmtests.Config
	kernel := flag.String("kernel", "", "boot this `file` instead of the guest's own kernel")
	cpu := flag.String("cpu", "", "QEMU's `name` of the CPU, instead of the guest's own; the machine follows it")
	machine := flag.String("machine", "", "QEMU `machine` instead of the guest's own")
	flag.StringVar(&c.Append, "append", "", "more for the kernel's `command line`")
	flag.StringVar(&c.QEMU, "qemu", "", "QEMU `command` instead of the guest's own")
	flag.StringVar(&c.Dir, "host", "", "`directory` that the guest sees as /host")
	flag.BoolVar(&c.GDB, "gdb", false, "wait for gdb before the first instruction; the command to type is printed")
	flag.BoolVar(&c.Verbose, "v", false, "show the kernel's messages on the console")
	show := flag.Bool("show", false, "print the command, do not run it")
	flag.Usage = usage
	flag.Parse()
	if flag.NArg() != 1 {
		usage()
		os.Exit(2)
	}
	c.Append += terminal()
	g, err := vmtests.Find(flag.Arg(0))
	if err == nil {
		err = boot(g.With(*cpu, *machine), *kernel, c, *show)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "boot:", err)
		os.Exit(1)
	}
}

// terminal tells the guest of the terminal that its console is shown on.
func terminal() string {
	var params string
	if term := os.Getenv("TERM"); term != "" {
		params += " TERM=" + term
	}
	if size, err := unix.IoctlGetWinsize(int(os.Stdout.Fd()), unix.TIOCGWINSZ); err == nil && size.Row > 0 && size.Col > 0 {
		params += fmt.Sprintf(" cr.tty=%dx%d", size.Row, size.Col)
	}
	return params
}

func usage() {
	fmt.Fprintf(os.Stderr, "usage: boot [OPTION ...] GUEST\n\nGUEST is one of these, or the name of its kernel:\n  %s\n\n",
		strings.Join(vmtests.Names(), "\n  "))
	flag.PrintDefaults()
}

// boot runs QEMU.
func boot(g vmtests.Guest, kernel string, c vmtests.Config, show bool) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	files, err := g.Build(ctx, kernel)
	stop()
	if err != nil {
		return err
	}
	argv, err := g.Cmdline(files, c)
	if err != nil {
		return err
	}
	if show {
		fmt.Println(vmtests.Quote(argv))
		return nil
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return fmt.Errorf("%w: run scripts/setup test", err)
	}
	if c.GDB {
		fmt.Printf("QEMU waits for a debugger. Type in another terminal, then continue:\n  %s\n", vmtests.Quote(g.GDB(files.Kernel)))
	}
	fmt.Printf("%s boots. Ctrl-A X ends it by force.\n", g.Name)
	cmd := exec.Command(path, argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	signal.Ignore(os.Interrupt) // typed before QEMU has set its terminal
	if err := cmd.Start(); err != nil {
		return err
	}
	go endAtHangup(cmd.Process)
	return cmd.Wait()
}

// endAtHangup ends QEMU when the terminal goes away, of which it takes no notice.
// The kernel tells the session leader only, and make, if it is that, waits for
// its children.
func endAtHangup(qemu *os.Process) {
	fds := []unix.PollFd{{Fd: int32(os.Stdin.Fd())}}
	if _, err := unix.IoctlGetTermios(int(fds[0].Fd), unix.TCGETS); err != nil {
		return // no terminal
	}
	for {
		if _, err := unix.Poll(fds, -1); err == nil {
			_ = qemu.Signal(syscall.SIGTERM) // it may have ended
			return
		} else if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
