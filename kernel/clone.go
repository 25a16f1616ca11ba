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
	if flags&unix.CLONE_THREAD != 0 {
		c.pid, c.list = t.pid, t.list
	} else {
		c.marker.pid = uint32(made)
	}
	if _, err := new(tree).awaitStop(c); err != nil {
		return nil, err
	}
	return c, c.hold()
}
