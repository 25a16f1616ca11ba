package kernel

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"cr/image"
)

// clocks are CLOCK_MONOTONIC and CLOCK_BOOTTIME, or what a time namespace adds to
// them (time_namespaces(7)), in nanoseconds.
type clocks struct{ monotonic, boottime int64 }

// clocksNow are the clocks as this program has them.
func clocksNow() clocks {
	return clocks{clock(unix.CLOCK_MONOTONIC), clock(unix.CLOCK_BOOTTIME)}
}

func clock(id int32) int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0
	}
	return ts.Nano()
}

// clocksOf are the clocks as a task has them.
func clocksOf(tid int) (clocks, error) {
	now := clocksNow()
	theirs, err := clockOffsets(tid)
	if err != nil || theirs == (clocks{}) {
		return now, err
	}
	ours, err := clockOffsets(unix.Getpid())
	return clocks{now.monotonic - ours.monotonic + theirs.monotonic, now.boottime - ours.boottime + theirs.boottime}, err
}

// clockOffsets are what the time namespace of a task's children adds to the
// clocks. Nothing where the kernel has no time namespaces.
func clockOffsets(tid int) (o clocks, err error) {
	b, err := readProc(tid, "timens_offsets")
	if errors.Is(err, os.ErrNotExist) {
		return o, nil
	}
	if err != nil {
		return o, err
	}
	var s, ns [2]int64
	if _, err := fmt.Sscanf(string(b), "monotonic %d %d\nboottime %d %d\n", &s[0], &ns[0], &s[1], &ns[1]); err != nil {
		return o, fmt.Errorf("timens_offsets of pid %d: %q: %w", tid, b, err)
	}
	return clocks{s[0]*int64(time.Second) + ns[0], s[1]*int64(time.Second) + ns[1]}, nil
}

// keepClocks puts the children that a process will make into a time namespace
// whose clocks go on from those of an image.
func (p *process) keepClocks(h *image.Header) error {
	if _, err := p.leader().call(sysUnshare, unix.CLONE_NEWTIME); err != nil {
		if errors.Is(err, unix.EINVAL) {
			err = fmt.Errorf("%w (the kernel has no CONFIG_TIME_NS)", err)
		}
		return fmt.Errorf("make a time namespace: %w", err)
	}
	ours, err := clockOffsets(unix.Getpid())
	if err != nil {
		return err
	}
	f, err := os.OpenFile(procPath(p.pid, "timens_offsets"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	now := clocksNow()
	text := offsetLine("monotonic", h.Mono-now.monotonic+ours.monotonic) + offsetLine("boottime", h.Boottime-now.boottime+ours.boottime)
	if _, err := f.WriteString(text); err != nil {
		return fmt.Errorf("set the clocks of the time namespace: %w", err)
	}
	return nil
}

// offsetLine is a line of timens_offsets: nanoseconds count up from the second.
func offsetLine(name string, offset int64) string {
	s, ns := offset/int64(time.Second), offset%int64(time.Second)
	if ns < 0 {
		s, ns = s-1, ns+int64(time.Second)
	}
	return fmt.Sprintf("%s %d %d\n", name, s, ns)
}
