package kernel

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"cr/image"
	"cr/regset"
)

// lockLine is a lock as fdinfo shows it: that of /proc/locks
// (Documentation/filesystems/proc.rst).
type lockLine struct {
	image.Lock
	breaking bool   // a lease that somebody wants to have given up
	inode    string // MAJOR:MINOR:INODE
}

// parseLock parses a lock line; ok is false for a kind of lock that processes
// do not make.
func parseLock(line string) (l lockLine, ok bool) {
	f := strings.Fields(line)
	if len(f) < 8 {
		return l, false
	}
	switch f[1] {
	case "FLOCK":
		l.Kind = image.Flock
	case "POSIX":
		l.Kind = image.POSIX
	case "OFDLCK":
		l.Kind = image.OFDLock
	case "LEASE":
		l.Kind = image.Lease
	default:
		return l, false
	}
	l.breaking = f[2] == "BREAKING"
	switch f[3] {
	case "READ":
		l.Type = unix.F_RDLCK
	case "WRITE":
		l.Type = unix.F_WRLCK
	default:
		return l, false
	}
	l.inode = f[5]
	start, err := strconv.ParseUint(f[6], 10, 63)
	if err != nil {
		return l, false
	}
	l.Start = start
	if f[7] != "EOF" {
		end, err := strconv.ParseUint(f[7], 10, 63)
		if err != nil || end < start {
			return l, false
		}
		l.Len = end - start + 1
	}
	return l, true
}

// fileLocks saves the locks that belong to an open file.
func (s *saver) fileLocks(d *openDescriptor) {
	for _, line := range d.info.locks {
		l, ok := parseLock(line)
		switch {
		case !ok:
			s.refuseFile(d, "it holds a lock of an unknown kind: "+line, "let go of it first")
		case l.breaking:
			s.refuseFile(d, "it has a lease that somebody waits for", "try again when it is given up")
		case l.Kind != image.POSIX:
			d.file.Locks = append(d.file.Locks, l.Lock)
		}
	}
}

// posixLocks collects the POSIX locks of a process. Every descriptor of the file
// shows them; one that may have such a lock is noted.
type posixLocks struct {
	table *image.Files
	seen  map[lockLine]bool
}

func newPosixLocks(table *image.Files) *posixLocks {
	return &posixLocks{table, make(map[lockLine]bool)}
}

func (p *posixLocks) add(d *openDescriptor) {
	for _, line := range d.info.locks {
		l, ok := parseLock(line)
		without := uint32(unix.O_WRONLY)
		if l.Type == unix.F_WRLCK {
			without = unix.O_RDONLY
		}
		if !ok || l.Kind != image.POSIX || d.access() == without || p.seen[l] {
			continue
		}
		p.seen[l] = true
		l.FD = uint32(d.number)
		p.table.Locks = append(p.table.Locks, l.Lock)
	}
}

// flock is struct flock64 of a task's ABI, for a lock.
func (l layout) flock(k *image.Lock, align int) []byte {
	b := make([]byte, 32)
	l.order.PutUint16(b, uint16(k.Type))
	at := 8
	if align == 4 {
		at = 4
	}
	l.order.PutUint64(b[at:], k.Start)
	l.order.PutUint64(b[at+8:], k.Len)
	return b
}

// Commands of fcntl(2) that golang.org/x/sys lacks on some machines.
const (
	fOFDGetlk = 36
	fOFDSetlk = 37
	fSetlk    = 6
	fSetlk64  = 13
	fSetownEx = 15
	fGetownEx = 16
	fSetsig   = 10
	fGetsig   = 11
	fSetlease = 1024
	fOwnerTID = 0
)

// flockOf is the structure for a lock of a task.
func flockOf(t *task, k *image.Lock) []byte {
	align := 8
	if t.abi == regset.I386 {
		align = 4
	}
	return layoutOf(t.abi).flock(k, align)
}

// lockFile gives a staged file its locks.
func (rs *restarter) lockFile(f *image.File) error {
	r, fd := rs.root, rs.files[f.ID]
	for i := range f.Locks {
		k := &f.Locks[i]
		var err error
		switch k.Kind {
		case image.Flock:
			how := unix.LOCK_SH
			if k.Type == unix.F_WRLCK {
				how = unix.LOCK_EX
			}
			_, err = r.do(sysFlock, fd, how|unix.LOCK_NB)
		case image.OFDLock:
			_, err = r.do(sysFcntl, fd, fOFDSetlk, flockOf(r.leader(), k))
		case image.Lease:
			_, err = r.do(sysFcntl, fd, fSetlease, k.Type)
		}
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return locked(r, f)
		}
		if err != nil {
			return fmt.Errorf("lock of %s: %w", f.Path, err)
		}
	}
	return nil
}

func locked(r *reborn, f *image.File) error {
	return &RefusedError{PID: r.pid, Kind: "file", Object: f.Path, Reason: "another process has a lock on it",
		Hint: "perhaps the program that was checkpointed still runs", Errno: unix.EAGAIN}
}

// checkRecords makes sure that the POSIX locks of the tree can be had, which the
// processes take when there is no way back.
func (rs *restarter) checkRecords() error {
	for _, table := range rs.img.Tables {
		number := make(map[uint32]uint32)
		if len(table.Locks) > 0 {
			for _, fd := range table.FDs {
				number[fd.Number] = fd.File
			}
		}
		for i := range table.Locks {
			k := &table.Locks[i]
			f := rs.img.File(number[k.FD])
			b := out(flockOf(rs.root.leader(), k))
			if _, err := rs.root.do(sysFcntl, rs.files[f.ID], fOFDGetlk, b); err != nil {
				return fmt.Errorf("lock of %s: %w", f.Path, err)
			}
			if rs.root.leader().abi.Order().Uint16(b) != unix.F_UNLCK {
				return locked(rs.root, f)
			}
		}
	}
	return nil
}

// lockRecords makes a process take its POSIX locks. It comes when its
// descriptors are in place: closing one gives up the locks of the file.
func (rs *restarter) lockRecords(r *reborn, table *image.Files) error {
	cmd := fSetlk
	if r.leader().abi.WordSize() == 4 {
		cmd = fSetlk64
	}
	for i := range table.Locks {
		k := &table.Locks[i]
		if _, err := r.do(sysFcntl, k.FD, cmd, flockOf(r.leader(), k)); err != nil {
			return fmt.Errorf("lock of descriptor %d: %w", k.FD, err)
		}
	}
	return nil
}

// fileOwner saves who gets the signals of an open file.
func (s *saver) fileOwner(d *openDescriptor, own int) error {
	var ex struct{ kind, pid int32 } // struct f_owner_ex
	if _, _, e := unix.Syscall(unix.SYS_FCNTL, uintptr(own), fGetownEx, uintptr(unsafe.Pointer(&ex))); e != 0 {
		return fmt.Errorf("owner: %w", e)
	}
	sig, err := unix.FcntlInt(uintptr(own), fGetsig, 0)
	if err != nil {
		return fmt.Errorf("signal: %w", err)
	}
	d.file.Signal = uint32(sig)
	if ex.pid == 0 {
		return nil
	}
	st, err := readStatus(int(ex.pid))
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	if err != nil || s.tree.find(st.tgid) == nil {
		s.refuseFile(d, fmt.Sprintf("its signals go to process %d, which is not among those to save", ex.pid),
			"let its owner be one of them (F_SETOWN)")
		return nil
	}
	d.file.OwnerType, d.file.Owner = uint32(ex.kind), int32(last(st.nspid))
	return nil
}

// find gives the process with a pid, nil if it is not of the tree.
func (t *tree) find(pid int) *process {
	for _, p := range t.processes {
		if p.pid == pid {
			return p
		}
	}
	return nil
}

// setOwners tells the kernel who gets the signals of open files. All processes
// and threads exist by then.
func (rs *restarter) setOwners() error {
	for id, fd := range rs.files {
		f := rs.img.File(id)
		if rs.external(f) || fd < 0 {
			continue
		}
		if f.Owner != 0 {
			now := rs.ourTask(f)
			if now == 0 {
				return rs.fileError(f, fmt.Errorf("%w: its owner %d is missing", image.ErrInvalid, f.Owner))
			}
			order := rs.root.leader().abi.Order()
			ex := make([]byte, 8)
			order.PutUint32(ex, f.OwnerType)
			order.PutUint32(ex[4:], now)
			if _, err := rs.root.do(sysFcntl, fd, fSetownEx, ex); err != nil {
				return rs.fileError(f, fmt.Errorf("owner: %w", err))
			}
		}
		if f.Signal != 0 {
			if _, err := rs.root.do(sysFcntl, fd, fSetsig, f.Signal); err != nil {
				return rs.fileError(f, fmt.Errorf("signal: %w", err))
			}
		}
		if f.Flags&unix.O_ASYNC != 0 {
			if _, err := rs.root.do(sysFcntl, fd, unix.F_SETFL, f.Flags&settable|unix.O_ASYNC); err != nil {
				return rs.fileError(f, fmt.Errorf("O_ASYNC: %w", err))
			}
		}
	}
	return nil
}

// settable are the flags of an open file that F_SETFL sets, but for O_ASYNC.
const settable = unix.O_APPEND | unix.O_NONBLOCK | unix.O_DIRECT | unix.O_NOATIME

// ourTask is the number that the owner of an open file has now.
func (rs *restarter) ourTask(f *image.File) uint32 {
	if f.OwnerType != fOwnerTID {
		return rs.ourPID(uint32(f.Owner))
	}
	for _, r := range rs.list {
		if r.mm == nil {
			continue
		}
		for i, rec := range rs.img.TasksOf(r.rec) {
			if rec.TID != uint32(f.Owner) || i >= len(r.tasks) {
				continue
			}
			st, err := readStatus(r.tasks[i].tid)
			if err != nil {
				return 0
			}
			return last(st.nspid)
		}
	}
	return 0
}
