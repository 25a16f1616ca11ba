package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"cr/image"
)

// threadFlags are those of a thread of a process (pthread_create(3)).
const threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SYSVSEM

// stageThreads makes the threads of a process beyond its leader. They do
// nothing yet.
func (rs *restarter) stageThreads(r *reborn) error {
	for _, rec := range rs.img.TasksOf(r.rec)[1:] {
		if err := rs.stageThread(r, rec); err != nil {
			return fmt.Errorf("thread %d: %w", rec.TID, err)
		}
	}
	return nil
}

func (rs *restarter) stageThread(r *reborn, rec *image.Task) error {
	own := rs.apart(r, rec)
	flags := uint64(threadFlags)
	if rec.Files != 0 {
		flags &^= unix.CLONE_FILES
	}
	if rec.FS != 0 {
		flags &^= unix.CLONE_FS
		// The leader opens what the thread will find in its descriptors.
		var err error
		if own.cwd, err = r.openDir(rs.img.FS(rec.FS).Cwd); err != nil {
			return fmt.Errorf("working directory %w", err)
		}
		if own.root, err = rs.openRoot(r, rec.FS); err != nil {
			return err
		}
	}
	t, err := r.clone(r.leader(), flags, 0, rs.wanted(rec.TID))
	if err != nil {
		return err
	}
	r.tasks = append(r.tasks, t)
	rs.tree.tasks[t.tid] = t
	if own != nil {
		own.pid, own.tasks = t.tid, []*task{t}
		r.apart = append(r.apart, own)
	}
	return nil
}

// apart is a thread that has descriptors or a working directory for itself, as if
// it were a process of its own: what that can be made to do with them, it can.
// It is nil for other threads.
func (rs *restarter) apart(r *reborn, rec *image.Task) *reborn {
	if rec.Files == 0 && rec.FS == 0 {
		return nil
	}
	as := *r.rec
	if rec.Files != 0 {
		as.Files = rec.Files
	}
	if rec.FS != 0 {
		as.FS = rec.FS
	}
	p := *r.process
	return &reborn{process: &p, rec: &as, mm: r.mm, insn: r.insn, exe: -1, cwd: -1, limits: r.limits}
}

// tables lists who has a table of descriptors: processes, which can share them,
// and threads that have one for themselves.
func (rs *restarter) tables() []*reborn {
	var list []*reborn
	for _, r := range rs.list {
		list = append(list, r)
		for _, own := range r.apart {
			if own.rec.Files != r.rec.Files {
				list = append(list, own)
			}
		}
	}
	return list
}

// commitApart does a step for a process, and then for threads that have
// descriptors or a working directory for themselves.
func commitApart(step func(*reborn) error, has func(own, r *reborn) bool) func(*reborn) error {
	return func(r *reborn) error {
		if err := step(r); err != nil {
			return err
		}
		for _, own := range r.apart {
			if !has(own, r) {
				continue
			}
			if err := step(own); err != nil {
				return fmt.Errorf("thread %d: %w", own.pid, err)
			}
		}
		return nil
	}
}

func ownFS(own, r *reborn) bool    { return own.rec.FS != r.rec.FS }
func ownFiles(own, r *reborn) bool { return own.rec.Files != r.rec.Files }

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
