package kernel

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"cr/image"
)

// Files without a path that count events: eventfd, timerfd, signalfd, pidfd.

func saveEventFD(s *saver, d *openDescriptor) error {
	v, ok := d.info.value("eventfd-count")
	if !ok {
		return errors.New("fdinfo of an eventfd has no count")
	}
	var err error
	if d.file.Event.Count, err = strconv.ParseUint(strings.TrimSpace(v), 16, 64); err != nil {
		return err
	}
	if v, ok := d.info.value("eventfd-semaphore"); ok {
		d.file.Event.Semaphore = v != "0"
		return nil
	}
	own, err := d.dup()
	if err != nil {
		return err
	}
	d.file.Event.Semaphore, err = isSemaphore(own, d.file.Event.Count)
	return err
}

// isSemaphore finds out whether an eventfd with a count is one with
// EFD_SEMAPHORE, where the kernel does not tell (before 6.6): by reading from it
// what is put back at once.
func isSemaphore(fd int, count uint64) (bool, error) {
	put := func(n uint64) error {
		var b [8]byte
		hostOrder.PutUint64(b[:], n)
		_, err := unix.Write(fd, b[:])
		return err
	}
	get := func() (uint64, error) {
		var b [8]byte
		_, err := unix.Read(fd, b[:])
		return hostOrder.Uint64(b[:]), err
	}
	added := uint64(0)
	if count < 2 {
		added = 2
		if err := put(added); err != nil {
			return false, err
		}
	}
	n, err := get()
	if err != nil {
		return false, err
	}
	semaphore := n == 1
	if semaphore && added > 0 {
		if _, err := get(); err != nil {
			return false, err
		}
		return true, nil
	}
	return semaphore, put(n - added)
}

func (rs *restarter) stageEventFD(f *image.File) error {
	flags := rs.cloexec(f) | f.Flags&unix.O_NONBLOCK
	if f.Event.Semaphore {
		flags |= unix.EFD_SEMAPHORE
	}
	first := f.Event.Count
	if first > 0xffffffff {
		first = 0
	}
	fd, err := rs.root.do(sysEventfd2, first, flags)
	if err != nil {
		return err
	}
	rs.files[f.ID] = int(fd)
	if first == f.Event.Count {
		return nil
	}
	own, err := rs.own(int(fd))
	if err != nil {
		return err
	}
	defer unix.Close(own)
	var b [8]byte
	hostOrder.PutUint64(b[:], f.Event.Count)
	_, err = rs.options.as.do(func() (int, error) { return unix.Write(own, b[:]) })
	return err
}

func saveSignalFD(s *saver, d *openDescriptor) error {
	v, _ := d.info.value("sigmask")
	mask, err := strconv.ParseUint(v, 16, 64)
	if err != nil {
		return fmt.Errorf("fdinfo of a signalfd: %w", err)
	}
	d.file.Sigmask = mask
	return nil
}

func (rs *restarter) stageSignalFD(f *image.File) error {
	l := layoutOf(rs.root.leader().abi)
	set := make([]byte, sigsetSize)
	l.putSigset(set, f.Sigmask)
	fd, err := rs.root.do(sysSignalfd4, -1, set, sigsetSize, rs.cloexec(f)|f.Flags&unix.O_NONBLOCK)
	if err != nil {
		return err
	}
	rs.files[f.ID] = int(fd)
	return nil
}

// Clocks of a timerfd whose time is that of the day.
func wallClock(clock int32) bool {
	const realtimeAlarm = 8
	return clock == unix.CLOCK_REALTIME || clock == realtimeAlarm
}

// Flags of timerfd_settime(2).
const tfdTimerAbstime = 1

func saveTimerFD(s *saver, d *openDescriptor) error {
	t := &d.file.Timer
	if err := parseTimer(d.info, t); err != nil {
		return err
	}
	if t.Ticks == 0 || t.Interval == 0 {
		return nil
	}
	// The kernel winds a timer that has expired on when it is asked, and counts
	// what was missed.
	own, err := d.dup()
	if err != nil {
		return err
	}
	var spec unix.ItimerSpec
	if err := unix.TimerfdGettime(own, &spec); err != nil {
		return fmt.Errorf("timerfd: %w", err)
	}
	info, err := readFdinfo(d.pid, d.number)
	if err != nil {
		return err
	}
	return parseTimer(info, t)
}

// parseTimer reads the fdinfo of a timerfd.
func parseTimer(info *fdinfo, t *image.TimerState) error {
	num := func(key string, base int) uint64 {
		v, _ := info.value(key)
		n, _ := strconv.ParseUint(strings.TrimSpace(v), base, 64)
		return n
	}
	pair := func(key string) (int64, error) {
		v, ok := info.value(key)
		sec, nsec, _ := strings.Cut(strings.Trim(v, "() "), ",")
		a, err := strconv.ParseInt(sec, 10, 64)
		if err != nil || !ok {
			return 0, fmt.Errorf("fdinfo of a timerfd has no %s (the kernel needs CONFIG_PROC_FS)", key)
		}
		b, err := strconv.ParseInt(strings.TrimSpace(nsec), 10, 64)
		return a*1e9 + b, err
	}
	t.Clock = int32(num("clockid", 10))
	t.Flags = uint32(num("settime flags", 8))
	t.Ticks = num("ticks", 10)
	var err error
	if t.Remaining, err = pair("it_value"); err != nil {
		return err
	}
	t.Interval, err = pair("it_interval")
	return err
}

// tfdIocSetTicks is TFD_IOC_SET_TICKS, _IOW('T', 0, u64).
const tfdIocSetTicks = iocWrite | 8<<16 | 'T'<<8

func (rs *restarter) stageTimerFD(f *image.File) error {
	fd, err := rs.root.do(sysTimerfdCreate, f.Timer.Clock, rs.cloexec(f)|f.Flags&unix.O_NONBLOCK)
	if err != nil {
		return fmt.Errorf("timerfd: %w", err)
	}
	rs.files[f.ID] = int(fd)
	t := f.Timer
	if t.Remaining == 0 && t.Interval != 0 && t.Ticks != 0 {
		t.Remaining = 1 // it had just expired
	}
	if t.Remaining == 0 && t.Ticks == 0 {
		return nil
	}
	own, err := rs.own(int(fd))
	if err != nil {
		return err
	}
	defer unix.Close(own)
	if t.Remaining != 0 {
		flags := int(t.Flags)
		if wallClock(t.Clock) && flags&tfdTimerAbstime != 0 {
			t.Remaining += rs.img.Header.Time
		} else {
			flags &^= tfdTimerAbstime
		}
		spec := unix.ItimerSpec{Interval: unix.NsecToTimespec(t.Interval), Value: unix.NsecToTimespec(t.Remaining)}
		if err := unix.TimerfdSettime(own, flags, &spec, nil); err != nil {
			return fmt.Errorf("timerfd: %w", err)
		}
	}
	if t.Ticks == 0 {
		return nil
	}
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(own), tfdIocSetTicks, uintptr(unsafe.Pointer(&t.Ticks))); e != 0 {
		return fmt.Errorf("expirations of a timerfd (the kernel needs CONFIG_CHECKPOINT_RESTORE): %w", e)
	}
	return nil
}

func isPidFD(d *openDescriptor) bool {
	return d.file.Path == "anon_inode:[pidfd]" || strings.HasPrefix(d.file.Path, "pidfd:")
}

func savePidFD(s *saver, d *openDescriptor) error {
	v, _ := d.info.value("Pid")
	pid, err := strconv.Atoi(v)
	if err != nil {
		return fmt.Errorf("fdinfo of a pidfd: %w", err)
	}
	for _, p := range s.tree.processes {
		if p.pid == pid {
			d.file.PID = last(p.status.nspid)
			return nil
		}
	}
	reason := fmt.Sprintf("it refers to process %d, which is not among those to save", pid)
	if pid <= 0 {
		reason = "it refers to a process that has been reaped"
	}
	s.refuseFile(d, reason, "close it first")
	return nil
}

// stagePidFD does nothing: the process does not exist yet.
func (rs *restarter) stagePidFD(f *image.File) error {
	rs.lateFiles = append(rs.lateFiles, f)
	rs.files[f.ID] = -1
	return nil
}

// stageLate makes the open files that refer to processes, once these exist. One
// process makes each of them, the others take theirs from it.
func (rs *restarter) stageLate() error {
	if err := rs.stageControl(); err != nil {
		return err
	}
	for _, f := range rs.lateFiles {
		var maker *reborn
		for _, r := range rs.list {
			if r.mm == nil || !rs.holdsAny(r, f.ID) {
				continue
			}
			fd, err := 0, error(nil)
			if maker == nil {
				fd, err = rs.openPidFD(r, f)
				maker = r
			} else {
				fd, err = rs.take(r, maker, maker.late[f.ID])
			}
			if err != nil {
				return rs.fileError(f, err)
			}
			r.setLate(f.ID, fd)
			for _, own := range r.apart {
				if own.rec.Files == r.rec.Files || !rs.holds(own, f.ID) {
					continue
				}
				its, err := rs.take(own, r, fd)
				if err != nil {
					return rs.fileError(f, err)
				}
				own.setLate(f.ID, its)
			}
		}
	}
	for _, t := range rs.lateTargets {
		for _, r := range rs.list {
			if fd, ok := r.late[t.target.File]; ok {
				if err := r.register(rs.files[t.file.ID], fd, t.target); err != nil {
					return rs.fileError(t.file, err)
				}
				break
			}
		}
	}
	return rs.setOwners()
}

// holds reports whether a process has a descriptor of an open file.
func (rs *restarter) holds(r *reborn, id uint32) bool {
	for _, fd := range rs.img.Table(r.rec.Files).FDs {
		if fd.File == id {
			return true
		}
	}
	return false
}

// holdsAny reports whether a process, or a thread that has descriptors for
// itself, has one of an open file.
func (rs *restarter) holdsAny(r *reborn, id uint32) bool {
	for _, own := range r.apart {
		if rs.holds(own, id) {
			return true
		}
	}
	return rs.holds(r, id)
}

func (r *reborn) setLate(id uint32, fd int) {
	if r.late == nil {
		r.late = make(map[uint32]int)
	}
	r.late[id] = fd
}

func (rs *restarter) openPidFD(r *reborn, f *image.File) (int, error) {
	fd, err := r.do(sysPidfdOpen, rs.ourPID(f.PID), f.Flags&unix.O_NONBLOCK)
	if err != nil {
		return 0, fmt.Errorf("pidfd: %w", err)
	}
	if rs.cloexec(f) == 0 {
		_, err = r.do(sysFcntl, fd, unix.F_SETFD, 0)
	}
	return int(fd), err
}

// take gives a process a descriptor of another process.
func (rs *restarter) take(r, from *reborn, fd int) (int, error) {
	pidfd, err := r.do(sysPidfdOpen, last(from.status.nspid), 0)
	if err != nil {
		return 0, err
	}
	got, err := r.do(sysPidfdGetfd, pidfd, fd, 0)
	if err != nil {
		return 0, err
	}
	_, err = r.do(sysClose, pidfd)
	return int(got), err
}
