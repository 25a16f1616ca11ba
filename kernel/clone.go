package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// clone makes a held task make another one (clone3(2)) with a tid of its
// choice, or any if that is 0. The new task is traced, stopped and held, and in
// the state of the one that made it. The process's scratch memory is used.
func (p *process) clone(t *task, flags uint64, exitSignal unix.Signal, tid uint32) (*task, error) {
	order := t.abi.Order()
	const size, setTID = 88, 128 // struct clone_args; where its set_tid lies
	b := make([]byte, setTID+4)
	order.PutUint64(b, flags)
	order.PutUint64(b[32:], uint64(exitSignal))
	if tid != 0 {
		order.PutUint64(b[64:], p.scratch+setTID)
		order.PutUint64(b[72:], 1)
		order.PutUint32(b[setTID:], tid)
	}
	thread := flags&unix.CLONE_THREAD != 0
	if u := t.home; u != nil && !u.gone {
		waits := u.waits
		if thread {
			waits = u.waitsForThread
		}
		at, err := waits(exitSignal)
		if err != nil {
			return nil, err
		}
		if at != 0 {
			set := flags | unix.CLONE_PARENT_SETTID
			if thread {
				set |= unix.CLONE_CHILD_CLEARTID
				order.PutUint64(b[16:], at)
			}
			order.PutUint64(b, set)
			order.PutUint64(b[24:], at)
		}
	}
	if err := p.mem.write(p.scratch, b); err != nil {
		return nil, err
	}
	t.child = 0
	made, err := t.call(sysClone3, p.scratch, size)
	if err != nil {
		return nil, err
	}
	if t.child == 0 {
		return nil, fmt.Errorf("pid %d: clone3 made no task that is traced", t.tid)
	}
	c := &task{tid: t.child, pid: t.child, abi: t.abi, arch: t.arch, insn: t.insn, marker: t.marker}
	c.marker.tid = uint32(made)
	if thread {
		c.pid, c.list = t.pid, t.list
	} else {
		c.marker.pid = uint32(made)
	}
	if _, err := new(tree).awaitStop(c); err != nil {
		return nil, err
	}
	if u := t.home; u != nil && !u.gone {
		if thread {
			c.insn = u.last
		} else if err := ptrace(ptraceSetOptions, c.tid, 0, freezeOptions|optExitKill); err != nil {
			return nil, fmt.Errorf("pid %d: set options of ptrace: %w", c.tid, err)
		}
	}
	return c, c.hold()
}

// waits adds to the list that the process forgets a child, which dies with the
// kernel side, and the signal that it gets for it. It returns the address of the
// child's pid, which clone3(2) is to write.
func (u *undoList) waits(exitSignal unix.Signal) (uint64, error) {
	if exitSignal == unix.SIGCHLD && !u.eats {
		u.eats = true
		set, now := make([]byte, sigsetSize), make([]byte, 16) // a timespec of zero
		u.putSigset(set, 1<<uint(unix.SIGCHLD-1))
		if err := u.add(sysRtSigtimedwait, set, 0, now, sigsetSize); err != nil {
			return 0, err
		}
	}
	if err := u.add(sysWait4, noPID, 0, unix.WALL, 0); err != nil || u.gone {
		return 0, err
	}
	at := u.argument(u.n, 0)
	if u.word == 8 && u.abi.BigEndian {
		at += 4
	}
	return at, nil
}

// waitsForThread adds to the list that the process waits for the end of a thread
// of its own, which may still be in the code that is about to be unmapped. It
// returns the address that clone3(2) writes the thread's tid to, and its end 0.
func (u *undoList) waitsForThread(unix.Signal) (uint64, error) {
	if u.pause == nil {
		set, pause := make([]byte, sigsetSize), make([]byte, 16) // a timespec
		u.putLong(pause, 1, 1e6)
		if err := u.will(-1, sysRtSigtimedwait, set, 0, pause, sigsetSize); err != nil || u.gone {
			return 0, err
		}
		u.pause, u.next = u.next, nil
		u.pause.until0 = true
	}
	if _, err := u.push(*u.pause); err != nil || u.gone {
		return 0, err
	}
	return u.argument(u.n, lastArgument), nil
}

// noPID is a pid that no task has.
const noPID = 1<<31 - 1
