package kernel

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"cr/image"
)

// Clocks of timers (include/linux/posix-timers_types.h): of the CPU time of the
// process, and of the task, that makes the timer. The two numbers below each are
// of parts of that time.
const (
	clockProcessCPU = -6
	clockThreadCPU  = -2

	sigevSignal   = 0
	sigevNone     = 1
	sigevThread   = 2
	sigevThreadID = 4
)

// readTimers reads the POSIX timers of a process from /proc/PID/timers, but for
// what only timer_gettime(2) can say. TID is as this program sees it.
func readTimers(pid int) ([]image.Timer, error) {
	b, err := readProc(pid, "timers")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a kernel that does not tell
	}
	if err != nil {
		return nil, err
	}
	return parseTimers(b)
}

func parseTimers(b []byte) ([]image.Timer, error) {
	var list []image.Timer
	scan := bufio.NewScanner(bytes.NewReader(b))
	for scan.Scan() {
		key, v := cutKey(scan.Text())
		if key != "ID" && len(list) == 0 {
			return nil, fmt.Errorf("timers: %q comes before a timer", scan.Text())
		}
		var err error
		switch key {
		case "ID":
			var id uint64
			id, err = strconv.ParseUint(v, 10, 31)
			list = append(list, image.Timer{ID: uint32(id)})
		case "signal":
			err = parseTimerSignal(&list[len(list)-1], v)
		case "notify":
			err = parseNotify(&list[len(list)-1], v)
		case "ClockID":
			var id int64
			id, err = strconv.ParseInt(v, 10, 32)
			list[len(list)-1].Clock = int32(id)
		}
		if err != nil {
			return nil, fmt.Errorf("timers: %q: %w", scan.Text(), err)
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].ID < list[j].ID })
	return list, scan.Err()
}

// parseTimerSignal parses SIGNAL/VALUE.
func parseTimerSignal(t *image.Timer, s string) error {
	sig, value, _ := strings.Cut(s, "/")
	n, err := strconv.ParseUint(sig, 10, 8)
	if err != nil {
		return err
	}
	t.Signal = uint32(n)
	if value != "(null)" { // an old kernel's way to write 0
		t.Value, err = strconv.ParseUint(strings.TrimPrefix(value, "0x"), 16, 64)
	}
	return err
}

// parseNotify parses signal/pid.N and its kin.
func parseNotify(t *image.Timer, s string) error {
	how, whom, _ := strings.Cut(s, "/")
	switch how {
	case "signal":
		t.Notify = sigevSignal
	case "none":
		t.Notify = sigevNone
	case "thread":
		t.Notify = sigevThread
	default:
		return fmt.Errorf("notification %q", how)
	}
	kind, id, _ := strings.Cut(whom, ".")
	if kind != "tid" {
		return nil
	}
	n, err := strconv.ParseUint(id, 10, 31)
	t.Notify, t.TID = t.Notify|sigevThreadID, uint32(n)
	return err
}

// timers saves the POSIX timers of a process.
func (s *saver) timers(p *process, r *image.Process) error {
	list, err := readTimers(p.pid)
	if err != nil {
		return err
	}
	l := layoutOf(p.leader().abi)
	for _, t := range list {
		if t.Notify&sigevThreadID != 0 {
			st, err := readStatus(int(t.TID))
			if err != nil {
				return fmt.Errorf("timer %d of pid %d: %w", t.ID, p.pid, err)
			}
			t.TID = last(st.nspid)
		}
		if why := timerClock(&t, len(p.tasks)); why != "" {
			s.refuse(p, "timer", strconv.Itoa(int(t.ID)), why, "delete it first")
			continue
		}
		b, err := p.ask(p.leader(), l.itimerSize(), 1, sysTimerGettime, uint64(t.ID), 0)
		if err != nil {
			return err
		}
		t.Interval, t.Remaining = l.itimerspec(b)
		r.Timers = append(r.Timers, t)
	}
	return nil
}

// timerClock says why a timer cannot be saved, for the clock that it has.
func timerClock(t *image.Timer, tasks int) string {
	switch {
	case t.Clock >= 0, t.Clock >= clockProcessCPU-2 && t.Clock <= clockProcessCPU:
		return ""
	case t.Clock >= clockThreadCPU-2 && t.Clock <= clockThreadCPU:
		if t.Notify&sigevThreadID != 0 || tasks == 1 {
			return ""
		}
		return "a timer of the CPU time of a thread, the kernel does not tell of which"
	}
	return "a timer of the clock of another task or of a device"
}

// itimerspec reads a struct itimerspec, in nanoseconds.
func (l layout) itimerspec(b []byte) (interval, value int64) {
	at := func(i int) int64 { return l.signed(b, i)*1e9 + l.signed(b, i+1) }
	return at(0), at(2)
}

// signed reads the long at an index, counted in longs.
func (l layout) signed(b []byte, i int) int64 {
	if l.word == 4 {
		return int64(int32(l.long(b, i)))
	}
	return int64(l.long(b, i))
}

func (l layout) putItimerspec(interval, value int64) []byte {
	b := make([]byte, l.itimerSize())
	for i, v := range []int64{interval / 1e9, interval % 1e9, value / 1e9, value % 1e9} {
		l.putLong(b, i, uint64(v))
	}
	return b
}

// sigevent lays out a struct sigevent.
func (l layout) sigevent(value uint64, signal, notify, tid uint32) []byte {
	b := make([]byte, 64)
	l.putLong(b, 0, value)
	l.order.PutUint32(b[l.word:], signal)
	l.order.PutUint32(b[l.word+4:], notify)
	l.order.PutUint32(b[l.word+8:], tid)
	return b
}

// prTimerRestoreIDs is PR_TIMER_CREATE_RESTORE_IDS (Linux 6.15): timers get the
// numbers that their makers ask for.
const prTimerRestoreIDs = 77

// commitTimers makes the POSIX timers of a process and winds them up. Those that
// the caller of restart() had go first, as in execve(2).
func (rs *restarter) commitTimers(r *reborn) error {
	if r == rs.root && !rs.ownProcess {
		old, err := readTimers(r.pid)
		if err != nil {
			return err
		}
		for _, t := range old {
			if _, err := r.do(sysTimerDelete, t.ID); err != nil {
				return err
			}
		}
	}
	if len(r.rec.Timers) == 0 {
		return nil
	}
	_, err := r.do(sysPrctl, prTimerRestoreIDs, 1, 0, 0, 0)
	if err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	exact := err == nil
	for i := range r.rec.Timers {
		if err := rs.makeTimer(r, &r.rec.Timers[i], exact); err != nil {
			return fmt.Errorf("timer %d: %w", r.rec.Timers[i].ID, err)
		}
	}
	if !exact {
		return nil
	}
	_, err = r.do(sysPrctl, prTimerRestoreIDs, 0, 0, 0, 0)
	return err
}

// mostTimers is how many timers are made to get one with a number, where the
// kernel counts them up.
const mostTimers = 1 << 17

func (rs *restarter) makeTimer(r *reborn, t *image.Timer, exact bool) error {
	maker, tid := r.leader(), uint32(0)
	if t.Notify&sigevThreadID != 0 {
		for i, rec := range rs.img.TasksOf(r.rec) {
			if rec.TID != t.TID {
				continue
			}
			if t.Clock < 0 && t.Clock >= clockThreadCPU-2 {
				maker = r.tasks[i]
			}
			n, err := r.tasks[i].call(sysGettid)
			if err != nil {
				return err
			}
			tid = uint32(n)
		}
	}
	l := layoutOf(maker.abi)
	event := l.sigevent(t.Value, t.Signal, t.Notify, tid)
	for n := 0; ; n++ {
		id := make([]byte, 4)
		l.order.PutUint32(id, t.ID)
		if _, err := r.doAt(maker, sysTimerCreate, t.Clock, event, out(id)); err != nil {
			return err
		}
		got := l.order.Uint32(id)
		if got == t.ID {
			break
		}
		if exact || n == mostTimers || got > t.ID {
			return fmt.Errorf("the kernel makes it number %d: %w", got, unix.EOPNOTSUPP)
		}
		if _, err := r.do(sysTimerDelete, got); err != nil {
			return err
		}
	}
	if t.Remaining == 0 && t.Interval == 0 {
		return nil
	}
	_, err := r.do(sysTimerSettime, t.ID, 0, l.putItimerspec(t.Interval, t.Remaining), 0)
	return err
}
