package kernel

import (
	"bytes"
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"cr/image"
)

// forChildren are the kinds of namespaces that a task can have its children born
// in while it stays where it is (time_namespaces(7), pid_namespaces(7)).
var forChildren = []string{"time", "pid"}

// checkNamespaces finds out which namespaces the tree has for itself, and
// refuses processes that are in others than its root.
func (s *saver) checkNamespaces() error {
	root := s.tree.processes[0]
	own := uint32(0)
	for _, k := range image.NamespaceKinds {
		if same, err := sameNamespace(os.Getpid(), root.pid, k.File); err == nil && !same {
			own |= k.Flag
		}
	}
	if own != 0 {
		s.img.Namespaces = []*image.Namespaces{{Own: own}}
	}
	if s.img.OwnNamespaces().Has(image.NewUser) {
		if err := s.userNamespace(root, s.img.Namespaces[0]); err != nil {
			return err
		}
	}
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
		s.checkOne(p, p.pid, root, "time", "time")
	}
	return nil
}

// otherNamespace refuses a task that is in another namespace than the root of the
// tree, or whose children shall be.
func (s *saver) otherNamespace(p *process, t *task) bool {
	for _, kind := range forChildren {
		file := "ns/" + kind + "_for_children"
		same, err := sameFile(procPath(t.tid, "ns/"+kind), procPath(t.tid, file))
		if kind == "pid" && errors.Is(err, unix.ENOENT) {
			err = nil // the namespace waits for its first process
		}
		if err != nil || same {
			continue // the kernel has no such namespaces
		}
		s.refuse(p, "namespace", file, "its children are to be in another "+kind+" namespace than it is", "let it make no namespaces for its children")
		return true
	}
	for _, k := range image.NamespaceKinds {
		if s.checkOne(p, t.tid, s.tree.processes[0], k.File, k.Name) {
			return true
		}
	}
	return false
}

// checkOne refuses a task of a process that is in a namespace which is not the
// one of the tree.
func (s *saver) checkOne(p *process, tid int, root *process, kind, what string) bool {
	same, err := sameNamespace(root.pid, tid, kind)
	if err == nil && !same {
		s.refuse(p, "namespace", "ns/"+kind, "it is in another "+what+" namespace than the root of the tree", "checkpoint it alone")
		return true
	}
	return false
}

// sameNamespace reports whether two tasks are in one namespace of a kind. It
// fails if the kernel has no such namespaces.
func sameNamespace(a, b int, kind string) (bool, error) {
	return sameFile(procPath(a, "ns/"+kind), procPath(b, "ns/"+kind))
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

// namespaces saves what is set in the namespaces of the tree, as the root
// process finds it.
func (s *saver) namespaces(p *process, _ *image.Process) error {
	if p != s.tree.processes[0] || len(s.img.Namespaces) == 0 {
		return nil
	}
	own := s.img.Namespaces[0]
	if own.Has(image.NewUTS) {
		if err := p.utsNames(own); err != nil {
			return err
		}
	}
	if own.Has(image.NewNet) {
		if err := s.network(p, own); err != nil {
			return err
		}
	}
	if own.Has(image.NewMount) {
		if err := s.mountNamespace(p, own); err != nil {
			return err
		}
	}
	for _, k := range image.NamespaceKinds {
		if !own.Has(k.Flag) {
			continue
		}
		for _, name := range image.NamespaceSysctls[k.Flag] {
			b, err := p.readInside("/proc/sys/" + name)
			if errors.Is(err, unix.ENOENT) {
				continue // the kernel is configured without
			}
			if err != nil {
				return err
			}
			own.Sysctls = append(own.Sysctls, image.Sysctl{Name: name, Value: strings.Join(strings.Fields(string(b)), " ")})
		}
	}
	return nil
}

// Layout of struct new_utsname (include/uapi/linux/utsname.h): six strings.
const (
	utsName = 65 // bytes of each
	utsNode = 1  // place of the host name
	utsDNS  = 5  // and of the domain name
)

// utsNames saves the names of the UTS namespace that a process is in.
func (p *process) utsNames(own *image.Namespaces) error {
	b, err := p.ask(p.leader(), 6*utsName, 0, sysUname, 0)
	if err != nil {
		return err
	}
	name := func(place int) string {
		text, _, _ := bytes.Cut(b[place*utsName:(place+1)*utsName], []byte{0})
		return string(text)
	}
	own.Hostname, own.Domainname = name(utsNode), name(utsDNS)
	return nil
}
