package kernel

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"cr/image"
)

// The kernel tells which processes have last sent to a queue, received from it,
// or changed a semaphore. A queue or a set is taken for the tree's own, and
// saved, if one of these is a process of the tree, and none is one outside that
// lives. All others are left alone.

// sysvUse is a queue or a set that the tree uses.
type sysvUse struct {
	kind   *sysvKind
	number int32
	object sysvObject
	by     *process // that looks at it, in the IPC namespace of the tree; nil: this program
}

// findSysV finds what is the tree's own, by the process that is to read it.
func (s *saver) findSysV() error {
	processes := make(map[int]*process, len(s.tree.processes))
	for _, p := range s.tree.processes {
		processes[p.pid] = p
	}
	s.sysv = make(map[*process][]sysvUse)
	if s.ownIPC() {
		return nil // see ipcNamespace
	}
	for _, k := range []*sysvKind{sysvQueue, sysvSet} {
		all, err := readSysV(k.name)
		if err != nil {
			return err
		}
		for _, n := range sysvNumbers(all) {
			use := sysvUse{k, n, all[n], nil}
			pids, known := use.users()
			if !known {
				continue
			}
			if p := onlyUser(processes, pids); p != nil && !use.awaited() {
				s.sysv[p] = append(s.sysv[p], use)
			}
		}
	}
	return nil
}

// users lists the pids of those who have last used an object; it is false if
// there is one that this program cannot see.
func (u *sysvUse) users() (pids []int, known bool) {
	if u.kind == sysvQueue {
		o := u.object
		hidden := o["stime"] != 0 && o["lspid"] == 0 || o["rtime"] != 0 && o["lrpid"] == 0
		return []int{int(o["lspid"]), int(o["lrpid"])}, !hidden
	}
	for n := int64(0); n < u.object["nsems"]; n++ {
		pid, err := u.semaphore(n, semGetPID)
		if err != nil {
			return nil, false // not for this program to read, or gone
		}
		pids = append(pids, pid)
	}
	return pids, true
}

// awaited reports whether somebody waits for a semaphore of a set. Those of the
// tree do not while they are stopped.
func (u *sysvUse) awaited() bool {
	if u.kind == sysvQueue {
		return false // the kernel does not tell
	}
	for n := int64(0); n < u.object["nsems"]; n++ {
		for _, command := range []uintptr{semGetNcnt, semGetZcnt} {
			if waiting, err := u.semaphore(n, command); err != nil || waiting != 0 {
				return true
			}
		}
	}
	return false
}

// semaphore asks for a number about a semaphore of a set.
func (u *sysvUse) semaphore(n int64, command uintptr) (int, error) {
	if u.by != nil {
		got, err := u.by.leader().call(sysSemctl, uint64(u.number), uint64(n), uint64(command), 0)
		return int(got), err
	}
	got, _, e := unix.Syscall6(unix.SYS_SEMCTL, uintptr(u.number), uintptr(n), command, 0, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(got), nil
}

// lives reports whether there is a process with a pid that has not ended.
func lives(pid int) bool {
	if errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		return false
	}
	s, err := readStatus(pid)
	return err != nil || s.state != 'Z'
}

// onlyUser finds a process of the tree among those who have used an object; nil
// if there is none, or one outside that lives.
func onlyUser(tree map[int]*process, pids []int) *process {
	var user *process
	for _, pid := range pids {
		if p := tree[pid]; p != nil && !p.zombie && user == nil {
			user = p
		}
	}
	if user == nil {
		return nil
	}
	for _, pid := range pids {
		if pid != 0 && tree[pid] == nil && lives(pid) {
			return nil
		}
	}
	return user
}

// sysvObjects saves the queues and sets that a process is to read: if it may,
// so may this program for it.
func (s *saver) sysvObjects(p *process, _ *image.Process) error {
	for _, u := range s.sysv[p] {
		args := []uint64{uint64(u.number), ipcStat, p.scratch}
		if u.kind.sub {
			args = []uint64{uint64(u.number), 0, ipcStat, p.scratch}
		}
		_, err := p.leader().call(u.kind.ctl, args...)
		if refusedByKernel(err) && u.by != nil {
			s.refuse(p, u.kind.what, strconv.Itoa(int(u.number)), "it is in the IPC namespace of the tree, whose root process may not read it",
				"let that read it, or remove it (ipcrm "+u.kind.option+")")
		}
		if refusedByKernel(err) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EIDRM) {
			continue // not for it to read, or gone
		}
		if err != nil {
			return err
		}
		o := u.object
		ipc := image.IPC{Key: int32(o["key"]), Number: u.number, Mode: uint32(o["perms"]) & 0o777,
			UID: uint32(o["uid"]), GID: uint32(o["gid"]), Changed: o["ctime"]}
		if u.by == nil {
			ipc.UID, ipc.GID = s.ids.uids.inside(ipc.UID), s.ids.gids.inside(ipc.GID)
		}
		if u.kind == sysvQueue {
			err = s.queue(p, &u, ipc)
		} else {
			err = s.semaphores(p, &u, ipc)
		}
		if err != nil {
			return fmt.Errorf("%s %d: %w", u.kind.what, u.number, err)
		}
	}
	return nil
}

// maxQueue is how much a queue may hold to be saved, in bytes.
const maxQueue = 256 << 20

// queue saves a queue, whose struct msqid64_ds lies in the scratch memory.
func (s *saver) queue(p *process, u *sysvUse, ipc image.IPC) error {
	b := make([]byte, sysvDSSize)
	if err := p.mem.read(p.scratch, b); err != nil {
		return err
	}
	abi := p.leader().abi
	q := &image.Queue{ID: s.newID(), IPC: ipc, Limit: layoutOf(abi).long(b[limitAt(abi):], 0)}
	if n := u.object["cbytes"]; n > maxQueue {
		s.refuse(p, u.kind.what, strconv.Itoa(int(u.number)), fmt.Sprintf("%d bytes wait in it", n), "receive them first")
		return nil
	}
	size := ownLayout.word + int(u.object["cbytes"]) + 1
	if u.by != nil && size > scratchSize {
		size = scratchSize
	}
	buf := make([]byte, size)
	for i := 0; ; i++ {
		l, n, err := u.message(buf, i)
		if errors.Is(err, unix.ENOMSG) {
			break
		}
		if u.by != nil && (errors.Is(err, unix.E2BIG) || errors.Is(err, unix.EINVAL)) {
			s.refuse(p, u.kind.what, strconv.Itoa(int(u.number)), fmt.Sprintf("a message of more than %d bytes waits in it", size-l.word), "receive it first")
			return nil
		}
		if errors.Is(err, unix.ENOSYS) && u.object["qnum"] > 0 {
			s.refuse(p, u.kind.what, strconv.Itoa(int(u.number)), "messages wait in it, and a kernel without CONFIG_CHECKPOINT_RESTORE does not tell of them",
				"receive them first")
			return nil
		}
		if errors.Is(err, unix.ENOSYS) {
			break
		}
		if err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
		kind := int64(l.long(buf, 0))
		if l.word == 4 {
			kind = int64(int32(kind))
		}
		q.Messages = append(q.Messages, image.QueueMessage{Type: kind, Data: append([]byte(nil), buf[l.word:l.word+n]...)})
	}
	s.img.Queues = append(s.img.Queues, q)
	return nil
}

// maxSet is how many semaphores of a set can be saved: SEMMSL, unless somebody
// has raised it (kernel.sem).
const maxSet = 32000

// semaphores saves a set.
func (s *saver) semaphores(p *process, u *sysvUse, ipc image.IPC) error {
	n := u.object["nsems"]
	if n > maxSet {
		s.refuse(p, u.kind.what, strconv.Itoa(int(u.number)), fmt.Sprintf("a set of %d", n), "use several sets")
		return nil
	}
	values, err := u.values(n)
	if err != nil {
		return fmt.Errorf("values: %w", err)
	}
	set := &image.Semaphores{ID: s.newID(), IPC: ipc}
	for _, v := range values {
		set.Values = append(set.Values, uint32(v))
	}
	s.img.Semaphores = append(s.img.Semaphores, set)
	return nil
}
