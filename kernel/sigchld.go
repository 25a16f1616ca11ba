package kernel

import (
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

var stopsQuiet sync.Once

// quietStops lets this program get no SIGCHLD when a task stops (SA_NOCLDSTOP):
// who traces waits for it anyway, and two signals for every call that a task is
// made to make are half of what the call costs. All else about the signal stays
// as the runtime has set it.
func quietStops() {
	stopsQuiet.Do(func() {
		const noCldStop = 1
		l := layoutOf(hostABI)
		act := make([]byte, l.actionSize())
		if rtSigaction(nil, &act[0]) != nil {
			return
		}
		l.putLong(act, 1, l.long(act, 1)|noCldStop)
		_ = rtSigaction(&act[0], nil) // it is slower without
	})
}

// loudStops undoes quietStops, for good: a thread that has other things to do
// learns of stops by the signal.
func loudStops() {
	stopsQuiet.Do(func() {})
	const noCldStop = 1
	l := layoutOf(hostABI)
	act := make([]byte, l.actionSize())
	if rtSigaction(nil, &act[0]) == nil {
		l.putLong(act, 1, l.long(act, 1)&^noCldStop)
		_ = rtSigaction(&act[0], nil)
	}
}

// rtSigaction sets and gets the action for SIGCHLD of this program.
func rtSigaction(set, old *byte) error {
	_, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGCHLD), uintptr(unsafe.Pointer(set)),
		uintptr(unsafe.Pointer(old)), sigsetSize, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}
