package kernel

import (
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"cr/image"
)

// All System V objects of an IPC namespace that a tree has for itself are the
// tree's. This program is not in the namespace, so a process of the tree looks
// at them: if it may, so may this program for it.

// ownIPC reports whether the tree has an IPC namespace for itself.
func (s *saver) ownIPC() bool { return s.img.OwnNamespaces().Has(image.NewIPC) }

// ipcNamespace finds what is in the IPC namespace of the tree, as the root
// process sees it.
func (s *saver) ipcNamespace(p *process, _ *image.Process) error {
	if p != s.tree.processes[0] || !s.ownIPC() {
		return nil
	}
	var err error
	if s.segments, err = segmentsBy(p.readInside); err != nil {
		return err
	}
	for _, k := range []*sysvKind{sysvQueue, sysvSet} {
		all, err := sysvObjects(k.name, p.readInside)
		if err != nil {
			return err
		}
		for _, n := range sysvNumbers(all) {
			use := sysvUse{k, n, all[n], p}
			ok, err := s.onlyInside(&use)
			if err != nil {
				return err
			}
			if ok {
				s.sysv[p] = append(s.sysv[p], use)
			}
		}
	}
	return nil
}

// sysvNumbers lists the numbers of objects, ascending.
func sysvNumbers(all map[int32]sysvObject) []int32 {
	list := make([]int32, 0, len(all))
	for n := range all {
		list = append(list, n)
	}
	sort.Slice(list, func(i, j int) bool { return list[i] < list[j] })
	return list
}

// readInside reads a file that tells of the namespaces of whoever opens it: the
// process is made to.
func (p *process) readInside(path string) (b []byte, err error) {
	pidfd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(pidfd)
	if err := p.mem.write(p.scratch, append([]byte(path), 0)); err != nil {
		return nil, err
	}
	at := int64(atFdcwd)
	err = p.callForDescriptor(func(fd uint64) error {
		own, err := pidfdGetfd(pidfd, int(fd))
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(own), path)
		defer f.Close()
		b, err = io.ReadAll(f)
		return err
	}, sysOpenat, uint64(at), p.scratch, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return b, err
}

// onlyInside reports whether an object of the tree's namespace is for it to
// save, and refuses one that others use, or that its root process may not read.
func (s *saver) onlyInside(u *sysvUse) (bool, error) {
	p, number := u.by, strconv.Itoa(int(u.number))
	pids, known := u.users()
	if !known && u.kind == sysvSet {
		s.refuse(p, u.kind.what, number, "it is in the IPC namespace of the tree, whose root process may not read it", "let that read it, or remove it (ipcrm "+u.kind.option+")")
		return false, nil
	}
	for n, pid := range pids {
		if pid == 0 {
			continue
		}
		user := s.inside(pid)
		if user == nil {
			if _, err := p.leader().call(sysKill, uint64(pid), 0); err == nil || refusedByKernel(err) {
				s.refuse(p, u.kind.what, number, fmt.Sprintf("process %d, which is not among those to save, has used it last", pid),
					"end that, or checkpoint these processes together")
				return false, nil
			}
			continue
		}
		if u.kind == sysvQueue || user.zombie {
			continue
		}
		if ok, err := s.nothingToUndo(user, u.number, int64(n)); err != nil || !ok {
			return false, err
		}
	}
	if u.awaited() {
		s.refuse(p, u.kind.what, number, "a process that is not among those to save waits for it", "end that, or checkpoint these processes together")
		return false, nil
	}
	return true, nil
}

// inside finds a process of the tree by its pid in its own pid namespace; nil if
// there is none.
func (s *saver) inside(pid int) *process {
	for _, p := range s.tree.processes {
		if last(p.status.nstgid) == uint32(pid) {
			return p
		}
	}
	return nil
}

// message copies message number i of a queue into b, for this program or, in
// the namespace of the tree, by a process of that. It returns the layout of what
// lies in b, and the length of the message.
func (u *sysvUse) message(b []byte, i int) (l layout, n int, err error) {
	if u.by == nil {
		got, _, e := unix.Syscall6(unix.SYS_MSGRCV, uintptr(u.number), uintptr(unsafe.Pointer(&b[0])),
			uintptr(len(b)-ownLayout.word), uintptr(i), msgCopy|ipcNoWait, 0)
		if e != 0 {
			return ownLayout, 0, e
		}
		return ownLayout, int(got), nil
	}
	l = layoutOf(u.by.leader().abi)
	got, err := u.by.leader().call(sysMsgrcv, uint64(u.number), u.by.scratch, uint64(len(b)-l.word), uint64(i), msgCopy|ipcNoWait)
	if err != nil {
		return l, 0, err
	}
	return l, int(got), u.by.mem.read(u.by.scratch, b[:l.word+int(got)])
}

// values reads the values of a set of semaphores, for this program or by the
// process that looks at it.
func (u *sysvUse) values(n int64) ([]uint16, error) {
	values := make([]uint16, n)
	if u.by == nil {
		if _, _, e := unix.Syscall6(unix.SYS_SEMCTL, uintptr(u.number), 0, semGetAll, uintptr(unsafe.Pointer(&values[0])), 0, 0); e != 0 {
			return nil, e
		}
		return values, nil
	}
	t := u.by.leader()
	b, err := u.by.ask(t, 2*len(values), 3, sysSemctl, uint64(u.number), 0, semGetAll, 0)
	if err != nil {
		return nil, err
	}
	for i := range values {
		values[i] = t.abi.Order().Uint16(b[2*i:])
	}
	return values, nil
}

// nameQueue notes a POSIX message queue of the tree's namespace that is open,
// by a descriptor of this program's.
func (s *saver) nameQueue(d *openDescriptor, own int) error {
	var attr struct{ flags, maxMessages, messageSize, messages, reserved0, reserved1, reserved2, reserved3 uintptr }
	if _, _, e := unix.Syscall(unix.SYS_MQ_GETSETATTR, uintptr(own), 0, uintptr(unsafe.Pointer(&attr))); e != 0 {
		return fmt.Errorf("message queue: %w", e)
	}
	if attr.messages > 0 {
		s.refuseFile(d, fmt.Sprintf("a message queue of the IPC namespace of the tree, in which %d messages wait", attr.messages), "receive them first")
		return nil
	}
	list := &s.img.Namespaces[0].MQueues
	name := d.file.Path[1:]
	for _, q := range *list {
		if q.Name == name {
			return nil
		}
	}
	*list = append(*list, image.MQueueName{Name: name, Mode: d.st.Mode & 0o777, UID: s.ids.uids.inside(d.st.Uid), GID: s.ids.gids.inside(d.st.Gid),
		MaxMessages: uint64(attr.maxMessages), MessageSize: uint64(attr.messageSize)})
	return nil
}
