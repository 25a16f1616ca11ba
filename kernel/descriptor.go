package kernel

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// callerFile is a descriptor of a caller, as a stream. It is used with the
// authority that the caller has and no more, and gives up with unix.EINTR when
// a signal waits for the caller.
type callerFile struct {
	fd          int // this program's own descriptor of the same open file
	name        string
	regular     bool // reads and writes do not wait for another party
	nowait      bool // whether the file is thought to take RWF_NOWAIT
	as          *authority
	interrupted func() bool

	// first, if not nil, is asked once before anything is written.
	first func() error
}

// file takes hold of a descriptor of the caller for reading or writing.
func (c *caller) file(fd int, writing bool) (*callerFile, error) {
	name := fmt.Sprintf("descriptor %d", fd)
	own, err := unix.PidfdGetfd(c.pidfd, fd, 0)
	if err != nil {
		return nil, fmt.Errorf("%s of pid %d: %w", name, c.tid, err)
	}
	f := &callerFile{fd: own, name: name, nowait: true, interrupted: c.interrupted}
	if err := f.check(writing); err != nil {
		f.close()
		return nil, err
	}
	if f.as, err = authorityOf(c); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *callerFile) check(writing bool) error {
	flags, err := unix.FcntlInt(uintptr(f.fd), unix.F_GETFL, 0)
	if err != nil {
		return f.fail("fcntl", err)
	}
	mode := flags & unix.O_ACCMODE
	switch {
	case flags&unix.O_PATH != 0:
		return fmt.Errorf("%s is open with O_PATH only: %w", f.name, unix.EBADF)
	case writing && mode == unix.O_RDONLY:
		return fmt.Errorf("%s is not open for writing: %w", f.name, unix.EBADF)
	case !writing && mode == unix.O_WRONLY:
		return fmt.Errorf("%s is not open for reading: %w", f.name, unix.EBADF)
	}
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return f.fail("stat", err)
	}
	f.regular = st.Mode&unix.S_IFMT == unix.S_IFREG
	return nil
}

func (f *callerFile) close() { unix.Close(f.fd) }

func (f *callerFile) fail(op string, err error) error {
	return &os.PathError{Op: op, Path: f.name, Err: err}
}

// Write writes all of b.
func (f *callerFile) Write(b []byte) (n int, err error) {
	if f.first != nil {
		if err := f.first(); err != nil {
			return 0, err
		}
		f.first = nil
	}
	for n < len(b) {
		m, err := f.transfer(b[n:], unix.POLLOUT, unix.Write, unix.Pwritev2)
		if err != nil {
			return n, f.fail("write", err)
		}
		n += m
	}
	return n, nil
}

// Read reads what there is, and waits until there is something.
func (f *callerFile) Read(b []byte) (int, error) {
	n, err := f.transfer(b, unix.POLLIN, unix.Read, unix.Preadv2)
	if err != nil {
		return 0, f.fail("read", err)
	}
	if n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// atOnce is how much a pipe takes without waiting when poll says that it takes
// something.
const atOnce = 4096

// transfer reads or writes once, at the file's own position. Where the other
// party keeps it waiting, it looks after the caller's signals.
func (f *callerFile) transfer(b []byte, event int16, plain func(int, []byte) (int, error),
	vector func(int, [][]byte, int64, int) (int, error)) (int, error) {
	for {
		if !f.regular && !f.nowait {
			if err := f.wait(event); err != nil {
				return 0, err
			}
			if len(b) > atOnce {
				b = b[:atOnce]
			}
		}
		n, err := f.as.do(func() (int, error) {
			if !f.regular && f.nowait {
				return vector(f.fd, [][]byte{b}, -1, unix.RWF_NOWAIT)
			}
			return plain(f.fd, b)
		})
		switch {
		case err == nil:
			return n, nil
		case errors.Is(err, unix.EINTR):
			// A signal of this program's own.
		case errors.Is(err, unix.EAGAIN):
			if err := f.wait(event); err != nil {
				return 0, err
			}
		case f.nowait && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)):
			f.nowait = false
		default:
			return 0, err
		}
	}
}

// wait waits until the file is ready.
func (f *callerFile) wait(event int16) error {
	const pause = 100 // milliseconds between looks after signals
	for {
		fds := []unix.PollFd{{Fd: int32(f.fd), Events: event}}
		n, err := unix.Poll(fds, pause)
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if f.interrupted() {
			return unix.EINTR
		}
	}
}

// authority is what a task's system calls on files are judged by.
type authority struct {
	uid, gid  int   // fsuid and fsgid
	groups    []int // nil: as this program's
	effective uint64
}

// authorityOf returns what the kernel side must put on to have no more
// authority than a caller; nil if it has no more.
func authorityOf(c *caller) (*authority, error) {
	self, err := readParty(os.Getpid())
	if err != nil {
		return nil, err
	}
	them, err := readParty(c.tid)
	if err != nil {
		return nil, err
	}
	a := &authority{int(them.creds.FSUID), int(them.creds.FSGID), nil, them.creds.Effective}
	if !equalGroups(self.creds.Groups, them.creds.Groups) {
		a.groups = make([]int, len(them.creds.Groups))
		for i, g := range them.creds.Groups {
			a.groups[i] = int(g)
		}
	}
	if them.userns != self.userns {
		a.effective = 0 // they hold below the caller's own namespace
	}
	if self.creds.FSUID == them.creds.FSUID && self.creds.FSGID == them.creds.FSGID && a.groups == nil &&
		self.creds.Effective&^a.effective == 0 {
		return nil, nil
	}
	return a, nil
}

// do runs f with an authority; with the program's own if it is nil. User, group
// and capabilities are those of the thread, and put back afterwards.
func (a *authority) do(f func() (int, error)) (n int, err error) {
	if a == nil {
		return f()
	}
	runtime.LockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var own, less [2]unix.CapUserData
	if err := unix.Capget(&header, &own[0]); err != nil {
		runtime.UnlockOSThread()
		return 0, err
	}
	less = own
	less[0].Effective &= uint32(a.effective)
	less[1].Effective &= uint32(a.effective >> 32)

	regrouped := false
	groups, err := unix.Getgroups()
	if err == nil && a.groups != nil {
		err = unix.Setgroups(a.groups)
		regrouped = err == nil
	}
	gid, _ := unix.SetfsgidRetGid(a.gid)
	uid, _ := unix.SetfsuidRetUid(a.uid)
	header.Pid = 0
	if err == nil {
		err = unix.Capset(&header, &less[0])
	}
	if gotUID, _ := unix.SetfsuidRetUid(-1); err == nil && gotUID != a.uid {
		err = unix.EPERM
	}
	if gotGID, _ := unix.SetfsgidRetGid(-1); err == nil && gotGID != a.gid {
		err = unix.EPERM
	}
	if err == nil {
		n, err = f()
	}
	unix.SetfsuidRetUid(uid)
	unix.SetfsgidRetGid(gid)
	e := unix.Capset(&header, &own[0])
	if e == nil && regrouped {
		e = unix.Setgroups(groups)
	}
	if e != nil {
		return n, e // the thread stays locked, and is not used again
	}
	runtime.UnlockOSThread()
	return n, err
}
