package kernel

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// How long a task is waited for before it is looked at why it does not stop,
// and how long at all.
const (
	stopSoon    = 2 * time.Millisecond
	stopAtAll   = 20 * time.Second
	longestPoll = time.Millisecond
)

// waitStop waits for the next stop of a task that has been interrupted. A task
// that waits for its vfork child stops only when the child has executed a
// program or has ended: a child that has been stopped is let run on until then.
// A first thread that has exited stops no more.
func (t *tree) waitStop(c *task) (unix.WaitStatus, error) {
	if t.tasks == nil {
		return waitTask(c.tid)
	}
	begin := time.Now()
	var released []*task
	defer func() {
		for _, child := range released {
			_ = interrupt(child.tid) // it may have ended
		}
	}()
	for pause := 10 * time.Microsecond; ; {
		var ws unix.WaitStatus
		tid, err := unix.Wait4(c.tid, &ws, unix.WALL|unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD):
			// Another thread has executed a program.
			return 0, fmt.Errorf("pid %d: %w", c.tid, errGone)
		case err != nil:
			return 0, fmt.Errorf("wait for pid %d: %w", c.tid, err)
		case tid == c.tid && (ws.Exited() || ws.Signaled()):
			return ws, fmt.Errorf("pid %d: %w", c.tid, errGone)
		case tid == c.tid:
			return ws, nil
		}
		waited := time.Since(begin)
		if waited > stopSoon {
			s, err := readStatus(c.tid)
			if err != nil || s.state == 'Z' || s.state == 'X' {
				return 0, fmt.Errorf("pid %d: %w", c.tid, errGone)
			}
			released = append(released, t.releaseVforked(c)...)
		}
		if waited > stopAtAll {
			return 0, &RefusedError{PID: c.tid, Kind: "task", Reason: "it does not stop: it waits for something in the kernel that nothing interrupts", Errno: unix.EBUSY}
		}
		time.Sleep(pause)
		if pause *= 2; pause > longestPoll {
			pause = longestPoll
		}
	}
}

// releaseVforked lets those stopped tasks run on that share the memory of a task
// without being threads of its process.
func (t *tree) releaseVforked(c *task) (released []*task) {
	for _, child := range t.tasks {
		if child == c {
			continue
		}
		s, err := readStatus(child.tid)
		if err != nil {
			continue
		}
		own, err := readStatus(c.tid)
		if err != nil || s.tgid == own.tgid || s.ppid != own.tgid {
			continue
		}
		if same, err := kcmp(c.tid, child.tid, kcmpVM, 0, 0); err != nil || same != 0 {
			continue
		}
		sig := uintptr(0)
		if !child.stopped {
			var ws unix.WaitStatus
			if tid, err := unix.Wait4(child.tid, &ws, unix.WALL|unix.WNOHANG, nil); err != nil || tid != child.tid || !ws.Stopped() {
				continue
			}
			if stopEvent(ws) == 0 {
				sig = uintptr(ws.StopSignal())
			} else if stopEvent(ws) != eventStop {
				t.born(child)
			}
		}
		if ptrace(unix.PTRACE_CONT, child.tid, 0, sig) != nil {
			continue
		}
		if child.stopped {
			child.stopped = false
			t.running = append(t.running, child)
		}
		released = append(released, child)
	}
	return released
}
