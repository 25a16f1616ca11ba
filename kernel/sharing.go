package kernel

import (
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
