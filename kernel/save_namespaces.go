package kernel

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// namespaces are the kinds of namespaces that an image does not hold. A restart
// leaves its processes in those of its caller; so the checkpoint must be made
// from inside.
var namespaces = []struct{ file, what string }{
	{"mnt", "mount"}, {"net", "network"}, {"uts", "UTS"}, {"ipc", "IPC"}, {"cgroup", "cgroup"},
	{"time", "time"}, {"time_for_children", "time"}, {"pid_for_children", "pid"},
}

// checkNamespaces refuses processes that are in other namespaces than this
// program, and a tree of several pid or user namespaces.
func (s *saver) checkNamespaces() {
	root := s.tree.processes[0]
	for _, p := range s.tree.processes {
		if p.zombie {
			continue
		}
		if len(p.status.nspid) != len(root.status.nspid) {
			s.refuse(p, "process", "", "it is in a pid namespace within the one of the tree", "checkpoint it alone, from inside")
			continue
		}
		for _, t := range p.tasks {
			if s.otherNamespace(p, t) {
				break
			}
		}
		s.checkUsers(p, root)
	}
}

// otherNamespace refuses a task that is in a namespace of its own.
func (s *saver) otherNamespace(p *process, t *task) bool {
	for _, n := range namespaces {
		// The namespace of the children of who has a pid namespace is that one.
		own, theirs := procPath(os.Getpid(), "ns/"+n.file), procPath(t.tid, "ns/"+n.file)
		if n.file == "pid_for_children" {
			own = procPath(t.tid, "ns/pid")
		}
		same, err := sameFile(own, theirs)
		if n.file == "pid_for_children" && errors.Is(err, unix.ENOENT) {
			err = nil // the namespace waits for its first process
		}
		if err != nil || same {
			continue // the kernel has no such namespaces
		}
		hint := fmt.Sprintf("checkpoint it from inside (nsenter --target %d --all cr checkpoint), and restart it there", p.pid)
		if n.file == "pid_for_children" || n.file == "time_for_children" {
			hint = "let it make no namespaces for its children"
		}
		s.refuse(p, "namespace", "ns/"+n.file, "it is in another "+n.what+" namespace than this program, and an image does not hold one", hint)
		return true
	}
	return false
}

// checkUsers refuses a process in a user namespace that is not the one of the
// tree.
func (s *saver) checkUsers(p, root *process) {
	same, err := sameFile(procPath(root.pid, "ns/user"), procPath(p.pid, "ns/user"))
	if err == nil && !same {
		s.refuse(p, "namespace", "ns/user", "it is in another user namespace than the root of the tree", "checkpoint it alone")
	}
}

func sameFile(a, b string) (bool, error) {
	var x, y unix.Stat_t
	if err := unix.Stat(a, &x); err != nil {
		return false, err
	}
	if err := unix.Stat(b, &y); err != nil {
		return false, err
	}
	return x.Ino == y.Ino && x.Dev == y.Dev, nil
}
