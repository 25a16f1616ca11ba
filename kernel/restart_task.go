package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"cr/image"
	"cr/regset"
)

// commit makes the staged processes into those of the image. It cannot fail
// for lack of anything; if it fails all the same, the processes must be killed.
func (rs *restarter) commit() error {
	if err := rs.forgetHome(); err != nil {
		return err
	}
	if err := rs.commitNames(); err != nil {
		return err
	}
	if err := rs.commitZombies(); err != nil {
		return err
	}
	// What needs staged descriptors or paths comes first, for all processes: they
	// can share a table of descriptors.
	if err := rs.commitSteps([]commitStep{
		{"threads", rs.commitThreads},
		{"memory", ofOwner(rs.commitMemory)},
		{"protection keys", ofOwner(rs.commitKeys)},
		{"address space", ofOwner(rs.commitMM)},
		{"process files", rs.commitProcessFiles},
		{"directories", commitApart(rs.commitPlaces, ownFS)},
	}); err != nil {
		return err
	}
	return rs.commitSteps([]commitStep{
		{"descriptors", commitApart(rs.commitFiles, ownFiles)},
		{"settings", rs.commitSettings},
		{"signal actions", rs.commitSignals},
		{"tasks", rs.commitTasks},
		{"registers", rs.commitCPU},
		{"job control", rs.commitStopped},
	})
}

// commitStopped sends a process that was stopped the signal that will stop it
// again as soon as it may run.
func (rs *restarter) commitStopped(r *reborn) error {
	if r.rec.State != image.Stopped {
		return nil
	}
	return unix.Kill(r.pid, unix.SIGSTOP)
}

// commitStep is a part of the commit of a process.
type commitStep struct {
	name string
	do   func(*reborn) error
}

func (rs *restarter) commitSteps(steps []commitStep) error {
	for _, r := range rs.list {
		for _, step := range steps {
			if err := step.do(r); err != nil {
				return fmt.Errorf("pid %d: %s: %w", r.pid, step.name, err)
			}
		}
	}
	return rs.allUp()
}

// allUp makes sure that there are as many tasks as the image has, and that each
// of them is where it waits to be let go.
func (rs *restarter) allUp() error {
	up := 0
	for _, r := range rs.list {
		tids, err := threads(r.pid)
		if err != nil {
			return fmt.Errorf("process %d did not come up: %w", r.rec.PID, err)
		}
		for i, rec := range rs.img.TasksOf(r.rec) {
			s, err := readStatus(r.tasks[i].tid)
			if err != nil {
				return fmt.Errorf("task %d of process %d did not come up: %w", rec.TID, r.rec.PID, err)
			}
			if s.state != 't' {
				return fmt.Errorf("task %d of process %d did not come up: its state is %c", rec.TID, r.rec.PID, s.state)
			}
			up++
		}
		if n := len(rs.img.TasksOf(r.rec)); len(tids) != n {
			return fmt.Errorf("process %d has %d tasks, not %d", r.rec.PID, len(tids), n)
		}
	}
	if n := len(rs.img.Tasks); up != n {
		return fmt.Errorf("%d tasks came up, not %d", up, n)
	}
	return nil
}

// commitMM tells the kernel where things lie in the address space.
func (rs *restarter) commitMM(r *reborn) error {
	t := r.leader()
	m := r.mm
	auxv := r.scratch + 256
	if err := r.mem.write(auxv, m.Auxv); err != nil {
		return err
	}
	set := func(size, exe int) error {
		args, err := mmMap(m, auxv, size, exe)
		if err != nil {
			return err
		}
		if err := r.mem.write(r.scratch, args); err != nil {
			return err
		}
		_, err = t.call(sysPrctl, prSetMM, prSetMMMap, r.scratch, uint64(len(args)), 0)
		return err
	}
	exe := r.exe
	err := set(len(m.Auxv), exe)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EBUSY) {
		// The link to the program file is for those with CAP_CHECKPOINT_RESTORE,
		// and stays where the file that it leads to is mapped again: there it is
		// right already.
		exe = -1
		err = set(len(m.Auxv), exe)
	}
	if errors.Is(err, unix.EINVAL) {
		err = set(0, exe) // a vector longer than this kernel's
	}
	if errors.Is(err, unix.EINVAL) {
		return nil // addresses that the kernel does not take from anybody
	}
	return err
}

// commitSettings sets what a process has set for itself.
func (rs *restarter) commitSettings(r *reborn) error {
	c := r.callsOf(r.leader())
	c.add(nil, sysPersonality, uint64(r.rec.Personality))
	if r.rec.Subreaper {
		c.add(nil, sysPrctl, unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	}
	if r.mm.THPDisable {
		c.add(nil, sysPrctl, unix.PR_SET_THP_DISABLE, 1, 0, 0, 0)
	}
	if err := c.run(); err != nil {
		return err
	}
	for i, l := range r.rec.Limits {
		if l != r.limits[i] || i == unix.RLIMIT_NOFILE {
			if err := r.setLimit(i, l); err != nil {
				return fmt.Errorf("limit %d: %w", i, err)
			}
		}
	}
	return nil
}

// mayHaveLimits checks that a process may have the limits of the image: hard
// limits are raised with CAP_SYS_RESOURCE only.
func (rs *restarter) mayHaveLimits(p *process, rec *image.Process) error {
	now, err := readLimits(p.pid)
	if err != nil {
		return err
	}
	if len(now) != len(rec.Limits) {
		return fmt.Errorf("%w: %d limits", image.ErrInvalid, len(rec.Limits))
	}
	for i, l := range rec.Limits {
		if l.Max > now[i].Max && !rs.mayUse(capSysResource) {
			return &RefusedError{PID: int(rec.PID), Kind: "limit", Object: fmt.Sprint(i),
				Reason: fmt.Sprintf("its hard limit was %d, here it is %d", l.Max, now[i].Max),
				Hint:   "raise the limit (ulimit -H)", Errno: unix.EPERM}
		}
	}
	return nil
}

// commitSignals sets signal actions, pending signals and interval timers. All
// signals are blocked meanwhile.
func (rs *restarter) commitSignals(r *reborn) error {
	t := r.leader()
	l := layoutOf(t.abi)
	if r == rs.root && !rs.ownProcess {
		if err := r.dropSignals(); err != nil {
			return err
		}
	}
	for _, rec := range rs.img.Processes {
		if rec.State == image.Zombie && rec.PPID == r.rec.PID {
			if err := rs.eatSIGCHLD(r); err != nil {
				return err
			}
		}
	}
	c := r.callsOf(t)
	now := r.status.sigIgn | r.status.sigCgt
	for i, a := range rs.img.Sighand(r.rec.Sighand).Actions {
		sig := i + 1
		if sig == int(unix.SIGKILL) || sig == int(unix.SIGSTOP) {
			continue
		}
		if a == (image.Action{}) && now>>uint(i)&1 == 0 && (rs.ownProcess || sig != int(unix.SIGCHLD)) {
			continue // a default action is one, but that for SIGCHLD has flags
		}
		c.add(nil, sysRtSigaction, uint64(sig), c.put(l.putAction(a)), 0, sigsetSize)
	}
	if err := c.run(); err != nil {
		return err
	}
	var pid uint64
	if len(r.rec.Pending) > 0 {
		var err error
		if pid, err = t.call(sysGetpid); err != nil {
			return err
		}
	}
	for _, info := range r.rec.Pending {
		if err := r.mem.write(r.scratch, info); err != nil {
			return err
		}
		sig := t.abi.Order().Uint32(info)
		if _, err := t.call(sysRtSigqueueinfo, pid, uint64(sig), r.scratch); err != nil {
			return err
		}
	}
	c = r.callsOf(t)
	for which, timer := range r.rec.Itimers {
		if timer != (image.Itimer{}) || rs.isCaller(r) {
			c.add(nil, sysSetitimer, uint64(which), c.put(l.putItimer(timer)), 0)
		}
	}
	if err := c.run(); err != nil {
		return err
	}
	return rs.commitTimers(r)
}

// dropSignals takes the signals that wait for the caller of restart(), which
// has blocked them: they are none of the image's, which might die of them.
func (r *reborn) dropSignals() error {
	set, now := make([]byte, sigsetSize), make([]byte, 16) // a timespec of zero
	layoutOf(r.leader().abi).putSigset(set, allSignals)
	for {
		_, err := r.do(sysRtSigtimedwait, set, 0, now, sigsetSize)
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// isCaller reports whether a process is the caller of restart(), which has
// settings of its own that the image may not have.
func (rs *restarter) isCaller(r *reborn) bool { return r == rs.root && !rs.ownProcess }

// commitTasks sets what each task has set for itself.
func (rs *restarter) commitTasks(r *reborn) error {
	records := rs.img.TasksOf(r.rec)
	for i, t := range r.tasks {
		if err := rs.commitTask(r, t, records[i]); err != nil {
			return err
		}
	}
	return nil
}

func (rs *restarter) commitTask(r *reborn, t *task, rec *image.Task) error {
	l := layoutOf(t.abi)
	at := func(b []byte) (uint64, error) { return r.scratch, r.mem.write(r.scratch, b) }
	c := r.callsOf(t)
	c.add(nil, sysPrctl, unix.PR_SET_NAME, c.put(append([]byte(rec.Comm), 0)), 0, 0, 0)
	if stack := rec.AltStack; stack.Flags&ssDisable == 0 || t == r.leader() { // other threads have none
		stack.Flags &^= ssOnstack
		c.add(nil, sysSigaltstack, c.put(l.putAltStack(stack)), 0)
	}
	c.add(nil, sysSetTidAddress, rec.ClearTID)
	c.add(func(_ uint64, err error) error {
		if rec.RobustList == 0 {
			return nil
		}
		return err
	}, sysSetRobustList, rec.RobustList, rec.RobustLen)
	commitRseq(c, rec)
	commitOwnSettings(c, rec, false)
	if err := c.run(); err != nil {
		return err
	}
	rs.unpin(t)
	if err := rs.commitSched(r, t, rec); err != nil {
		return err
	}
	if err := r.commitMemPolicy(t, rec); err != nil {
		return err
	}
	if err := rs.commitCPUID(r, t); err != nil {
		return err
	}
	if err := rs.commitCreds(r, t, rec); err != nil {
		return err
	}
	// A change of credentials resets what follows.
	c = r.callsOf(t)
	prctl := func(option, value uint64) { c.add(nil, sysPrctl, option, value, 0, 0, 0) }
	prctl(unix.PR_SET_TIMERSLACK, rec.TimerSlack)
	// None that was cloned has a death signal.
	if rec.PDeathSig != 0 || r == rs.root && t == r.leader() {
		prctl(unix.PR_SET_PDEATHSIG, uint64(rec.PDeathSig))
	}
	if t == r.tasks[len(r.tasks)-1] { // all have the one of the process
		dumpable := uint64(0)
		if r.mm.Dumpable == 1 {
			dumpable = 1
		}
		prctl(unix.PR_SET_DUMPABLE, dumpable)
	}
	if err := c.run(); err != nil {
		return err
	}
	if len(rec.Pending) == 0 {
		return r.writeCalls(t, rs.states[rec.TID])
	}
	tid, err := t.call(sysGettid)
	if err != nil {
		return err
	}
	pid, err := t.call(sysGetpid)
	if err != nil {
		return err
	}
	for _, info := range rec.Pending {
		if _, err := at(info); err != nil {
			return err
		}
		sig := t.abi.Order().Uint32(info)
		if _, err := t.call(sysRtTgsigqueueinfo, pid, tid, uint64(sig), r.scratch); err != nil {
			return err
		}
	}
	return r.writeCalls(t, rs.states[rec.TID])
}

// SS_ONSTACK says where the task is and cannot be set, SS_DISABLE that it has no
// alternate stack (sigaltstack(2)).
const (
	ssOnstack = 1
	ssDisable = 2
)

// forgetRseq ends a registration of restartable sequences: the kernel would
// write to memory that is about to go.
func (t *task) forgetRseq() error {
	const unregister = 1
	ptr, size, signature, _, err := t.rseq()
	if err != nil || ptr == 0 {
		return err
	}
	_, err = t.call(sysRseq, ptr, uint64(size), unregister, uint64(signature))
	return err
}

// commitRseq registers restartable sequences.
func commitRseq(c *calls, rec *image.Task) {
	if rec.Rseq.Ptr == 0 {
		return
	}
	c.add(func(_ uint64, err error) error {
		if errors.Is(err, unix.ENOSYS) {
			return nil // programs do without
		}
		return err
	}, sysRseq, rec.Rseq.Ptr, uint64(rec.Rseq.Size), 0, uint64(rec.Rseq.Signature))
}

// commitCPU gives all tasks of a process their registers and signal masks, and
// unmaps what was mapped for the restart.
func (rs *restarter) commitCPU(r *reborn) error {
	records := rs.img.TasksOf(r.rec)
	if err := rs.commitFuture(r); err != nil {
		return err
	}
	c := r.callsOf(r.leader())
	commitOwnSettings(c, records[0], true)
	if err := c.run(); err != nil {
		return err
	}
	r.endLists() // they are about to be unmapped, and filters may be against the marker
	if err := rs.commitFilters(r); err != nil {
		return err
	}
	if rs.lastOfMemory(r) {
		if _, err := r.leader().call(sysMunmap, r.scratch, r.room); err != nil {
			return err
		}
	}
	for i, t := range r.tasks {
		rec := records[i]
		if err := t.writeCPU(rs.states[rec.TID]); err != nil {
			return err
		}
		if err := t.settle(rs.states[rec.TID].Find(regset.PPC_PPR)); err != nil {
			return err
		}
		if rec.Dispatch.Mode != 0 {
			if err := t.setDispatch(rec.Dispatch); err != nil {
				return err
			}
		}
		if err := t.setSigmask(rec.Sigmask); err != nil {
			return err
		}
		t.live = nil
	}
	return nil
}
