package kernel

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"cr/image"
)

// Policies of sched(7) and flags of struct sched_attr
// (include/uapi/linux/sched.h).
const (
	schedFIFO     = 1
	schedRR       = 2
	schedIdle     = 5
	schedDeadline = 6

	schedResetOnFork = 1
	schedReclaim     = 2
	schedDLOverrun   = 4
)

// readSched reads how a task is scheduled.
func readSched(tid int, r *image.Sched) error {
	attr, err := unix.SchedGetAttr(tid, 0)
	if err != nil {
		return fmt.Errorf("pid %d: sched_getattr: %w", tid, err)
	}
	r.Policy = attr.Policy
	r.Priority = attr.Priority
	r.Nice = attr.Nice
	r.Flags = attr.Flags & (schedResetOnFork | schedReclaim | schedDLOverrun)
	if attr.Policy == schedDeadline {
		r.Runtime, r.Deadline, r.Period = attr.Runtime, attr.Deadline, attr.Period
	}
	mask := make([]byte, 128)
	n, _, e := unix.Syscall(unix.SYS_SCHED_GETAFFINITY, uintptr(tid), uintptr(len(mask)), uintptr(unsafe.Pointer(&mask[0])))
	if e != 0 {
		return fmt.Errorf("pid %d: sched_getaffinity: %w", tid, e)
	}
	r.Affinity = ownLayout.swapMask(mask[:n])
	return nil
}

// readIOPrio reads the I/O priority that a task has set, 0 if it has set none.
func readIOPrio(tid int) (uint32, error) {
	const whoProcess = 1 // IOPRIO_WHO_PROCESS
	v, _, e := unix.Syscall(unix.SYS_IOPRIO_GET, whoProcess, uintptr(tid), 0)
	if e == unix.ENOSYS {
		return 0, nil
	}
	if e != 0 {
		return 0, fmt.Errorf("pid %d: ioprio_get: %w", tid, e)
	}
	const class = 13 // IOPRIO_CLASS_SHIFT
	if v>>class == 0 {
		return 0, nil // it follows the nice value
	}
	return uint32(v), nil
}

// swapMask turns a mask of longs into bytes, lowest bits first, and back.
func (l layout) swapMask(mask []byte) []byte {
	out := make([]byte, (len(mask)+l.word-1)/l.word*l.word)
	copy(out, mask)
	if l.order.Uint16([]byte{1, 0}) == 1 {
		return out
	}
	for i := 0; i < len(out); i += l.word {
		for a, b := i, i+l.word-1; a < b; a, b = a+1, b-1 {
			out[a], out[b] = out[b], out[a]
		}
	}
	return out
}

// forgetAffinity leaves out the processors of a task that may use all that are
// on: on another machine it may use all of those.
func (s *saver) forgetAffinity(r *image.Sched) error {
	if s.online == nil {
		var err error
		if s.online, err = onlineCPUs(); err != nil {
			return err
		}
	}
	if covers(r.Affinity, s.online) {
		r.Affinity = nil
	}
	return nil
}

// onlineCPUs is the mask of the processors of this machine that are on.
func onlineCPUs() ([]byte, error) {
	b, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return nil, err
	}
	return parseList(strings.TrimSpace(string(b)))
}

// parseList parses a list of numbers as "0-3,8" into a mask.
func parseList(s string) ([]byte, error) {
	var mask []byte
	for _, part := range strings.Split(s, ",") {
		from, to, ok := strings.Cut(part, "-")
		if !ok {
			to = from
		}
		a, err := strconv.ParseUint(from, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("a list of processors %q: %w", s, err)
		}
		b, err := strconv.ParseUint(to, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("a list of processors %q: %w", s, err)
		}
		for n := a; n <= b; n++ {
			for uint64(len(mask)) <= n/8 {
				mask = append(mask, 0)
			}
			mask[n/8] |= 1 << (n % 8)
		}
	}
	return mask, nil
}

// covers reports whether a mask has all bits of another.
func covers(mask, all []byte) bool {
	for i, b := range all {
		if i >= len(mask) && b != 0 || i < len(mask) && b&^mask[i] != 0 {
			return false
		}
	}
	return true
}

// equalMasks reports whether two masks have the same bits.
func equalMasks(a, b []byte) bool { return covers(a, b) && covers(b, a) }

// sameSched reports whether two tasks are scheduled alike, but for affinity.
func sameSched(a, b *image.Sched) bool {
	return a.Policy == b.Policy && a.Priority == b.Priority && a.Nice == b.Nice && a.Flags == b.Flags &&
		a.Runtime == b.Runtime && a.Deadline == b.Deadline && a.Period == b.Period
}

// setSched makes a task set its policy, priority and nice value.
func (r *reborn) setSched(t *task, s *image.Sched) error {
	order := t.abi.Order()
	b := make([]byte, 48) // struct sched_attr
	order.PutUint32(b, uint32(len(b)))
	order.PutUint32(b[4:], s.Policy)
	order.PutUint64(b[8:], s.Flags)
	order.PutUint32(b[16:], uint32(s.Nice))
	order.PutUint32(b[20:], s.Priority)
	order.PutUint64(b[24:], s.Runtime)
	order.PutUint64(b[32:], s.Deadline)
	order.PutUint64(b[40:], s.Period)
	if _, err := r.doAt(t, sysSchedSetattr, 0, b, 0); err != nil || s.Policy != schedIdle {
		return err
	}
	// With this policy the nice value counts for nothing, and is not set with it
	// (__setscheduler_params in kernel/sched/syscalls.c).
	const process = 0 // PRIO_PROCESS
	_, err := r.doAt(t, sysSetpriority, process, 0, s.Nice)
	return err
}

// trySched finds out whether a process of our making may be scheduled as the
// tasks of the image were, where that takes a privilege.
func (rs *restarter) trySched(r *reborn) error {
	var now image.Sched
	t := r.leader()
	if err := readSched(t.tid, &now); err != nil {
		return err
	}
	for _, rec := range rs.img.Tasks {
		s := rec.Sched
		realTime := s.Policy == schedFIFO || s.Policy == schedRR || s.Policy == schedDeadline
		if sameSched(&s, &now) || !realTime && s.Nice >= now.Nice {
			continue
		}
		if s.Policy == schedDeadline {
			if now.Affinity == nil || !rs.mayUse(capSysNice) {
				return rs.lacks(rec, fmt.Sprintf("it had scheduling policy %d", s.Policy))
			}
			continue
		}
		// Children of the process must not lose it.
		s.Flags &^= schedResetOnFork
		set := true
		err := rs.forNow(func() error {
			err := r.setSched(t, &s)
			set = err == nil
			return err
		}, nil, func() error {
			if !set {
				return nil
			}
			return r.setSched(t, &now)
		})
		if refusedByKernel(err) && !set {
			if err := rs.lacks(rec, fmt.Sprintf("it had scheduling policy %d, priority %d, nice value %d", s.Policy, s.Priority, s.Nice)); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// refusedByKernel reports whether a call failed for lack of a privilege.
func refusedByKernel(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
}

// lacks is the error for something that a task had and that takes a privilege
// which this restart has not; nil if the restart shall do without.
func (rs *restarter) lacks(rec *image.Task, what string) error {
	if rs.options.Force {
		return nil
	}
	return &RefusedError{PID: int(rec.TID), Kind: "task", Reason: what + ", which takes a privilege",
		Hint: "restart it as root, or do without (--force)", Errno: unix.EPERM}
}

// commitSched sets nice value, policy, affinity and I/O priority where they
// differ.
func (rs *restarter) commitSched(r *reborn, t *task, rec *image.Task) error {
	var now image.Sched
	if err := readSched(t.tid, &now); err != nil {
		return err
	}
	// A deadline task may not choose its processors: it does so first, or not at
	// all.
	if err := r.setAffinity(t, rec.Sched.Affinity, now.Affinity); err != nil {
		return err
	}
	if s := rec.Sched; !sameSched(&now, &s) {
		if err := r.setSched(t, &s); err != nil && !refusedByKernel(err) {
			return err
		}
	}
	prio, err := readIOPrio(t.tid)
	if err != nil || prio == rec.IOPrio {
		return err
	}
	if _, err := r.doAt(t, sysIoprioSet, 1, 0, rec.IOPrio); err != nil && !refusedByKernel(err) {
		return err
	}
	return nil
}

// setAffinity makes a task choose its processors. Those that it had and that
// are not there it does without; if none is there, it may run on all.
func (r *reborn) setAffinity(t *task, then, now []byte) error {
	if len(then) == 0 || equalMasks(then, now) {
		return nil
	}
	mask := layoutOf(t.abi).swapMask(then)
	_, err := r.doAt(t, sysSchedSetaffinity, 0, len(mask), mask)
	if errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}
