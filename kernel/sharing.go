package kernel

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// Types of kcmp(2).
const (
	kcmpOpenFile = 0
	kcmpVM       = 1
	kcmpFiles    = 2
	kcmpFS       = 3
	kcmpSighand  = 4
)

// kcmp compares what two tasks have. An argument may be an address, which must
// stay in place meanwhile.
//
//go:uintptrescapes
func kcmp(pid1, pid2, kind int, a, b uintptr) (int, error) {
	c, _, e := unix.Syscall6(unix.SYS_KCMP, uintptr(pid1), uintptr(pid2), uintptr(kind), a, b, 0)
	if e != 0 {
		return 0, fmt.Errorf("kcmp (the kernel needs CONFIG_KCMP): %w", e)
	}
	return int(c), nil
}

// shared refuses what clone(2) can share and a restart would not share again:
// threads that have unshared something, processes that share more than some.
func (s *saver) shared(p *process) error {
	for _, t := range p.tasks[1:] {
		for _, k := range []struct {
			kind int
			what string
		}{{kcmpFiles, "descriptors"}, {kcmpFS, "a working directory"}} {
			c, err := kcmp(p.leader().tid, t.tid, k.kind, 0, 0)
			if err != nil {
				return err
			}
			if c != 0 {
				s.refuse(p, "thread", strconv.Itoa(t.tid), "it has "+k.what+" of its own (unshare)",
					"end the thread, or run the program without")
			}
		}
	}
	return s.sharedProcesses(p)
}

// sharedProcesses finds out what a process shares with others (clone(2)): with
// its parent, of which it can be made again; all else is refused.
func (s *saver) sharedProcesses(p *process) error {
	parent := s.tree.find(p.status.ppid)
	if p == s.tree.processes[0] {
		parent = nil
	}
	for _, o := range s.tree.processes {
		if o == p {
			return nil
		}
		if o.zombie {
			continue
		}
		for _, k := range []struct {
			kind int
			what string
			with **process
		}{{kcmpVM, "memory", &p.mmOf}, {kcmpFiles, "descriptors", &p.filesOf}, {kcmpFS, "working directory", &p.fsOf}, {kcmpSighand, "signal handlers", &p.sighandOf}} {
			c, err := kcmp(o.leader().tid, p.leader().tid, k.kind, 0, 0)
			if err != nil {
				return err
			}
			if c != 0 {
				continue
			}
			if parent != nil {
				if o == parent {
					*k.with = o
					continue
				}
				c, err := kcmp(parent.leader().tid, p.leader().tid, k.kind, 0, 0)
				if err != nil {
					return err
				}
				if c == 0 {
					continue // all three share it
				}
			}
			s.refuse(p, "process", "", fmt.Sprintf("it shares its %s with pid %d (clone, vfork)", k.what, o.pid),
				"end one of the two, or run the program without")
		}
	}
	return nil
}

// apart makes sure that a process whose tasks are stopped shares its memory and
// its descriptors with nobody: while a restart is staged in it, another could
// change what has been checked, and what the restart replaces would be that
// other's as well.
func (p *process) apart() error {
	own := make(map[int]bool, len(p.tasks))
	for _, t := range p.tasks {
		own[t.tid] = true
	}
	names, err := readNames("/proc")
	if err != nil {
		return err
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || own[pid] {
			continue
		}
		tids, err := threads(pid)
		if err != nil {
			continue // it has gone
		}
		for _, tid := range tids {
			for kind, what := range map[int]string{kcmpVM: "memory", kcmpFiles: "descriptors"} {
				if kind == kcmpVM && tid != pid && tid != tids[0] {
					continue // threads have that in common
				}
				c, err := kcmp(p.pid, tid, kind, 0, 0)
				if errors.Is(err, unix.ENOSYS) {
					return nil // a kernel that cannot tell
				}
				if err != nil || c != 0 {
					continue // gone, or none of those whom this program may ask about
				}
				return &RefusedError{PID: p.pid, Kind: "process", Reason: fmt.Sprintf("it shares its %s with pid %d (clone, vfork)", what, pid),
					Hint: "restart it from a process of its own", Errno: unix.EBUSY}
			}
		}
	}
	return nil
}
