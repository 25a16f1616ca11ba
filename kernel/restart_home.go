package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// enterHome prepares a caller for calls as enterFor does, and so that it undoes by
// itself what was staged in it if this program is killed, and waits on in its
// call. It is false where there is no way back for the task that makes the calls.
func (rs *restarter) enterHome(r *reborn) (bool, error) {
	t := r.leader()
	if c, err := t.readDispatch(); c.mode != 0 || err != nil {
		return false, err
	}
	way, err := t.ppcWay()
	if err != nil {
		return false, err
	}
	at, err := r.undoPlace(t, way)
	if at == 0 || err != nil {
		return false, err
	}
	entries, data := rs.undoListSize()
	r.room += entries + data
	addr, err := r.takeScratch(r.room)
	if err != nil {
		return false, err
	}
	r.loan = loan{task: t, at: at, way: way, room: r.room}
	if err := r.setOut(t); err != nil {
		return false, err
	}
	flags := uint32(unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_NORESERVE | mapFixedNoReplace)
	if _, err := t.mmap(addr, r.room, unix.PROT_READ|unix.PROT_WRITE, flags, -1, 0); err != nil {
		return false, err
	}
	r.scratch = addr
	if err := r.layUndo(t); err != nil {
		return false, err
	}
	t.insn = at + r.loan.code.mapped
	r.insn = addr + scratchSize
	if _, err := t.call(sysMprotect, r.insn, scratchSize, unix.PROT_READ|unix.PROT_EXEC); err != nil {
		return false, err
	}
	u := newUndoList(r, r.insn+scratchSize, entries, data)
	if err := u.start(r.insn, at+r.loan.code.unmap); err != nil {
		return false, err
	}
	u.giveUp = func() error { return rs.bind(r.others) }
	t.insn, t.home = u.insn, u
	for _, t := range r.others {
		t.insn = r.insn
	}
	return true, nil
}

// noWayBack is the point of no return: from now on the caller dies with this
// program.
func (rs *restarter) noWayBack() error {
	if u := rs.root.leader().home; u != nil && !u.gone {
		return u.stop()
	}
	return nil
}

// forgetHome takes the undo code of a caller out of the vdso, which it will keep
// and its children have.
func (rs *restarter) forgetHome() error {
	t := rs.root.leader()
	if t.home == nil {
		return nil
	}
	l, v := rs.root.loan, rs.root.process.vdso // not the plan for it
	was := v.content[l.at-v.start:][:len(l.code.text)]
	for _, r := range rs.list {
		if r.mm == nil || r.borrowed {
			continue // it ends, or has that of another
		}
		if err := r.mem.write(l.at, was); err != nil {
			return fmt.Errorf("process %d did not come up: %w", r.rec.PID, err)
		}
	}
	t.home, rs.root.loan = nil, loan{}
	return nil
}
