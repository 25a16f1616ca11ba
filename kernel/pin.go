package kernel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// pins keep this thread and the processes that it makes on one processor while
// it makes them. They take turns all the time, and a processor that has gone idle
// meanwhile takes longer to wake up than a switch between two tasks on one takes.
// What the kernel refuses of it is done without: it is about speed only.
type pins struct{ own, theirs unix.CPUSet }

// pin keeps this thread, and a task of our making with all that it will make, on
// the processor that this thread is on.
func (rs *restarter) pin(t *task) {
	if !rs.ownProcess || keeperElsewhere() != nil {
		return
	}
	var cpu uint32
	var were pins
	var one unix.CPUSet
	if _, _, e := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0); e != 0 ||
		unix.SchedGetaffinity(0, &were.own) != nil || unix.SchedGetaffinity(t.tid, &were.theirs) != nil {
		return
	}
	one.Set(int(cpu))
	_ = unix.SchedSetaffinity(0, &one)
	_ = unix.SchedSetaffinity(t.tid, &one)
	rs.pins = &were
}

// unpin gives a task the processors again that it had.
func (rs *restarter) unpin(t *task) {
	if rs.pins != nil {
		_ = unix.SchedSetaffinity(t.tid, &rs.pins.theirs)
	}
}

// unpinSelf does so for this thread.
func (rs *restarter) unpinSelf() {
	if rs.pins != nil {
		_ = unix.SchedSetaffinity(0, &rs.pins.own)
	}
}
