package kernel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// pins keep this thread and the processes that it makes on one processor while
// it makes them. They take turns all the time, and a processor that has gone idle
// meanwhile takes longer to wake up than a switch between two tasks on one takes.
type pins struct{ own, theirs cpuMask }

// cpuMask is a mask of processors as sched_setaffinity(2) has it.
type cpuMask []byte

// affinityOf reads the processors of a task; nil if that fails.
func affinityOf(tid int) cpuMask {
	mask := make(cpuMask, 1024) // 8192 processors, the most that kernels are built for
	n, _, e := unix.RawSyscall(unix.SYS_SCHED_GETAFFINITY, uintptr(tid), uintptr(len(mask)), uintptr(unsafe.Pointer(&mask[0])))
	if e != 0 {
		return nil
	}
	return mask[:n]
}

// set lets a task run on these processors. That may be refused: it is about speed
// only, and what a task of an image had chosen is set by itself.
func (m cpuMask) set(tid int) {
	if len(m) > 0 {
		unix.RawSyscall(unix.SYS_SCHED_SETAFFINITY, uintptr(tid), uintptr(len(m)), uintptr(unsafe.Pointer(&m[0])))
	}
}

// pin keeps this thread, and a task of our making with all that it will make, on
// the processor that this thread is on.
func (rs *restarter) pin(t *task) {
	var cpu uint32
	own, theirs := affinityOf(0), affinityOf(t.tid)
	_, _, e := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0)
	if e != 0 || !rs.ownProcess || keeperElsewhere() != nil || own == nil || theirs == nil || int(cpu) >= 8*len(own) {
		return
	}
	one := make([]byte, len(own))
	one[cpu/8] |= 1 << (cpu % 8)
	here := cpuMask(ownLayout.swapMask(one))
	here.set(0)
	here.set(t.tid)
	rs.pins = &pins{own, theirs}
}

// unpin gives a task the processors again that it had.
func (rs *restarter) unpin(t *task) {
	if rs.pins != nil {
		rs.pins.theirs.set(t.tid)
	}
}

// unpinSelf does so for this thread.
func (rs *restarter) unpinSelf() {
	if rs.pins != nil {
		rs.pins.own.set(0)
	}
}
