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

// shared finds out what the tasks of a process share (clone(2), unshare(2)), and
// refuses what a restart would not share again.
func (s *saver) shared(p *process) error {
	for _, t := range p.tasks[1:] {
		c, err := kcmp(p.leader().tid, t.tid, kcmpFiles, 0, 0)
		if err != nil {
			return err
		}
		t.ownFiles = c != 0
		if c, err = kcmp(p.leader().tid, t.tid, kcmpFS, 0, 0); err != nil {
			return err
		}
		t.ownFS = c != 0
		if !t.ownFiles {
			continue
		}
		pidfd, err := unix.PidfdOpen(t.tid, pidfdThread)
		if err != nil {
			t.ownFiles = false
			s.refuse(p, "thread", strconv.Itoa(t.tid), "it has descriptors of its own (unshare), which takes Linux 6.9 to save",
				"end the thread, or run the program without")
			continue
		}
		unix.Close(pidfd)
	}
	return s.sharedProcesses(p)
}

// checkOwn refuses threads that share what they do not have of their process
// with others.
func (s *saver) checkOwn() error {
	for i, p := range s.tree.processes {
		if p.zombie {
			continue
		}
		for j, t := range p.tasks {
			for _, k := range []struct {
				kind int
				own  bool
				what string
			}{{kcmpFiles, t.ownFiles, "descriptors"}, {kcmpFS, t.ownFS, "working directory"}} {
				if !k.own {
					continue
				}
				other, err := s.sharer(i, j, k.kind)
				if err != nil {
					return err
				}
				if other != 0 {
					s.refuse(p, "thread", strconv.Itoa(t.tid), fmt.Sprintf("it shares its %s with task %d, and not with its process (unshare)", k.what, other),
						"end one of the two, or run the program without")
				}
			}
		}
	}
	return nil
}

// sharer finds a task that has something in common with a thread that has not
// got it of its process: the leader of another process, or a thread that comes
// before it and has it not of its process either. It is 0 if there is none.
func (s *saver) sharer(process, thread, kind int) (int, error) {
	tid := s.tree.processes[process].tasks[thread].tid
	for i, p := range s.tree.processes {
		if p.zombie {
			continue
		}
		for j, t := range p.tasks {
			own := kind == kcmpFiles && t.ownFiles || kind == kcmpFS && t.ownFS
			if i == process && j == 0 || j > 0 && (!own || i > process || i == process && j >= thread) {
				continue
			}
			c, err := kcmp(tid, t.tid, kind, 0, 0)
			if err != nil || c == 0 {
				return t.tid, err
			}
		}
	}
	return 0, nil
}

// sharable are what processes can share, and whose a process has.
var sharable = []struct {
	kind int
	what string
	with func(*process) **process
}{
	{kcmpVM, "memory", func(p *process) **process { return &p.mmOf }},
	{kcmpFiles, "descriptors", func(p *process) **process { return &p.filesOf }},
	{kcmpFS, "working directory", func(p *process) **process { return &p.fsOf }},
	{kcmpSighand, "signal handlers", func(p *process) **process { return &p.sighandOf }},
}

// sharedProcesses finds out what a process shares with others (clone(2)): with
// its parent, of which it can be made again; all else is refused.
func (s *saver) sharedProcesses(p *process) error {
	parent := s.tree.find(p.status.ppid)
	if p == s.tree.processes[0] {
		parent = nil
	}
	for _, k := range sharable {
		o, err := s.ownerOf(p, k.kind)
		if err != nil {
			return err
		}
		if o == p {
			continue
		}
		if parent != nil {
			c, err := kcmp(parent.leader().tid, p.leader().tid, k.kind, 0, 0)
			if err != nil {
				return err
			}
			if c == 0 {
				*k.with(p) = parent
				continue
			}
		}
		s.refuse(p, "process", "", fmt.Sprintf("it shares its %s with pid %d (clone, vfork)", k.what, o.pid),
			"end one of the two, or run the program without")
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

// ownerOf finds the first process that has what a process has: itself, or one
// that came before it. They are kept in the order that kcmp(2) gives them, so that
// a thousand processes are not each compared with all others.
func (s *saver) ownerOf(p *process, kind int) (*process, error) {
	const same, less = 0, 1
	list := s.owners[kind]
	from, to := 0, len(list)
	for from < to {
		at := (from + to) / 2
		c, err := kcmp(p.leader().tid, list[at].leader().tid, kind, 0, 0)
		switch {
		case err != nil:
			return nil, err
		case c == same:
			return list[at], nil
		case c == less:
			to = at
		default:
			from = at + 1
		}
	}
	list = append(list, nil)
	copy(list[from+1:], list[from:])
	list[from] = p
	s.owners[kind] = list
	return p, nil
}
