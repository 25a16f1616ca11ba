package kernel

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// nsID names a namespace: the file that stands for it in nsfs.
type nsID struct{ dev, ino uint64 }

// namespace is an open namespace (namespaces(7)).
type namespace struct{ f *os.File }

// openNamespace opens a namespace of a task: "user" or "pid".
func openNamespace(tid int, kind string) (namespace, error) {
	f, err := os.Open(procPath(tid, "ns/"+kind))
	if err != nil {
		return namespace{}, err
	}
	return namespace{f}, nil
}

// namespaceOf identifies a namespace of a task.
func namespaceOf(tid int, kind string) (nsID, error) {
	ns, err := openNamespace(tid, kind)
	if err != nil {
		return nsID{}, err
	}
	defer ns.close()
	return ns.id()
}

func (n namespace) close() error { return n.f.Close() }

func (n namespace) id() (nsID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(n.f.Fd()), &st); err != nil {
		return nsID{}, fmt.Errorf("%s: %w", n.f.Name(), err)
	}
	return nsID{uint64(st.Dev), st.Ino}, nil
}

// parent opens the namespace that n is in. That of the outermost namespace that
// this program may know of is unix.EPERM.
func (n namespace) parent() (namespace, error) {
	fd, err := unix.IoctlRetInt(int(n.f.Fd()), unix.NS_GET_PARENT)
	if err != nil {
		return namespace{}, fmt.Errorf("parent of %s: %w", n.f.Name(), err)
	}
	return namespace{os.NewFile(uintptr(fd), "parent of "+n.f.Name())}, nil
}

// above identifies the namespace that is so many levels above n, and closes n.
func (n namespace) above(levels int) (nsID, error) {
	for ; levels > 0; levels-- {
		p, err := n.parent()
		n.close()
		if err != nil {
			return nsID{}, err
		}
		n = p
	}
	defer n.close()
	return n.id()
}

// owner is the user who made a user namespace.
func (n namespace) owner() (uint32, error) {
	var uid uint32
	_, _, e := unix.Syscall(unix.SYS_IOCTL, n.f.Fd(), unix.NS_GET_OWNER_UID, uintptr(unsafe.Pointer(&uid)))
	if e != 0 {
		return 0, fmt.Errorf("owner of %s: %w", n.f.Name(), e)
	}
	return uid, nil
}
