package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"cr/kernel"
)

// With --detach, front is what the user started. It starts another cr, which
// restarts the image in a session of its own and watches it, and which tells
// front through a pipe: one byte when all tasks are there, to see whether front
// is, and in the end "ok", or what has failed.
const (
	allThere = "."
	allRun   = "ok"
)

// detach starts the cr that watches, and waits until the program runs.
func (r *restarting) detach(in *os.File, flags *pflag.FlagSet) error {
	stdin := r.options.Files[0]
	if isTerminal(stdin) {
		null, err := os.Open(os.DevNull)
		if err != nil {
			return err
		}
		defer null.Close()
		stdin = null
	}
	pr, pw, err := os.Pipe()
	if err != nil {
		return err
	}
	defer pr.Close()
	// As descriptors that the program does not get: above those of the user.
	const above = 200
	front, err := unix.FcntlInt(pw.Fd(), unix.F_DUPFD, above)
	pw.Close()
	if err != nil {
		return err
	}
	defer unix.Close(front)
	image, err := unix.FcntlInt(in.Fd(), unix.F_DUPFD, above)
	if err != nil {
		return err
	}
	defer unix.Close(image)
	if stdin != os.Stdin {
		if err := unix.Dup3(int(stdin.Fd()), 0, 0); err != nil {
			return err
		}
	}
	argv := []string{"cr", "restart", fmt.Sprint("--front=", front), fmt.Sprint("--image=", image)}
	flags.Visit(func(f *pflag.Flag) {
		if f.Name != "detach" {
			argv = append(argv, "--"+f.Name+"="+f.Value.String())
		}
	})
	if r.path != "" {
		argv = append(argv, "--", r.path)
	}
	pid, err := fork("/proc/self/exe", argv, os.Environ())
	if err != nil {
		return err
	}
	unix.Close(front)
	b, err := io.ReadAll(pr)
	if err != nil {
		return err
	}
	said := strings.TrimPrefix(string(b), allThere)
	if said == allRun {
		return nil
	}
	if _, err := await(pid); err != nil {
		return err
	}
	if said == "" {
		said = "the process that restarts it has been killed"
	}
	return fmt.Errorf("%s", said)
}

// watch restarts the image, and stays until the program has ended.
func (r *restarting) watch(front, image int) (int, error) {
	unix.CloseOnExec(front)
	unix.CloseOnExec(image)
	tell := os.NewFile(uintptr(front), "front")
	in := os.NewFile(uintptr(image), "image")
	made, err := r.start(in, tell)
	in.Close()
	if err != nil {
		fmt.Fprint(tell, err) // front may have been killed
		return failed, nil
	}
	fmt.Fprint(tell, allRun)
	tell.Close()
	ws, err := made.Wait()
	if err != nil {
		return 0, err
	}
	return 0, r.ended(ws)
}

// start restarts the image, and gets out of the way of the program.
func (r *restarting) start(in io.Reader, tell io.Writer) (*kernel.Restarted, error) {
	if _, err := unix.Setsid(); err != nil {
		return nil, fmt.Errorf("a session of its own: %w", err)
	}
	r.options.Files = []*os.File{os.Stdin, os.Stdout, os.Stderr}
	if err := r.inherit(); err != nil {
		return nil, err
	}
	var inherited []int
	for fd, f := range r.options.Files {
		if fd > 2 && f != nil {
			inherited = append(inherited, fd)
		}
	}
	made, err := r.launch(in, func(*kernel.Restarted) error {
		if _, err := io.WriteString(tell, allThere); err != nil {
			return errNoFront
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	serve(made)
	return made, withdraw(inherited)
}
