package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// forNow does something while something of the root process is changed: back
// puts it back, at once or, if that fails too, when the restart is undone; or the
// process does by itself, by the calls that back makes before anything is changed.
// do may be nil.
func (rs *restarter) forNow(change, do, back func() error) error {
	rs.backs = append(rs.backs, back)
	home := rs.root.leader().home
	record, err := home.record(back)
	if err == nil {
		err = change()
	}
	if err == nil && do != nil {
		err = do()
	}
	e := back()
	if e == nil {
		rs.backs = rs.backs[:len(rs.backs)-1]
		e = home.forget(record)
	}
	return firstError(err, e)
}

// undo takes back what was staged, so that the process is as it was. If that
// fails the process is killed, and the error is errKilled.
func (rs *restarter) undo(cause error) error {
	if rs.root == nil {
		return cause
	}
	for _, step := range []func() error{
		rs.undoChildren,
		func() error { return rs.undoThreads(rs.root) },
		rs.undoChanges,
		func() error { return rs.undoFiles(rs.root) },
		func() error { return rs.undoMemory(rs.root) },
		func() error { return rs.root.freeKeys(rs.root.keys) },
	} {
		if err := step(); err != nil {
			return rs.abandon(fmt.Errorf("%v\nand it cannot be undone: %v", cause, err))
		}
	}
	rs.root.tasks = append(rs.root.tasks, rs.root.others...)
	return cause
}

// abandon ends the processes of a restart that can go neither on nor back.
func (rs *restarter) abandon(cause error) error {
	rs.closePidfd()
	_ = rs.endFilling() // what it was filling goes
	rs.tidy()
	err := firstError(cause, rs.tree.kill())
	// They would stay for good where the process could not remove them any more.
	rs.discardSysV()
	return fmt.Errorf("%w: %v", errKilled, err)
}

// undoChanges puts back what forNow could not, last changed first.
func (rs *restarter) undoChanges() error {
	for n := len(rs.backs); n > 0; n-- {
		if err := rs.backs[n-1](); err != nil {
			return err
		}
		rs.backs = rs.backs[:n-1]
	}
	return nil
}

// undoMemory unmaps what was staged, with the trampoline last.
func (rs *restarter) undoMemory(r *reborn) error {
	t := r.leader()
	for _, v := range r.vmas {
		if v.mapped {
			if _, err := t.call(sysMunmap, v.at, v.End-v.Start); err != nil {
				return err
			}
		}
	}
	for _, s := range rs.commonAt {
		if _, err := t.call(sysMunmap, s.start, s.end-s.start); err != nil {
			return err
		}
	}
	for id, at := range rs.shms {
		if _, err := t.call(sysMunmap, at, rs.img.Shm(id).Size); err != nil {
			return err
		}
	}
	if r.scratch == 0 {
		return nil
	}
	if err := rs.removeSegments(rs.segments); err != nil {
		return err
	}
	if err := rs.removeSysV(); err != nil {
		return err
	}
	if t.home != nil {
		return t.home.clear() // giveBack unmaps it
	}
	r.endLists()
	_, err := t.call(sysMunmap, r.scratch, r.room)
	return err
}

// undoFiles closes what was staged.
func (rs *restarter) undoFiles(r *reborn) error {
	rs.closePidfd()
	if err := rs.endFilling(); err != nil {
		return err
	}
	if r.scratch == 0 {
		return nil
	}
	if err := rs.undoSockets(); err != nil {
		return err
	}
	if err := r.putBack(); err != nil {
		return err
	}
	if err := r.closeAllBut(r.fds); err != nil {
		return err
	}
	if r.limits == nil {
		return nil
	}
	return r.setLimit(unix.RLIMIT_NOFILE, r.limits[unix.RLIMIT_NOFILE])
}

// undoThreads ends the threads that were made.
func (rs *restarter) undoThreads(r *reborn) error {
	for _, t := range r.tasks[1:] {
		if err := rs.end(t); err != nil {
			return err
		}
	}
	r.tasks = r.tasks[:1]
	return nil
}

// undoChildren ends the children that were made, and makes the caller forget
// them.
func (rs *restarter) undoChildren() error {
	for i := len(rs.list) - 1; i >= 1; i-- {
		r := rs.list[i]
		if err := unix.Kill(r.pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
		// The leader last: its end is told when its threads have been waited for.
		for k := len(r.tasks) - 1; k >= 0; k-- {
			tid := r.tasks[k].tid
			for {
				if _, err := waitTask(tid); err != nil {
					break
				}
			}
			delete(rs.tree.tasks, tid)
		}
		t := rs.root.leader()
		if r.status.ppid == rs.root.pid {
			_, err := t.call(sysWait4, uint64(last(r.status.nspid)), 0, unix.WALL, 0)
			if err != nil && !errors.Is(err, unix.ECHILD) {
				return err
			}
		}
	}
	if len(rs.list) > 1 && !rs.root.sigchld {
		return rs.eatSIGCHLD(rs.root)
	}
	return nil
}
