package kernel

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"cr/image"
)

// stageChildren makes the children of a process, and theirs. A session leader
// becomes one before it has children, so that they are in its session; but those
// that were in the session that it left come first.
func (rs *restarter) stageChildren(parent *reborn) error {
	var before, after []*image.Process
	leads := parent.rec.SID == parent.rec.PID && rs.leadsSession(parent)
	for _, rec := range rs.img.Processes {
		switch {
		case rec.PPID != parent.rec.PID || rec == rs.root.rec:
		case leads && rs.inSessionOf(parent.madeBy, rec):
			before = append(before, rec)
		default:
			after = append(after, rec)
		}
	}
	if err := rs.makeChildren(parent, before, true); err != nil {
		return err
	}
	if leads {
		if _, err := parent.leader().call(sysSetsid); err != nil {
			return err
		}
	}
	return rs.makeChildren(parent, after, false)
}

// inSessionOf reports whether a process was in the session of one that is made;
// of whoever restarts the tree, if that is nil: one whose leader is outside.
func (rs *restarter) inSessionOf(maker *reborn, rec *image.Process) bool {
	if maker == nil {
		return rs.img.Process(rec.SID) == nil && !rec.SessionEnded
	}
	return rec.SID == maker.rec.SID
}

// makeChildren makes children of a process, and theirs. If inherit is set, all
// of them are in the session that the process is in now.
func (rs *restarter) makeChildren(parent *reborn, list []*image.Process, inherit bool) (err error) {
	var sessions []aSession
	defer func() { err = firstError(err, rs.endSessions(parent, sessions)) }()
	for _, rec := range list {
		maker, by, flags := parent, parent.leader(), uint64(0)
		if !inherit {
			if maker, by, flags, err = rs.maker(parent, rec, &sessions); err != nil {
				return err
			}
		}
		if flags, err = rs.withShared(maker, flags, rec); err != nil {
			return err
		}
		child, err := rs.makeChild(maker, by, flags, rec)
		if err != nil {
			return fmt.Errorf("process %d: %w", rec.PID, err)
		}
		if err := rs.stageChildren(child); err != nil {
			return err
		}
	}
	return nil
}

// leadsSession reports whether a process shall be made a session leader. The
// root process of a job stays in the session of whoever restarts it, whose
// terminal stands in for the one that it had.
func (rs *restarter) leadsSession(r *reborn) bool {
	return r != rs.root || !r.rec.CtlTTY && rs.ownProcess
}

// maker finds the process that must make a child so that it is in the session
// that it was in, and its task that does: its parent, or, for one that was left
// to its parent by the death of another, a session leader that has the same
// parent; a stand-in if that has ended. Stand-ins are added to a list.
func (rs *restarter) maker(parent *reborn, rec *image.Process, sessions *[]aSession) (*reborn, *task, uint64, error) {
	if rec.SID == parent.rec.SID || rec.SID == rec.PID {
		return parent, parent.leader(), 0, nil
	}
	for _, r := range rs.list {
		if r.rec.PID == rec.SID && r.rec.PPID == parent.rec.PID {
			return r, r.leader(), unix.CLONE_PARENT, nil
		}
	}
	for _, s := range *sessions {
		if s.sid == rec.SID {
			return parent, s.leader, unix.CLONE_PARENT, nil
		}
	}
	if rs.img.Process(rec.SID) == nil && rs.led[rec.SID] == 0 {
		s, err := rs.makeSession(parent, rec)
		*sessions = append(*sessions, s)
		return parent, s.leader, unix.CLONE_PARENT, err
	}
	return nil, nil, 0, &RefusedError{PID: int(rec.PID), Kind: "process",
		Reason: fmt.Sprintf("it is in session %d, which no process leads that could have made it", rec.SID), Errno: unix.EOPNOTSUPP}
}

// makeChild makes one process: for now a copy of the one that makes it.
func (rs *restarter) makeChild(maker *reborn, by *task, flags uint64, rec *image.Process) (*reborn, error) {
	signal := unix.Signal(rec.ExitSignal)
	if flags&unix.CLONE_PARENT != 0 {
		signal = 0 // that of the maker is taken
	}
	t, err := maker.clone(by, flags, signal, rs.wanted(rec.PID))
	if err != nil {
		return nil, err
	}
	p := &process{pid: t.tid, tasks: []*task{t}}
	rs.tree.tasks[t.tid] = t
	rs.tree.processes = append(rs.tree.processes, p)
	if p.status, err = readStatus(p.pid); err != nil {
		return nil, err
	}
	if p.mem, err = openMemory(p.pid); err != nil {
		return nil, err
	}
	r := &reborn{process: p, rec: rec, mm: rs.img.MM(rec.MM), space: rs.root.space, old: rs.root.old, insn: maker.insn,
		exe: -1, cwd: -1, limits: rs.root.limits, madeBy: maker, borrowed: flags&unix.CLONE_VM != 0}
	p.scratch, r.room = maker.scratch, maker.room
	if list := rs.root.leader().list; list != nil {
		t.list = &callList{p.mem, list.at, list.code, list.end}
	}
	rs.list = append(rs.list, r)
	if r.mm != nil {
		if abi := rs.states[rs.img.TasksOf(rec)[0].TID].ABI; abi != t.abi {
			return nil, fmt.Errorf("a task of %s in a tree of %s: %w", abi, t.abi, unix.EOPNOTSUPP)
		}
	}
	return r, nil
}

// ourPID is the pid that a process of the image has now, in the namespace of
// the processes; 0 if it is not one of them.
func (rs *restarter) ourPID(pid uint32) uint32 {
	for _, r := range rs.list {
		if r.rec.PID == pid {
			return last(r.status.nspid)
		}
	}
	return 0
}

// groupNow is the number that a process group of the image has now; 0 if it has
// not been made.
func (rs *restarter) groupNow(id uint32) uint32 {
	if now := rs.ourPID(id); now != 0 {
		return now
	}
	return rs.led[id]
}

// stageGroups puts processes in the process groups that they were in, leaders
// first.
func (rs *restarter) stageGroups() error {
	for _, leaders := range []bool{true, false} {
		for _, r := range rs.list {
			leads := r.rec.PGID == r.rec.PID
			if leads != leaders || r.rec.PGID == 0 || r.rec.PGID == rs.root.rec.PGID && !rs.rootsGroup() {
				continue
			}
			group := rs.groupNow(r.rec.PGID)
			if group == 0 {
				if err := rs.stageGroup(r); err != nil {
					return fmt.Errorf("process group %d: %w", r.rec.PGID, err)
				}
				continue
			}
			if r.rec.SID == r.rec.PID && rs.leadsSession(r) {
				continue // setsid has done it
			}
			if _, err := r.leader().call(sysSetpgid, 0, uint64(group)); err != nil {
				return fmt.Errorf("process %d: %w", r.rec.PID, err)
			}
		}
	}
	return nil
}

// rootsGroup reports whether the process group of the root process is made
// again. A root process that was a member of a shell's job stays in the group of
// whoever restarts it if it had a terminal, or if the leader is not in the image
// but lives.
func (rs *restarter) rootsGroup() bool {
	rec := rs.root.rec
	switch {
	case !rs.ownProcess:
		return false
	case rec.PGID == rec.PID:
		return true
	case rs.img.Process(rec.PGID) != nil:
		return !rec.CtlTTY
	}
	return !rec.CtlTTY && rec.GroupEnded || rs.rootsSession(rec)
}

// commitZombies lets those processes end that had ended, with the status that
// they had. Their parents have not been told to ignore it yet.
func (rs *restarter) commitZombies() error {
	for i := len(rs.list) - 1; i >= 0; i-- {
		r := rs.list[i]
		if r.rec.State != image.Zombie {
			continue
		}
		if err := rs.commitZombie(r); err != nil {
			return fmt.Errorf("process %d: %w", r.rec.PID, err)
		}
		rs.list = append(rs.list[:i:i], rs.list[i+1:]...)
	}
	return nil
}

func (rs *restarter) commitZombie(r *reborn) error {
	t := r.leader()
	defer delete(rs.tree.tasks, t.tid)
	ws := unix.WaitStatus(r.rec.ExitStatus)
	if !ws.Signaled() {
		_, err := t.call(sysExitGroup, uint64(ws.ExitStatus()))
		if errors.Is(err, errGone) {
			return nil
		}
		return fmt.Errorf("exit_group returned: %w", err)
	}
	sig := ws.Signal()
	if !ws.CoreDump() {
		if err := r.setLimit(unix.RLIMIT_CORE, image.Limit{}); err != nil {
			return err
		}
	}
	l := layoutOf(t.abi)
	if err := r.mem.write(r.scratch, l.putAction(image.Action{})); err != nil {
		return err
	}
	if sig != unix.SIGKILL {
		if _, err := t.call(sysRtSigaction, uint64(sig), r.scratch, 0, sigsetSize); err != nil {
			return err
		}
	}
	if err := unix.Kill(r.pid, sig); err != nil {
		return err
	}
	// One that is killed has ended by now.
	if err := t.setSigmask(0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	for deliver := uintptr(0); ; deliver = uintptr(sig) {
		if err := ptrace(unix.PTRACE_CONT, t.tid, 0, deliver); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
		if _, err := waitTask(t.tid); err != nil {
			if errors.Is(err, errGone) {
				return nil
			}
			return err
		}
	}
}

// sigchldPending reports whether a process has a SIGCHLD pending.
func sigchldPending(pid int) (bool, error) {
	b, err := readProc(pid, "status")
	if err != nil {
		return false, err
	}
	for _, line := range strings.Split(string(b), "\n") {
		if key, v, _ := strings.Cut(line, ":"); key == "ShdPnd" {
			set, err := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
			return set>>(unix.SIGCHLD-1)&1 != 0, err
		}
	}
	return false, nil
}

// eatSIGCHLD takes a pending SIGCHLD from a process, which it got for a child
// of our making.
func (rs *restarter) eatSIGCHLD(r *reborn) error {
	t := r.leader()
	l := layoutOf(t.abi)
	b := make([]byte, 64) // sigset_t, and at 32 a timespec of zero
	l.putSigset(b, 1<<uint(unix.SIGCHLD-1))
	if err := r.mem.write(r.scratch, b); err != nil {
		return err
	}
	_, err := t.call(sysRtSigtimedwait, r.scratch, 0, r.scratch+32, sigsetSize)
	if errors.Is(err, unix.EAGAIN) {
		return nil
	}
	return err
}
