package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"cr/convert"
)

// PIDs says which pids restarted processes get.
type PIDs int

// The choices. In a namespace of their own, processes have the pids that they
// had, and need no privilege for it where the kernel lets users make user
// namespaces.
const (
	NamespacePIDs PIDs = iota
	SamePIDs           // those that they had, in the namespace of the caller
	FreshPIDs          // whatever is free
)

// LaunchOptions say how Restart makes the processes of an image.
type LaunchOptions struct {
	RestartOptions
	PIDs PIDs

	// KeepClocks lets CLOCK_MONOTONIC and CLOCK_BOOTTIME go on from where they
	// were, in a time namespace. It takes NamespacePIDs.
	KeepClocks bool

	// Creator is that of images that the processes make by calls which are carried
	// out here: see Listener of Restarted.
	Creator string

	// ControlGroups moves each process to the control groups that it was in.
	ControlGroups bool

	// Ready is called when all tasks are as they were, before any of them runs.
	// If it fails so does the restart.
	Ready func(*Restarted) error

	// Files are the descriptors 0, 1, ... of the new processes, which stand in
	// for those that led out of the checkpointed tree.
	Files []*os.File
}

// Restarted is a running tree that Restart has made.
type Restarted struct {
	PID      int // of the root process, as this program sees it
	Tasks    int // threads of all processes
	Listener int // seccomp listener whose calls this program shall serve; -1 if there is none, or it does

	// Foreground is the process group that was in the foreground of the
	// terminal, as this program sees it; 0 if there was none.
	Foreground int

	Init int // pid of the init of the pid namespace, with which all of them end; 0 if there is none

	ends   <-chan unix.WaitStatus // of the root process, if that is a task of the keeper's; nil
	report *os.File               // where init tells of processes that have ended
	root   uint32                 // pid of the root process in the namespace
	order  binary.ByteOrder
}

// Restart makes processes from the image that is read from r. When it returns
// without error they run; if it fails none is left.
func Restart(r io.Reader, o LaunchOptions) (*Restarted, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	o.KeepPIDs = o.PIDs != FreshPIDs
	rs, err := readImage(r, o.RestartOptions)
	if err != nil {
		return nil, err
	}
	rs.ownProcess = true
	if err := rs.planCPUID(); err != nil {
		return nil, err
	}
	l := &launcher{rs: rs, options: o, made: &Restarted{Listener: -1, root: rs.img.Header.Root}}
	if err := l.launch(); err != nil {
		l.abandon()
		return nil, err
	}
	return l.made, nil
}

// launcher starts the processes of an image from a stub.
type launcher struct {
	rs      *restarter
	options LaunchOptions
	made    *Restarted
	stub    int        // pid; 0 if it is not running
	third   int        // where the descriptor is that shall be reportFD; 0 if there is none
	groups  *authority // that the stub is born with; nil: those of this program
	init    *task      // of the pid namespace: stopped until all else runs; nil if there is none
}

func (l *launcher) launch() error {
	if err := l.start(); err != nil {
		return err
	}
	t, err := freezeWith(l.stub, false, optExitKill)
	if err != nil {
		return err
	}
	l.rs.tree = t
	p := t.processes[0]
	// What is half made ends with this program; children inherit the option.
	if err := ptrace(unix.PTRACE_SETOPTIONS, l.stub, 0, freezeOptions|optExitKill); err != nil {
		return fmt.Errorf("trace the stub: %w", err)
	}
	if err := p.leader().hold(); err != nil {
		return err
	}
	if p.mem, err = openMemory(p.pid); err != nil {
		return err
	}
	if err := l.setNamespaces(p); err != nil {
		return err
	}
	if l.options.KeepClocks && l.made.Init == 0 {
		return fmt.Errorf("clocks that go on take a pid namespace whose init is not of the image: %w", unix.EOPNOTSUPP)
	}
	if l.made.report != nil {
		if p, err = l.splitInit(p); err != nil {
			return err
		}
	}
	l.made.PID = p.pid
	if rec := l.rs.img.Process(l.rs.img.Header.Root); rec != nil && rec.Calls {
		if err := l.giveCalls(p); err != nil {
			return err
		}
	}
	if err := l.rs.restart(p); err != nil {
		return err
	}
	l.made.Tasks = len(l.rs.img.Tasks)
	for _, r := range l.rs.list {
		if group := l.rs.img.Header.Foreground; group != 0 && r.rec.PGID == group {
			var err error
			if l.made.Foreground, err = unix.Getpgid(r.pid); err != nil {
				return err
			}
		}
	}
	if l.options.ControlGroups {
		if err := l.rs.enterGroups(); err != nil {
			return err
		}
	}
	if l.options.Ready != nil {
		if err := l.options.Ready(l.made); err != nil {
			return err
		}
	}
	if l.made.report == nil && keptCPU(p.pid) != nil {
		l.made.ends = theKeeper.watch(p.pid)
	}
	if err := l.rs.tree.thaw(); err != nil {
		return err
	}
	if l.init != nil {
		return l.init.detach()
	}
	return nil
}

// start starts the stub: as init of a pid namespace where one is asked for.
func (l *launcher) start() error {
	img := l.rs.img
	kind, err := l.rs.rootKind()
	if err != nil {
		return err
	}
	l.made.order = kind.abi.Order()
	f, err := stubFile(kind)
	if err != nil {
		return err
	}
	defer f.Close()
	files := append([]*os.File(nil), l.options.Files...)
	// The child's descriptors are made of files: the stub's must lie above.
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, len(files)+64)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// Until it is traced, the stub dies with this thread by that; from then on
	// by optExitKill.
	sys := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	attr := &os.ProcAttr{Env: []string{}, Sys: sys}
	if l.options.PIDs == NamespacePIDs && img.Header.Root != 1 || l.options.PIDs == SamePIDs {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		defer w.Close()
		l.made.report = r
		for len(files) <= reportFD {
			files = append(files, nil)
		}
		if files[reportFD] != nil {
			l.third = len(files)
			files = append(files, files[reportFD])
		}
		files[reportFD] = w
	}
	attr.Files = files
	made := l.madeNamespaces()
	attr.Sys.Cloneflags = made
	if made&unix.CLONE_NEWUSER != 0 || made != 0 && os.Geteuid() != 0 {
		if err := l.setUsers(attr.Sys); err != nil {
			return err
		}
	}
	var p *os.Process
	err = withLayout(kind.layout, func() error {
		_, err := l.groups.do(func() (_ int, err error) {
			p, err = os.StartProcess(fmt.Sprintf("/proc/self/fd/%d", fd), []string{"cr-init"}, attr)
			return 0, err
		})
		return err
	})
	if err != nil {
		if made != 0 && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EINVAL)) {
			hint := " (--pids=new does without)"
			if made&^unix.CLONE_NEWPID != 0 {
				hint = ""
			}
			return fmt.Errorf("make a namespace (%s): %w%s", namespaceNames(made), err, hint)
		}
		return fmt.Errorf("start the stub: %w", err)
	}
	l.stub = p.Pid
	if l.made.report != nil && l.options.PIDs == NamespacePIDs {
		l.made.Init = p.Pid
	}
	l.rs.hasInit = attr.Sys.Cloneflags&unix.CLONE_NEWPID != 0
	return nil
}

// lastCap is the highest capability that the kernel knows.
func lastCap() (uintptr, error) {
	b, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 8)
	return uintptr(n), err
}

// reportFD is the descriptor at which the stub's init tells of children that
// have ended.
const reportFD = 3

// splitInit makes the stub clone the root process, with the pid that it had,
// and go on as init of the namespace, or as its parent where there is none.
func (l *launcher) splitInit(p *process) (*process, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	init := p.leader()
	if err := p.outlive(); err != nil {
		return nil, err
	}
	if l.options.KeepClocks {
		if err := p.keepClocks(&l.rs.img.Header); err != nil {
			return nil, err
		}
	}
	c, err := l.makeRoot(p, init)
	switch {
	case errors.Is(err, unix.EEXIST) && l.options.PIDs == SamePIDs:
		return nil, fmt.Errorf("pid %d is in use (--pids=namespace or --pids=new): %w", l.rs.img.Header.Root, err)
	case errors.Is(err, unix.EPERM) && l.options.PIDs == SamePIDs:
		return nil, fmt.Errorf("to choose pid %d outside of a namespace of its own takes CAP_CHECKPOINT_RESTORE: %w", l.rs.img.Header.Root, err)
	case err != nil:
		return nil, fmt.Errorf("pid %d: %w", l.rs.img.Header.Root, err)
	}
	if l.made.Init == 0 {
		// What a terminal sends to the group of this program is not for it.
		if _, err := init.call(sysSetpgid, 0, 0); err != nil {
			return nil, err
		}
	}
	init.arch.SetPC(init.abi, init.live, stubText(init.abi)+uint64(stubCodes[init.abi].init))
	scratch := p.scratch
	for _, err := range []error{p.leave(), p.mem.close()} {
		if err != nil {
			return nil, err
		}
	}
	// Should this program be killed before init runs on, the namespace ends.
	l.init = init
	root := &process{pid: c.tid, tasks: []*task{c}}
	if root.status, err = readStatus(c.tid); err != nil {
		return nil, err
	}
	if root.mem, err = openMemory(c.tid); err != nil {
		return nil, err
	}
	l.rs.tree = &tree{processes: []*process{root}, tasks: map[int]*task{c.tid: c}}
	type call struct {
		nr   sysno
		args []uint64
	}
	calls := []call{{sysMunmap, []uint64{scratch, scratchSize}}, {sysClose, []uint64{reportFD}}}
	if l.third != 0 {
		calls = append(calls, call{sysDup3, []uint64{uint64(l.third), reportFD, 0}}, call{sysClose, []uint64{uint64(l.third)}})
	}
	for _, k := range calls {
		if _, err := c.call(k.nr, k.args...); err != nil {
			return nil, err
		}
	}
	return root, nil
}

// makeRoot makes the stub clone the root process, in its session if the leader
// of that has ended.
func (l *launcher) makeRoot(p *process, init *task) (c *task, err error) {
	rec := l.rs.img.Process(l.rs.img.Header.Root)
	if rec == nil || !l.rs.rootsSession(rec) {
		return p.clone(init, 0, unix.SIGCHLD, l.rs.img.Header.Root)
	}
	leader, err := l.rs.standIn(p, init, unix.SIGCHLD, rec.SID)
	if leader != nil {
		defer func() { err = firstError(err, l.rs.dismiss(leader, init, rec.SID)) }()
	}
	if err != nil {
		return nil, err
	}
	if _, err := leader.call(sysSetsid); err != nil {
		return nil, err
	}
	return p.clone(leader, unix.CLONE_PARENT, 0, rec.PID)
}

// outlive makes a process that dies with its parent no longer do so.
func (p *process) outlive() error {
	_, err := p.leader().call(sysPrctl, unix.PR_SET_PDEATHSIG, 0, 0, 0, 0)
	return err
}

// giveCalls makes a process install the filter that gives it and its
// descendants the calls, and takes the listener, unless it has them already.
func (l *launcher) giveCalls(p *process) error {
	calls := hostCalls
	if l.rs.tells {
		calls = FaultCalls()
	}
	program, err := callsProgram(calls)
	if err != nil {
		return err
	}
	if err := p.enter(); err != nil {
		return err
	}
	t := p.leader()
	install := func() (uint64, error) {
		return l.rs.installProgram(p, t, program, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW)
	}
	fd, err := install()
	if errors.Is(err, unix.EACCES) {
		if _, err := t.call(sysPrctl, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
		fd, err = install()
	}
	if errors.Is(err, unix.EBUSY) {
		// There is one listener at most. If it is that of a cr run around this
		// program, the process has the calls from there.
		switch has, e := t.hasCalls(); {
		case e != nil:
			return e
		case has:
			err = nil
		}
	} else if err == nil {
		err = l.takeListener(p, int(fd))
	}
	if err != nil {
		return fmt.Errorf("give the program the calls: %w", err)
	}
	_, err = t.call(sysMunmap, p.scratch, scratchSize)
	p.scratch = 0
	return err
}

// takeListener takes a listener from a process, which has installed its filter.
func (l *launcher) takeListener(p *process, fd int) error {
	pidfd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	if l.made.Listener, err = pidfdGetfd(pidfd, fd); err != nil {
		return err
	}
	if _, err := p.leader().call(sysClose, uint64(fd)); err != nil || !l.rs.tells {
		return err
	}
	return l.serve()
}

// serve carries out the calls of the new processes, which make one, to set what
// SIGSEGV does, while they are made.
func (l *launcher) serve() error {
	side, err := NewIntercept(l.made.Listener)
	if err != nil {
		return err
	}
	l.made.Listener = -1
	side.Log, side.Creator, side.Fault = l.options.Warn, l.options.Creator, true
	side.CPU = &convert.CPU{Allowed: l.rs.img.Process(l.rs.img.Header.Root).Told}
	go func() { side.log(side.Serve()) }()
	return nil
}

// abandon ends what was started.
func (l *launcher) abandon() {
	if l.stub != 0 {
		// A traced task is reaped by its tracer before init can end.
		if t := l.rs.tree; t != nil {
			_ = t.kill() // they may have ended
			_ = t.thaw()
		}
		unix.Kill(l.stub, unix.SIGKILL)
		unix.Wait4(l.stub, nil, unix.WALL, nil)
	}
	if l.made.report != nil {
		l.made.report.Close()
	}
	if l.made.Listener >= 0 {
		unix.Close(l.made.Listener)
	}
}

// Wait waits for the root process to end and gives its wait status.
func (m *Restarted) Wait() (unix.WaitStatus, error) {
	for {
		ws, err := m.WaitStop()
		if err != nil || !ws.Stopped() {
			return ws, err
		}
	}
}

// WaitStop waits for the root process to end or to stop, and gives its wait
// status.
func (m *Restarted) WaitStop() (unix.WaitStatus, error) {
	if m.ends != nil {
		return <-m.ends, nil
	}
	if m.report == nil {
		var ws unix.WaitStatus
		for {
			_, err := unix.Wait4(m.PID, &ws, unix.WUNTRACED, nil)
			if !errors.Is(err, unix.EINTR) {
				return ws, err
			}
		}
	}
	var b [8]byte
	for {
		_, err := io.ReadFull(m.report, b[:])
		if errors.Is(err, io.EOF) && m.Init != 0 {
			// It was killed before it could tell, and all others by that.
			return unix.WaitStatus(unix.SIGKILL), nil
		}
		if err != nil {
			return 0, fmt.Errorf("the parent of process %d ended before it told its status: %w", m.root, err)
		}
		if m.order.Uint32(b[:]) == m.root {
			return unix.WaitStatus(m.order.Uint32(b[4:])), nil
		}
	}
}
