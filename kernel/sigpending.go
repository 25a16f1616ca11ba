package kernel

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"cr/image"
)

// A sigQueue counts what commit will queue as the kernel does: by user, pending
// signals and timers together (getrlimit(2), RLIMIT_SIGPENDING; sigqueue_alloc
// in kernel/signal.c).
type sigQueue struct {
	root  *reborn
	users map[uint32]uint64 // by real user ID
}

// mayQueue checks that the kernel will take the pending signals and the timers
// of the image, in the order in which commit makes them.
func (rs *restarter) mayQueue() error {
	own := rs.root.status
	q := &sigQueue{rs.root, map[uint32]uint64{own.creds.UID: own.queued}}
	timers := 0
	if !rs.ownProcess {
		list, err := readTimers(rs.root.pid)
		if err != nil {
			return err
		}
		timers = len(list)
		for _, shared := range []bool{true, false} {
			dropped, err := rs.root.leader().pendingSignals(shared)
			if err != nil {
				return err
			}
			if n := uint64(len(dropped)); n < q.users[own.creds.UID] { // some may have come since
				q.users[own.creds.UID] -= n
			} else {
				q.users[own.creds.UID] = 0
			}
		}
	}
	for _, rec := range rs.img.Processes {
		if rec.State == image.Zombie {
			continue
		}
		if err := q.addSignals(rec, own.creds.UID, rec.Pending); err != nil {
			return err
		}
		if rec.PID == rs.img.Header.Root {
			q.users[own.creds.UID] -= uint64(timers) // they go first
		}
		for range rec.Timers {
			if err := q.add(rec, own.creds.UID, true); err != nil {
				return err
			}
		}
		for _, t := range rs.img.TasksOf(rec) {
			if err := q.addSignals(rec, t.Creds.UID, t.Pending); err != nil {
				return err
			}
		}
	}
	return nil
}

// addSignals counts pending signals of a process. A standard signal is queued
// whatever the limit is if the kernel or kill(2) has sent it (__send_signal_locked
// in kernel/signal.c).
func (q *sigQueue) addSignals(rec *image.Process, uid uint32, pending [][]byte) error {
	const firstRealTime = 32
	order := q.root.leader().abi.Order()
	for _, info := range pending {
		always := order.Uint32(info) < firstRealTime && int32(order.Uint32(info[8:])) >= 0
		if err := q.add(rec, uid, !always); err != nil {
			return err
		}
	}
	return nil
}

// add counts a signal or timer of a process, for which there has to be room if
// it is limited.
func (q *sigQueue) add(rec *image.Process, uid uint32, limited bool) error {
	count, known := q.users[uid]
	if !known {
		var err error
		if count, err = q.ofOther(uid); err != nil {
			return err
		}
	}
	count++
	q.users[uid] = count
	if limit := rec.Limits[unix.RLIMIT_SIGPENDING].Cur; limited && count > limit {
		return &RefusedError{PID: int(rec.PID), Kind: "limit", Object: "RLIMIT_SIGPENDING",
			Reason: fmt.Sprintf("with its pending signals and timers user %d would have %d, and it may have %d", uid, count, limit),
			Hint:   "let the user's other programs take their signals, or raise the limit before the checkpoint", Errno: unix.EAGAIN}
	}
	return nil
}

// ofOther is how many signals and timers are queued for another user than the
// one who restarts, as one of his processes tells.
func (q *sigQueue) ofOther(uid uint32) (uint64, error) {
	names, err := readNames("/proc")
	if err != nil {
		return 0, err
	}
	users, err := os.Readlink(procPath(q.root.pid, "ns/user"))
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		s, err := readStatus(pid)
		if err != nil || s.creds.UID != uid {
			continue // it has ended, or is another's
		}
		// Each user namespace counts for itself.
		if ns, err := os.Readlink(procPath(pid, "ns/user")); err == nil && ns == users {
			return s.queued, nil
		}
	}
	return 0, nil
}
