package kernel

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// namespaces are the kinds of namespaces that an image does not hold. A restart
// leaves its processes in those of its caller; so the checkpoint must be made
// from inside.
var namespaces = []struct{ file, what string }{
	{"mnt", "mount"}, {"net", "network"}, {"uts", "UTS"}, {"ipc", "IPC"}, {"cgroup", "cgroup"},
	{"time_for_children", "time"}, {"pid_for_children", "pid"},
}

// forChildren ends the names of namespaces that are those of a task's children
// only.
const forChildren = "_for_children"

// checkNamespaces refuses processes that are in other namespaces than this
// program, and a tree of several pid, user or time namespaces.
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
		s.checkOne(p, root, "user")
		s.checkOne(p, root, "time")
	}
}

// otherNamespace refuses a task that is in a namespace of its own.
func (s *saver) otherNamespace(p *process, t *task) bool {
	for _, n := range namespaces {
		own, theirs := procPath(os.Getpid(), "ns/"+n.file), procPath(t.tid, "ns/"+n.file)
		if strings.HasSuffix(n.file, forChildren) {
			own = procPath(t.tid, "ns/"+strings.TrimSuffix(n.file, forChildren))
		}
		same, err := sameFile(own, theirs)
		if n.file == "pid_for_children" && errors.Is(err, unix.ENOENT) {
			err = nil // the namespace waits for its first process
		}
		if err != nil || same {
			continue // the kernel has no such namespaces
		}
		hint := fmt.Sprintf("checkpoint it from inside (nsenter --target %d --all cr checkpoint), and restart it there", p.pid)
		if strings.HasSuffix(n.file, forChildren) {
			hint = "let it make no namespaces for its children"
		}
		s.refuse(p, "namespace", "ns/"+n.file, "it is in another "+n.what+" namespace than this program, and an image does not hold one", hint)
		return true
	}
	return false
}

// checkOne refuses a process in a namespace that is not the one of the tree.
func (s *saver) checkOne(p, root *process, kind string) {
	same, err := sameFile(procPath(root.pid, "ns/"+kind), procPath(p.pid, "ns/"+kind))
	if err == nil && !same {
		s.refuse(p, "namespace", "ns/"+kind, "it is in another "+kind+" namespace than the root of the tree", "checkpoint it alone")
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
