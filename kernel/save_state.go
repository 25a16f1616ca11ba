package kernel

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"cr/image"
)

// ask makes a task make a call that writes size bytes to the address that is
// its argument number arg, and returns these bytes.
func (p *process) ask(t *task, size, arg int, nr sysno, args ...uint64) ([]byte, error) {
	c := p.callsOf(t)
	at := c.room(size)
	args[arg] = at
	c.add(nil, nr, args...)
	if err := c.run(); err != nil {
		return nil, err
	}
	return c.bytes(at, size), nil
}

// fs saves the file system state of a process.
func (s *saver) fs(p *process, r *image.Process) error {
	if p.fsOf != nil {
		r.FS = s.img.Process(last(p.fsOf.status.nstgid)).FS
		return nil
	}
	var err error
	r.FS, err = s.fsOf(p, p.pid, p.status)
	return err
}

// fsOf saves the file system state of a task of a process.
func (s *saver) fsOf(p *process, tid int, status *status) (uint32, error) {
	f := &image.FS{ID: s.newID(), Umask: status.umask}
	s.img.FSs = append(s.img.FSs, f)
	var err error
	if f.Cwd, err = os.Readlink(procPath(tid, "cwd")); err != nil {
		return 0, err
	}
	if f.Root, err = os.Readlink(procPath(tid, "root")); err != nil {
		return 0, err
	}
	if strings.HasSuffix(f.Cwd, " (deleted)") {
		s.refuse(p, "working directory", f.Cwd, "it is deleted", "let the process change to another directory")
	}
	return f.ID, nil
}

// sighand saves the signal actions of a process.
func (s *saver) sighand(p *process, r *image.Process) error {
	if p.sighandOf != nil {
		r.Sighand = s.img.Process(last(p.sighandOf.status.nstgid)).Sighand
		return nil
	}
	l := layoutOf(p.leader().abi)
	h := &image.Sighand{ID: s.newID(), Actions: make([]image.Action, 64)}
	r.Sighand = h.ID
	s.img.Sighands = append(s.img.Sighands, h)
	c := p.callsOf(p.leader())
	at := make([]uint64, len(h.Actions))
	// Flags and mask of a default action have no effect, but for SIGCHLD.
	set := p.status.sigCgt | p.status.sigIgn | 1<<(uint64(unix.SIGCHLD)-1)
	for i := range at {
		if at[i] = c.room(l.actionSize()); set>>i&1 != 0 {
			c.add(nil, sysRtSigaction, uint64(i+1), 0, at[i], sigsetSize)
		}
	}
	if err := c.run(); err != nil {
		return err
	}
	for i := range h.Actions {
		h.Actions[i] = l.action(c.bytes(at[i], l.actionSize()))
	}
	return nil
}

// signals saves the shared pending signals of a process and its timers.
func (s *saver) signals(p *process, r *image.Process) error {
	pending, err := p.leader().pendingSignals(true)
	if err != nil {
		return err
	}
	for _, info := range pending {
		r.Pending = append(r.Pending, siginfoToTask(p.leader().abi, info))
	}
	l := layoutOf(p.leader().abi)
	c := p.callsOf(p.leader())
	var at [len(r.Itimers)]uint64
	for which := range r.Itimers {
		at[which] = c.room(l.itimerSize())
		c.add(nil, sysGetitimer, uint64(which), at[which])
	}
	if err := c.run(); err != nil {
		return err
	}
	for which := range r.Itimers {
		r.Itimers[which] = l.itimer(c.bytes(at[which], l.itimerSize()))
	}
	return s.timers(p, r)
}

// settings saves the limits of a process and what else it has set for itself.
func (s *saver) settings(p *process, r *image.Process) error {
	var err error
	if r.Limits, err = readLimits(p.pid); err != nil {
		return err
	}
	if r.Personality, err = readPersonality(p.pid); err != nil {
		return err
	}
	b, err := readProc(p.pid, "oom_score_adj")
	if err != nil {
		return err
	}
	adj, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 32)
	if err != nil {
		return fmt.Errorf("%s: %w", procPath(p.pid, "oom_score_adj"), err)
	}
	r.OOMScoreAdj = int32(adj)
	if r.ELFv1, err = elfV1(p.pid, p.leader().abi); err != nil {
		return err
	}
	if root := s.img.Processes[0]; r.ELFv1 != root.ELFv1 {
		s.refuse(p, "process", r.Comm, fmt.Sprintf("its ELF ABI (e_flags) is not that of pid %d", root.PID), "save it by itself")
	}
	r.CtlTTY = p.stat.num(7) != 0
	r.ExitSignal = uint32(p.stat.num(38))
	r.Dumpable = s.img.MM(r.MM).Dumpable
	b, err = p.ask(p.leader(), 4, 1, sysPrctl, unix.PR_GET_CHILD_SUBREAPER, 0, 0, 0, 0)
	if err != nil {
		return err
	}
	r.Subreaper = hostOrder.Uint32(b) != 0
	return s.processFiles(p, r)
}

// readLimits reads the resource limits of a process: /proc/PID/limits has them
// in the order of RLIMIT_*, and needs less authority than prlimit(2).
func readLimits(pid int) ([]image.Limit, error) {
	b, err := readProc(pid, "limits")
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")[1:]
	list := make([]image.Limit, len(lines))
	parse := func(s string) (uint64, error) {
		if s == "unlimited" {
			return ^uint64(0), nil
		}
		return strconv.ParseUint(s, 10, 64)
	}
	for i, line := range lines {
		const name = 26 // width of the first column
		if len(line) < name {
			return nil, fmt.Errorf("%s: malformed line %q", procPath(pid, "limits"), line)
		}
		f := strings.Fields(line[name:])
		if len(f) < 2 {
			return nil, fmt.Errorf("%s: malformed line %q", procPath(pid, "limits"), line)
		}
		if list[i].Cur, err = parse(f[0]); err == nil {
			list[i].Max, err = parse(f[1])
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", procPath(pid, "limits"), err)
		}
	}
	return list, nil
}

// tasks saves the tasks of a process, but for their CPU state.
func (s *saver) tasks(p *process, r *image.Process) error {
	for _, t := range p.tasks {
		if err := p.borrow(t); err != nil {
			return err
		}
		if err := p.readCalls(t, t.cpu); err != nil {
			return err
		}
		t.cpu.Used = t.arch.Used(t.cpu)
		st := t.status
		var err error
		r := &image.Task{
			TID:     last(st.nspid),
			PID:     last(st.nstgid),
			Sigmask: t.mask,
			Creds:   s.ids.creds(st.creds),
		}
		s.img.Tasks = append(s.img.Tasks, r)
		if t.ownFS {
			if r.FS, err = s.fsOf(p, t.tid, st); err != nil {
				return err
			}
		}
		if t.ownFiles {
			if r.Files, err = s.table(p, t.tid); err != nil {
				return err
			}
		}
		comm, err := readProc(t.tid, "comm")
		if err != nil {
			return err
		}
		r.Comm = strings.TrimSuffix(string(comm), "\n")
		if err := s.filters(t, st, r); err != nil {
			return err
		}
		pending, err := t.pendingSignals(false)
		if err != nil {
			return err
		}
		for _, info := range pending {
			r.Pending = append(r.Pending, siginfoToTask(t.abi, info))
		}
		if r.Rseq.Ptr, r.Rseq.Size, r.Rseq.Signature, r.Rseq.Flags, err = t.rseq(); err != nil {
			return err
		}
		if err := s.askTask(p, t, r); err != nil {
			return err
		}
		if err := readSched(t.tid, &r.Sched); err != nil {
			return err
		}
		if err := s.forgetAffinity(&r.Sched); err != nil {
			return err
		}
	}
	return nil
}

// askTask saves what only the task itself can say.
func (s *saver) askTask(p *process, t *task, r *image.Task) error {
	l := layoutOf(t.abi)
	c := p.callsOf(t)
	stack := c.room(l.altStackSize())
	c.add(nil, sysSigaltstack, 0, stack)
	tidAddress := c.room(8)
	c.add(func(_ uint64, err error) error {
		if err != nil {
			return fmt.Errorf("%w (the kernel needs CONFIG_CHECKPOINT_RESTORE)", err)
		}
		return nil
	}, sysPrctl, prGetTIDAddress, tidAddress, 0, 0, 0)
	deathSignal := c.room(4)
	c.add(nil, sysPrctl, unix.PR_GET_PDEATHSIG, deathSignal, 0, 0, 0)
	c.add(func(bits uint64, err error) error {
		r.Creds.Securebits = uint32(bits)
		return err
	}, sysPrctl, unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
	if err := s.timerSlack(c, r); err != nil {
		return err
	}
	if err := s.ownSettings(p, c, r); err != nil {
		return err
	}
	if err := c.run(); err != nil {
		return err
	}
	r.AltStack = l.altStack(c.bytes(stack, l.altStackSize()))
	// The kernel writes a pointer of its own size, whatever the task's is.
	r.ClearTID = ownLayout.long(c.bytes(tidAddress, 8), 0)
	r.PDeathSig = hostOrder.Uint32(c.bytes(deathSignal, 4))
	var err error
	if r.RobustList, r.RobustLen, err = p.robustList(t); err != nil {
		return err
	}
	return s.memPolicy(p, t, r)
}

// robustList gives the address and the size of the head of a task's list of
// robust futexes. The kernel keeps one for each word size (get_robust_list(2)).
func (p *process) robustList(t *task) (at, size uint64, err error) {
	if t.abi.WordSize() == int(unsafe.Sizeof(uintptr(0))) {
		var head, length uintptr
		_, _, e := unix.Syscall(unix.SYS_GET_ROBUST_LIST, uintptr(t.tid), uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&length)))
		if e != 0 {
			return 0, 0, fmt.Errorf("pid %d: get_robust_list: %w", t.tid, e)
		}
		return uint64(head), uint64(length), nil
	}
	c := p.callsOf(t)
	at, size = c.room(8), c.room(8)
	c.add(nil, sysGetRobustList, 0, at, size)
	if err := c.run(); err != nil {
		return 0, 0, err
	}
	l := layoutOf(t.abi)
	return l.long(c.bytes(at, 8), 0), l.long(c.bytes(size, 8), 0), nil
}

// timerSlack saves a task's, in nanoseconds. To read it in /proc takes
// CAP_SYS_NICE (proc_pid_timerslack_ns(5)); without, the task is asked.
func (s *saver) timerSlack(c *calls, r *image.Task) error {
	if !s.noSlack {
		b, err := readProc(c.t.tid, "timerslack_ns")
		if err == nil {
			r.TimerSlack, err = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
			return err
		}
		s.noSlack = true
	}
	c.add(func(slack uint64, err error) error {
		r.TimerSlack = slack
		return err
	}, sysPrctl, unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	return nil
}

// prGetTIDAddress is PR_GET_TID_ADDRESS, which golang.org/x/sys lacks on some
// machines.
const prGetTIDAddress = 40
