package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cr/kernel"
	"cr/sys"
)

// Exit statuses for programs that cannot be started, as env(1) has them.
const (
	notExecutable = 126
	notFound      = 127
)

// kernelSide starts the parent, which starts the program; it gets the listener
// from the program and carries out calls for as long as there are tasks that
// can make them.
func (r *runner) kernelSide(front int) (int, error) {
	inherited, err := inheritedFiles(front)
	if err != nil {
		return 0, err
	}
	unix.CloseOnExec(front)
	ours, theirs, err := socketpair()
	if err != nil {
		return 0, err
	}
	if _, err := r.startWith("parent", front, theirs); err != nil {
		return 0, err
	}
	unix.CloseOnExec(front)
	unix.Close(theirs)
	_, _ = unix.Setsid() // it fails for a session leader only, which this is not
	if err := withdraw(inherited); err != nil {
		return 0, err
	}
	listener, err := receiveListener(ours)
	if err != nil || listener < 0 {
		return failed, nil // the program did not get that far, and has said so
	}
	side, err := kernel.NewIntercept(listener)
	if err != nil {
		return 0, err
	}
	if err := send(ours, []byte{0}); err != nil { // the program waits for it
		return failed, nil // no longer
	}
	side.Creator = "cr " + version
	side.CPU, side.Low, side.Fault = r.cpu.told, r.low.byHand(), r.cpu.faults()
	log := func(err error) {
		for _, line := range strings.Split(err.Error(), "\n") {
			// Nobody listens once the program has ended.
			_ = send(front, append([]byte{msgLog}, line...))
		}
	}
	if !r.quiet {
		side.Log = log
	}
	if side.Fault {
		kernel.KeepTasks(side.Log)
	}
	served := make(chan error, 1)
	go func() { served <- side.Serve() }()
	gone := make(chan struct{})
	go func() {
		// The parent's end closes when it has no descendants left. Kernels
		// before 5.9 tell in no other way.
		_, _ = receive(ours)
		close(gone)
	}()
	select {
	case err := <-served:
		if err != nil {
			log(err)
		}
	case <-gone:
		select {
		case <-served:
		case <-time.After(time.Second):
		}
	}
	return 0, nil
}

// parent starts the program, reaps it and all its descendants, and tells front
// how the program ended.
func (r *runner) parent(front, socket int) (int, error) {
	inherited, err := inheritedFiles(front, socket)
	if err != nil {
		return 0, err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("become the parent of orphans: %w", err)
	}
	unix.CloseOnExec(front)
	program, err := r.startWith("program", -1, socket)
	if err != nil {
		return 0, err
	}
	unix.CloseOnExec(socket)
	if err := withdraw(inherited); err != nil {
		return 0, err
	}
	pidfd, err := unix.PidfdOpen(program, 0)
	if err != nil {
		return 0, fmt.Errorf("open pid %d: %w", program, err)
	}
	_ = send(front, []byte{msgBegun})
	go passOn(front, program, pidfd)
	w, _, err := reap(program, 0, job(front))
	if err != nil {
		return 0, err
	}
	_, left, err := reap(0, unix.WNOHANG, nil)
	if err != nil {
		return 0, err
	}
	_ = send(front, status{w, !left}.message()) // front may have been killed
	_, _ = unix.Setsid()                        // what is left is no part of the user's job any more
	_, _, err = reap(0, 0, nil)
	return 0, err
}

// job has front stop and go on as the program does. Only job control stops it,
// as the shell that waits for front is not to be told of other stops.
func job(front int) func(unix.WaitStatus) {
	stopped := false
	return func(w unix.WaitStatus) {
		switch sig := w.StopSignal(); {
		case w.Continued() && stopped:
			stopped = false
			// A pair of sockets names who made it.
			if c, err := unix.GetsockoptUcred(front, unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
				_ = unix.Kill(int(c.Pid), unix.SIGCONT) // it may have been killed
			}
		case w.Stopped() && (sig == unix.SIGTSTP || sig == unix.SIGTTIN || sig == unix.SIGTTOU):
			stopped = true
			_ = send(front, []byte{msgStop, byte(sig)})
		}
	}
}

// reap reaps children until a certain one has ended, none is left, or, with
// WNOHANG, those that are left are alive. It returns how the certain one ended,
// and tells when it stops and goes on if there is whom to tell.
func reap(until, options int, tell func(unix.WaitStatus)) (w unix.WaitStatus, left bool, err error) {
	if tell != nil {
		options |= unix.WUNTRACED | unix.WCONTINUED
	}
	for {
		pid, err := unix.Wait4(-1, &w, options|unix.WALL, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ECHILD):
			return 0, false, nil
		case err != nil:
			return 0, true, fmt.Errorf("wait for children: %w", err)
		case w.Stopped() || w.Continued():
			if pid == until {
				tell(w)
			}
		case pid == until:
			return w, true, nil
		}
	}
}

// passOn sends the program the signals that front has got; SIGCONT only if it did
// not get that with the rest of its job.
func passOn(front, pid, program int) {
	for {
		b, err := receive(front)
		if err != nil || len(b) != 2 || b[0] != msgSignal {
			return
		}
		if unix.Signal(b[1]) == unix.SIGCONT {
			const pause = 20 * time.Millisecond
			time.Sleep(pause)
			if _, state, err := startOf(pid); err != nil || state != 'T' && state != 't' {
				continue
			}
		}
		_ = unix.PidfdSendSignal(program, unix.Signal(b[1]), nil, 0) // it may have ended
	}
}

// program installs the filter on this thread, passes the listener on, and
// executes.
func (r *runner) program(socket int) (int, error) {
	runtime.LockOSThread()
	unix.CloseOnExec(socket)
	// To learn what the machine is takes a program that is traced.
	if err := r.low.apply(); err != nil {
		return 0, err
	}
	listener, err := kernel.Install(r.calls())
	if errors.Is(err, kernel.ErrListener) {
		if sys.Available() {
			return 0, errors.New("this is under cr run already: programs have the calls as they are; run this one without a second cr run")
		}
		return 0, fmt.Errorf("%w: the kernel allows one; run cr outside of the container or sandbox that installed it", err)
	}
	if err != nil {
		return 0, err
	}
	if err := sendListener(socket, listener); err != nil {
		return 0, err
	}
	unix.Close(listener)
	// Whoever looks for the listener of a program that runs shall find it.
	if b, err := receive(socket); err != nil || len(b) == 0 {
		return 0, fmt.Errorf("the kernel side has ended: %w", unix.ESRCH)
	}
	if err := r.cpu.environment(); err != nil {
		return 0, err
	}
	err = execute(r.args)
	fmt.Fprintf(os.Stderr, "cr run: %s: %v\n", r.args[0], err)
	if errors.Is(err, unix.ENOENT) {
		return notFound, nil
	}
	return notExecutable, nil
}

// execute is execvp(3): it looks for the program in PATH if its name has no
// slash, and returns only if it could not be executed.
func execute(args []string) error {
	env := os.Environ()
	if strings.Contains(args[0], "/") {
		return syscall.Exec(args[0], args, env)
	}
	path, set := os.LookupEnv("PATH")
	if !set {
		path = "/bin:/usr/bin"
	}
	err := error(unix.ENOENT)
	for _, dir := range strings.Split(path, ":") {
		if dir == "" {
			dir = "."
		}
		e := syscall.Exec(dir+"/"+args[0], args, env)
		switch {
		case errors.Is(e, unix.EACCES):
			err = e
		case !errors.Is(e, unix.ENOENT) && !errors.Is(e, unix.ENOTDIR):
			return e
		}
	}
	return err
}

// inheritedFiles lists the descriptors that the user's shell meant for the
// program, apart from the standard streams and those given.
func inheritedFiles(but ...int) ([]int, error) {
	d, err := os.Open("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var list []int
next:
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil || fd <= 2 {
			continue
		}
		for _, b := range but {
			if fd == b {
				continue next
			}
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			list = append(list, fd)
		}
	}
	return list, nil
}

// withdraw makes this process stay out of the way of those whose job it serves:
// it holds none of the files that it has inherited, no directory, and does not
// react to signals that are meant for the job.
func withdraw(inherited []int) error {
	if err := os.WriteFile("/proc/self/comm", []byte("cr"), 0); err != nil {
		return err
	}
	signal.Notify(make(chan os.Signal, 1), notIgnored(jobSignals)...)
	for _, fd := range inherited {
		unix.Close(fd)
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("/dev/null: %w", err)
	}
	defer unix.Close(null)
	for fd := 0; fd <= 2; fd++ {
		if err := unix.Dup3(null, fd, 0); err != nil {
			return fmt.Errorf("/dev/null: %w", err)
		}
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	return nil
}

// jobSignals are those that a terminal, a shell or a user sends to all of a job.
var jobSignals = []os.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGPIPE,
	unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGXCPU, unix.SIGXFSZ,
}
