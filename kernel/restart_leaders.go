package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"cr/image"
)

// A process group or a session lives on when its leader has ended, and keeps its
// number. To make one again takes a leader for a moment: a stand-in, a task with
// that pid that ends as soon as there are members. It shares all that it
// can with the process that makes it.

// standInFlags are those of a stand-in (clone(2)).
const standInFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND

// standIn makes the task id, a child of a process, to lead a process group or a
// session; where that pid is taken, with another one. It notes what the id has
// become.
func (rs *restarter) standIn(p *process, by *task, exitSignal unix.Signal, id uint32) (*task, error) {
	t, err := p.clone(by, standInFlags, exitSignal, rs.wanted(id))
	if errors.Is(err, unix.EEXIST) {
		t, err = p.clone(by, standInFlags, exitSignal, 0)
	}
	if err != nil {
		return nil, err
	}
	now, err := t.call(sysGetpid)
	if err != nil {
		return t, err
	}
	if rs.led == nil {
		rs.led = make(map[uint32]uint32)
	}
	rs.led[id] = uint32(now)
	return t, nil
}

// dismiss ends a stand-in, and makes its parent forget it.
func (rs *restarter) dismiss(t, parent *task, id uint32) error {
	if err := rs.end(t); err != nil {
		return err
	}
	_, err := parent.call(sysWait4, uint64(rs.led[id]), 0, unix.WALL, 0)
	if errors.Is(err, unix.ECHILD) {
		return nil // it ignores SIGCHLD
	}
	return err
}

// aSession is a stand-in that leads a session.
type aSession struct {
	leader *task
	sid    uint32
}

// makeSession makes a process's child lead a session, as the parent of other
// children of the process in it.
func (rs *restarter) makeSession(parent *reborn, rec *image.Process) (aSession, error) {
	t, err := rs.standIn(parent.process, parent.leader(), unix.Signal(rec.ExitSignal), rec.SID)
	s := aSession{t, rec.SID}
	if err != nil {
		return s, err
	}
	_, err = t.call(sysSetsid)
	return s, err
}

// endSessions ends stand-ins, children of a process, all of whose children have
// been made.
func (rs *restarter) endSessions(parent *reborn, list []aSession) error {
	for _, s := range list {
		if s.leader == nil {
			continue
		}
		if err := rs.dismiss(s.leader, parent.leader(), s.sid); err != nil {
			return fmt.Errorf("session %d: %w", s.sid, err)
		}
		if !parent.sigchld {
			if err := rs.eatSIGCHLD(parent); err != nil {
				return err
			}
		}
	}
	return nil
}

// stageGroup makes a process group whose leader has ended, in the session of a
// process, and puts those processes into it that were members.
func (rs *restarter) stageGroup(first *reborn) (err error) {
	id := first.rec.PGID
	t, err := rs.standIn(first.process, first.leader(), 0, id)
	if t != nil {
		defer func() { err = firstError(err, rs.dismiss(t, first.leader(), id)) }()
	}
	if err != nil {
		return err
	}
	if _, err := t.call(sysSetpgid, 0, 0); err != nil {
		return err
	}
	for _, r := range rs.list {
		if r.rec.PGID != id {
			continue
		}
		if _, err := r.leader().call(sysSetpgid, 0, uint64(rs.led[id])); err != nil {
			return fmt.Errorf("process %d: %w", r.rec.PID, err)
		}
	}
	return nil
}

// rootsSession reports whether the session of the root process is made again,
// by the parent of the root process: its leader has ended, so whoever restarts
// it has no session that could be the same. One that is left is that of a shell.
func (rs *restarter) rootsSession(root *image.Process) bool {
	return rs.ownProcess && root.SessionEnded && !root.CtlTTY && root.SID != 0 && rs.img.Process(root.SID) == nil
}

// leadersEnded notes whether the leaders of the process group and of the session
// of a process have ended.
func leadersEnded(p *process, r *image.Process) error {
	for _, k := range []struct {
		field int // of /proc/PID/stat
		ended *bool
	}{{5, &r.GroupEnded}, {6, &r.SessionEnded}} {
		id := int(p.stat.num(k.field))
		if id <= 0 {
			continue // outside of the pid namespace of this program
		}
		s, err := readStatus(id)
		switch {
		case errors.Is(err, unix.ESRCH):
			*k.ended = true
		case err != nil:
			return err
		default:
			*k.ended = s.state == 'Z'
		}
	}
	return nil
}
