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
		s.checkOne(p, p.pid, "time", "time")
	}
	return nil
}

// otherNamespace refuses a task that is in another namespace than the root of the
// tree, or whose children shall be.
func (s *saver) otherNamespace(p *process, t *task) bool {
	for _, kind := range forChildren {
		file := "ns/" + kind + "_for_children"
		own, err := s.namespaceOf(p.pid, kind)
		if err != nil {
			continue // the kernel has no such namespaces
		}
		theirs, err := namespaceAt(procPath(t.tid, file))
		if kind == "pid" && errors.Is(err, unix.ENOENT) {
			err = nil // the namespace waits for its first process
		}
		if err != nil || theirs == own {
			continue
		}
		s.refuse(p, "namespace", file, "its children are to be in another "+kind+" namespace than it is", "let it make no namespaces for its children")
		return true
	}
	for _, k := range image.NamespaceKinds {
		if t != p.leader() && k.Flag == image.NewUser {
			continue // all threads are in one (setns(2))
		}
		if s.checkOne(p, t.tid, k.File, k.Name) {
			return true
		}
	}
	return false
}

// checkOne refuses a task of a process that is in a namespace which is not the
// one of the tree.
func (s *saver) checkOne(p *process, tid int, kind, what string) bool {
	root, err := s.namespaceOf(s.tree.processes[0].pid, kind)
	if err != nil {
		return false // the kernel has no such namespaces
	}
	if id, err := namespaceAt(procPath(tid, "ns/"+kind)); err == nil && id != root {
		s.refuse(p, "namespace", "ns/"+kind, "it is in another "+what+" namespace than the root of the tree", "checkpoint it alone")
		return true
	}
	return false
}

// namespaceOf is namespaceAt of a namespace of a process of the tree. It asks once.
func (s *saver) namespaceOf(pid int, kind string) (namespaceID, error) {
	path := procPath(pid, "ns/"+kind)
	if id, known := s.spaces[path]; known {
		return id, nil
	}
	id, err := namespaceAt(path)
	if err == nil {
		s.spaces[path] = id
	}
	return id, err
}

// sameNamespace reports whether two tasks are in one namespace of a kind. It
// fails if the kernel has no such namespaces.
func sameNamespace(a, b int, kind string) (bool, error) {
	x, err := namespaceAt(procPath(a, "ns/"+kind))
	if err != nil {
		return false, err
	}
	y, err := namespaceAt(procPath(b, "ns/"+kind))
	return err == nil && x == y, err
}

// namespaceID tells a namespace from all others (namespaces(7)).
type namespaceID struct{ dev, ino uint64 }

func namespaceAt(path string) (namespaceID, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return namespaceID{uint64(st.Dev), st.Ino}, err
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
