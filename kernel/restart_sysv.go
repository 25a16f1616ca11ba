package kernel

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"cr/image"
)

// madeSysV is a queue or a set that a restart has made.
type madeSysV struct {
	kind   *sysvKind
	number int32
}

// stageSysV makes the message queues and semaphores that are not there any more.
func (rs *restarter) stageSysV() error {
	for _, q := range rs.img.Queues {
		if err := rs.stageQueue(q); err != nil {
			return err
		}
	}
	for _, s := range rs.img.Semaphores {
		if err := rs.stageSet(s); err != nil {
			return err
		}
	}
	return nil
}

// inOurIPC reports whether the processes are in this program's IPC namespace, of
// which /proc tells.
func (rs *restarter) inOurIPC() bool {
	same, err := sameNamespace(os.Getpid(), rs.root.pid, "ipc")
	return err != nil || same
}

// newSysV makes an object with its key and number. It is false if that is there,
// as it was at the checkpoint, and so stays. size is that of a set.
func (rs *restarter) newSysV(k *sysvKind, ipc *image.IPC, size int) (bool, error) {
	refuse := func(reason, hint string, errno unix.Errno) (bool, error) {
		return false, &RefusedError{PID: rs.root.pid, Kind: k.what, Object: strconv.Itoa(int(ipc.Number)), Reason: reason, Hint: hint, Errno: errno}
	}
	var all map[int32]sysvObject // none in a new namespace
	if !rs.newIPC() {
		if !rs.inOurIPC() {
			return refuse("the process is in another IPC namespace than this program", "restart it from inside", unix.EOPNOTSUPP)
		}
		var err error
		if all, err = readSysV(k.name); err != nil {
			return false, err
		}
	}
	if now, there := all[ipc.Number]; there {
		same := now["key"] == int64(ipc.Key) && (k == sysvQueue || now["nsems"] == int64(size))
		switch {
		case same && rs.options.Force:
			return false, nil
		case same && now["ctime"] == ipc.Changed:
			use := sysvUse{k, ipc.Number, now, nil}
			pids, _ := use.users()
			for _, pid := range pids {
				if pid != 0 && pid != rs.root.pid && lives(pid) {
					return refuse(fmt.Sprintf("it is in use, by pid %d", pid), "end those who use it, or share it with them (--force)", unix.EBUSY)
				}
			}
			return false, nil
		case same:
			return refuse("one of that number and key was made or changed after the checkpoint",
				"remove it (ipcrm "+k.option+"), or use it as it is (--force)", unix.EEXIST)
		}
		return refuse("there is another one of that number", "remove it (ipcrm "+k.option+")", unix.EEXIST)
	}
	for number, now := range all {
		if ipc.Key != 0 && now["key"] == int64(ipc.Key) {
			return refuse(fmt.Sprintf("number %d has its key, %#x", number, uint32(ipc.Key)), "remove that (ipcrm "+k.option+")", unix.EEXIST)
		}
	}
	args := []any{ipc.Key, ipc.Mode | 0o600 | ipcCreate | ipcExclusive}
	if k == sysvSet {
		args = []any{ipc.Key, size, ipc.Mode | 0o600 | ipcCreate | ipcExclusive}
	}
	number, err := rs.numbered(k.name, ipc.Number, k.get, args...)
	if err != nil {
		return false, fmt.Errorf("%s %d: %w", k.what, ipc.Number, err)
	}
	rs.sysv = append(rs.sysv, madeSysV{k, number})
	if number != ipc.Number {
		return refuse(newNumber(number), "restart it as root", unix.EPERM)
	}
	return true, nil
}

// newNumber is the reason to refuse an object that has got another number.
func newNumber(number int32) string {
	return "the kernel gives a new one number " + strconv.Itoa(int(number)) + ", and to choose the number takes CAP_CHECKPOINT_RESTORE"
}

// numbered has the root process make a System V object, with the number that it
// had if the process may choose.
func (rs *restarter) numbered(kind string, want int32, nr sysno, args ...any) (int32, error) {
	next := "/proc/sys/kernel/" + kind + "_next_id"
	err := rs.root.writeFile(next, strconv.Itoa(int(want)))
	if err != nil && !refusedByKernel(err) && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EROFS) {
		return 0, err
	}
	chosen := err == nil
	id, err := rs.root.do(nr, args...)
	if err != nil && chosen {
		_ = rs.root.writeFile(next, "-1") // the next to make one would get the number
	}
	return int32(id), err
}

// setSysV gives an object its owner and mode, and a queue its limit.
func (rs *restarter) setSysV(k *sysvKind, ipc *image.IPC, limit uint64) error {
	creds := rs.creds(rs.root.process)
	uid, gid := ipc.UID, ipc.GID
	if rs.oneUser {
		// The one user of the namespace that the processes are in.
		first := rs.img.TasksOf(rs.root.rec)[0].Creds
		uid, gid = first.UID, first.GID
	} else if ipc.UID == creds.EUID && ipc.GID == creds.EGID && k == sysvSet && ipc.Mode&0o600 == 0o600 {
		return nil // it was made so
	}
	abi := rs.root.leader().abi
	b := make([]byte, sysvDSSize)
	l := layoutOf(abi)
	l.order.PutUint32(b[4:], uid)
	l.order.PutUint32(b[8:], gid)
	l.order.PutUint32(b[20:], ipc.Mode)
	if k == sysvQueue {
		l.putLong(b[limitAt(abi):], 0, limit)
	}
	if err := k.control(rs.root, ipc.Number, ipcSet, b); err != nil {
		return fmt.Errorf("owner, mode and limit of %s %d: %w", k.what, ipc.Number, err)
	}
	return nil
}

// stageQueue makes a queue and sends its messages.
func (rs *restarter) stageQueue(q *image.Queue) error {
	fresh, err := rs.newSysV(sysvQueue, &q.IPC, 0)
	if err != nil || !fresh {
		return err
	}
	refuse := func(reason, hint string, errno unix.Errno) error {
		return &RefusedError{PID: rs.root.pid, Kind: sysvQueue.what, Object: strconv.Itoa(int(q.IPC.Number)), Reason: reason, Hint: hint, Errno: errno}
	}
	limit := q.Limit
	if usual := rs.usualLimit(); limit > usual {
		err := rs.setSysV(sysvQueue, &q.IPC, limit)
		switch {
		case refusedByKernel(err) && rs.options.Force:
			limit = usual
		case refusedByKernel(err):
			return refuse(fmt.Sprintf("it may hold %d bytes, more than kernel.msgmnb", limit), "restart it as root, or do without (--force)", unix.EPERM)
		case err != nil:
			return err
		}
	}
	for i := range q.Messages {
		m := &q.Messages[i]
		l := layoutOf(rs.root.leader().abi)
		if l.word == 4 && m.Type > math.MaxInt32 {
			return refuse(fmt.Sprintf("a message of type %d, which no 32-bit program can send", m.Type), "receive it before the checkpoint", unix.EOPNOTSUPP)
		}
		b := make([]byte, l.word+len(m.Data))
		l.putLong(b, 0, uint64(m.Type))
		copy(b[l.word:], m.Data)
		err := rs.sendToQueue(q.IPC.Number, b, len(m.Data))
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINVAL) {
			return refuse(fmt.Sprintf("message %d of %d bytes has no room in it", i, len(m.Data)), "raise kernel.msgmnb and kernel.msgmax", Errno(err))
		}
		if err != nil {
			return fmt.Errorf("%s %d: %w", sysvQueue.what, q.IPC.Number, err)
		}
	}
	return rs.setSysV(sysvQueue, &q.IPC, limit)
}

// usualLimit is what a new queue may hold (kernel.msgmnb), in bytes.
func (rs *restarter) usualLimit() uint64 {
	text := ""
	if rs.newIPC() {
		for _, s := range rs.img.OwnNamespaces().Sysctls {
			if s.Name == "kernel/msgmnb" {
				text = s.Value
			}
		}
	} else if b, err := os.ReadFile("/proc/sys/kernel/msgmnb"); err == nil {
		text = string(b)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return 16384 // MSGMNB
	}
	return n
}

// sendToQueue has the root process send a message: a type and data, of that size.
func (rs *restarter) sendToQueue(number int32, message []byte, size int) error {
	r := rs.root
	if len(message) <= argsSize {
		_, err := r.do(sysMsgsnd, number, message, size, ipcNoWait)
		return err
	}
	at, err := r.space.take(uint64(len(message)))
	if err != nil {
		return err
	}
	mapped := true
	return rs.forNow(func() error {
		flags := uint32(unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | mapFixedNoReplace)
		_, err := r.leader().mmap(at, uint64(len(message)), unix.PROT_READ|unix.PROT_WRITE, flags, -1, 0)
		mapped = err == nil
		return err
	}, func() error {
		if err := r.mem.write(at, message); err != nil {
			return err
		}
		_, err := r.do(sysMsgsnd, number, at, size, ipcNoWait)
		return err
	}, func() error {
		if !mapped {
			return nil
		}
		_, err := r.do(sysMunmap, at, len(message))
		return err
	})
}

// stageSet makes a set of semaphores.
func (rs *restarter) stageSet(s *image.Semaphores) error {
	fresh, err := rs.newSysV(sysvSet, &s.IPC, len(s.Values))
	if err != nil || !fresh {
		return err
	}
	order := rs.root.leader().abi.Order()
	b := make([]byte, 2*len(s.Values))
	for i, v := range s.Values {
		order.PutUint16(b[2*i:], uint16(v))
	}
	if err := sysvSet.control(rs.root, s.IPC.Number, semSetAll, b); err != nil {
		return fmt.Errorf("values of %s %d: %w", sysvSet.what, s.IPC.Number, err)
	}
	return rs.setSysV(sysvSet, &s.IPC, 0)
}

// removeSysV removes what was made.
func (rs *restarter) removeSysV() error {
	for _, m := range rs.sysv {
		if err := m.kind.control(rs.root, m.number, ipcRmid, 0); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EIDRM) {
			return fmt.Errorf("remove %s %d: %w", m.kind.what, m.number, err)
		}
	}
	return nil
}

// discardSysV removes it without the process, as far as this program may.
func (rs *restarter) discardSysV() {
	if rs.newIPC() {
		return // it goes with its namespace, and these numbers are of others here
	}
	for _, number := range rs.segments {
		_, _ = unix.SysvShmCtl(int(number), unix.IPC_RMID, nil)
	}
	for _, m := range rs.sysv {
		// IPC_RMID is 0, and so is what else there is to say.
		_, _, _ = unix.Syscall(m.kind.nr, uintptr(m.number), ipcRmid, 0)
	}
}
