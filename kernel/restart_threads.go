package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// threadFlags are those of a thread of a process (pthread_create(3)).
const threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SYSVSEM

// stageThreads makes the threads of a process beyond its leader. They do
// nothing yet.
func (rs *restarter) stageThreads(r *reborn) error {
	for _, rec := range rs.img.TasksOf(r.rec)[1:] {
		t, err := r.clone(r.leader(), threadFlags, 0, rs.wanted(rec.TID))
		if err != nil {
			return fmt.Errorf("thread %d: %w", rec.TID, err)
		}
		r.tasks = append(r.tasks, t)
		rs.tree.tasks[t.tid] = t
	}
	return nil
}

// wanted is the pid that a new task shall get, 0 for any.
func (rs *restarter) wanted(pid uint32) uint32 {
	if !rs.options.KeepPIDs {
		return 0
	}
	return pid
}

// commitThreads ends the threads that the process had before: as in execve(2),
// the caller alone goes on.
func (rs *restarter) commitThreads(r *reborn) error {
	for _, t := range r.others {
		t.insn = r.insn
		if err := rs.end(t); err != nil {
			return err
		}
	}
	r.others = nil
	return nil
}

// end makes a thread exit.
func (rs *restarter) end(t *task) error {
	_, err := t.call(sysExit, 0)
	if err == nil {
		return fmt.Errorf("pid %d: exit returned", t.tid)
	}
	if !errors.Is(err, errGone) {
		return err
	}
	delete(rs.tree.tasks, t.tid)
	return nil
}
