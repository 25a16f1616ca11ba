package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"

	"cr/image"
)

// withShared adds to the flags of clone(2) those for what a process shares with
// its maker. A zombie has nothing that could be shared.
func (rs *restarter) withShared(maker *reborn, flags uint64, rec *image.Process) (uint64, error) {
	if rec.State == image.Zombie {
		return flags, nil
	}
	for _, k := range []struct {
		its, makers uint32
		flag        uint64
	}{
		{rec.Files, maker.rec.Files, unix.CLONE_FILES},
		{rec.FS, maker.rec.FS, unix.CLONE_FS},
		{rec.MM, maker.rec.MM, unix.CLONE_VM},
		{rec.Sighand, maker.rec.Sighand, unix.CLONE_SIGHAND},
	} {
		if k.its == k.makers {
			flags |= k.flag
		}
	}
	for _, r := range rs.list {
		if r.rec.MM == rec.MM && flags&unix.CLONE_VM == 0 || r.rec.Sighand == rec.Sighand && flags&unix.CLONE_SIGHAND == 0 {
			return 0, &RefusedError{PID: int(rec.PID), Kind: "process", Object: rec.Comm, Errno: unix.EOPNOTSUPP,
				Reason: fmt.Sprintf("it shares memory or signal handlers with process %d, which could not have made it", r.rec.PID)}
		}
	}
	return flags, nil
}

// ofOwner is a step for memory, which is made once: by the first of those
// processes that share it.
func ofOwner(step func(*reborn) error) func(*reborn) error {
	return func(r *reborn) error {
		if r.borrowed {
			return nil
		}
		return step(r)
	}
}

// lastOfMemory reports whether no process after one shares its memory.
func (rs *restarter) lastOfMemory(r *reborn) bool {
	last := r
	for _, o := range rs.list {
		if o.rec.MM == r.rec.MM {
			last = o
		}
	}
	return last == r
}
