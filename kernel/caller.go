package kernel

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A caller is a task that waits in one of the two calls.
type caller struct {
	tid    int
	status *status
	pidfd  int
}

// pidfdThread is PIDFD_THREAD, since 6.9.
const pidfdThread = unix.O_EXCL

// openTask opens a task by its number: one that does not lead its process takes
// Linux 6.9.
func openTask(tid int) (int, error) {
	fd, err := unix.PidfdOpen(tid, pidfdThread)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.PidfdOpen(tid, 0)
	}
	if err != nil {
		return -1, fmt.Errorf("pidfd_open %d: %w", tid, err)
	}
	return fd, nil
}

// openCaller looks a caller up. Whoever does must check afterwards that the
// caller still waits: only then is the task that was opened the one that called.
func openCaller(tid int) (*caller, error) {
	s, err := readStatus(tid)
	if err != nil {
		return nil, err
	}
	fd, err := unix.PidfdOpen(tid, pidfdThread)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.PidfdOpen(s.tgid, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("open pid %d: %w", tid, err)
	}
	return &caller{tid: tid, status: s, pidfd: fd}, nil
}

func (c *caller) close() { unix.Close(c.pidfd) }

// resolve finds the process that the caller names by a pid of its own pid
// namespace; 0 is its own. The pid of any of a process's tasks will do.
func (c *caller) resolve(pid int) (int, error) {
	own := c.status.nspid
	gone := fmt.Errorf("pid %d: %w", pid, unix.ESRCH)
	switch {
	case pid < 0:
		return 0, gone
	case pid == 0 || pid == own[len(own)-1]:
		return c.status.tgid, nil
	}
	target := pid
	if len(own) > 1 {
		var err error
		if target, err = c.translate(pid); err != nil {
			return 0, err
		}
	}
	s, err := readStatus(target)
	if err != nil {
		return 0, err
	}
	if s.state == 'X' {
		return 0, gone
	}
	if s.state == 'Z' {
		// The leader of a process may exit before its other tasks.
		if tids, err := threads(s.tgid); err != nil || len(tids) < 2 {
			return 0, fmt.Errorf("pid %d has exited: %w", pid, unix.ESRCH)
		}
	}
	if st, err := readStat(target); err != nil {
		return 0, err
	} else if st.kernelThread() {
		return 0, fmt.Errorf("pid %d is a kernel thread: %w", pid, unix.EPERM)
	}
	return s.tgid, nil
}

// translate finds the process that has a pid in the caller's pid namespace,
// which is below that of the kernel side.
func (c *caller) translate(pid int) (int, error) {
	level := len(c.status.nspid) - 1
	home, err := namespaceOf(c.tid, "pid")
	if err != nil {
		return 0, err
	}
	names, err := readNames("/proc")
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		candidate, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		s, err := readStatus(candidate)
		if err != nil || len(s.nspid) <= level || s.nspid[level] != pid {
			continue
		}
		ns, err := openNamespace(candidate, "pid")
		if err != nil {
			continue
		}
		same, err := ns.above(len(s.nspid) - 1 - level)
		if err == nil && same == home {
			return candidate, nil
		}
	}
	return 0, fmt.Errorf("pid %d of the pid namespace of pid %d: %w", pid, c.tid, unix.ESRCH)
}

// interrupted reports whether a signal waits for the caller that would have
// ended its call: one with a handler, or one that kills.
func (c *caller) interrupted() bool {
	b, err := readProc(c.tid, "status")
	if err != nil {
		return true
	}
	return interrupts(string(b))
}

// interrupts tells from /proc/PID/status whether a pending signal ends a call.
func interrupts(status string) bool {
	sets := map[string]uint64{"SigPnd": 0, "ShdPnd": 0, "SigBlk": 0, "SigIgn": 0, "SigCgt": 0}
	for _, line := range strings.Split(status, "\n") {
		key, v, _ := strings.Cut(line, ":")
		if _, wanted := sets[key]; wanted {
			sets[key], _ = strconv.ParseUint(strings.TrimSpace(v), 16, 64)
		}
	}
	pending := (sets["SigPnd"] | sets["ShdPnd"]) &^ (sets["SigBlk"] | sets["SigIgn"])
	return pending&(sets["SigCgt"]|^harmless) != 0
}

// harmless are the signals that end no call unless they have a handler: by
// default they are ignored, or stop the task (signal(7)).
const harmless = uint64(1)<<(unix.SIGCHLD-1) | 1<<(unix.SIGCONT-1) | 1<<(unix.SIGSTOP-1) | 1<<(unix.SIGTSTP-1) |
	1<<(unix.SIGTTIN-1) | 1<<(unix.SIGTTOU-1) | 1<<(unix.SIGURG-1) | 1<<(unix.SIGWINCH-1)
