package kernel

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"cr/image"
)

// Major numbers of devices that are terminals (Documentation/admin-guide/devices.txt).
const (
	ttyAuxMajor   = 5 // minor 0 /dev/tty, 2 /dev/ptmx
	ptyFirstMajor = 136
	ptyLastMajor  = 143
)

func isCharDevice(d *openDescriptor) bool { return d.st.Mode&unix.S_IFMT == unix.S_IFCHR }

func isPtyMaster(d *openDescriptor) bool {
	return isCharDevice(d) && d.st.Rdev == unix.Mkdev(ttyAuxMajor, 2)
}

// isTerminal reports whether a descriptor is one of a terminal.
func isTerminal(d *openDescriptor) bool {
	if !isCharDevice(d) {
		return false
	}
	own, err := d.dup()
	if err != nil {
		return false
	}
	_, err = unix.IoctlGetTermios(own, unix.TCGETS)
	return err == nil || d.st.Rdev == unix.Mkdev(ttyAuxMajor, 0)
}

// savedTerminal is an open file of a terminal that may turn out to be the other
// side of a master that the tree holds.
type savedTerminal struct {
	d      *openDescriptor
	number uint32 // N of /dev/pts/N
	input  int    // bytes that wait to be read
}

// saveTerminal saves an open file of a terminal. Unless the tree holds its
// master, the terminal of whoever restarts it will stand in.
func saveTerminal(s *saver, d *openDescriptor) error {
	own, err := d.dup()
	if err != nil {
		return err
	}
	// The device is that of the terminal, even where it was opened as /dev/tty.
	var dev uint32
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(own), unix.TIOCGDEV, uintptr(unsafe.Pointer(&dev))); e != 0 {
		return nil
	}
	major, minor := dev>>8&0xfff, dev&0xff|dev>>12&0xfff00
	if major < ptyFirstMajor || major > ptyLastMajor {
		return nil
	}
	input, err := unix.IoctlGetInt(own, unix.TIOCINQ)
	if err != nil {
		input = 0
	}
	s.terminals = append(s.terminals, savedTerminal{d, (major-ptyFirstMajor)<<8 + minor, input})
	return nil
}

// savedPty is a pseudoterminal whose master the tree holds.
type savedPty struct {
	rec    *image.Pty
	d      *openDescriptor
	output int // bytes that wait to be read from the master
}

// savePtyMaster saves a pseudoterminal.
func savePtyMaster(s *saver, d *openDescriptor) error {
	own, err := d.dup()
	if err != nil {
		return err
	}
	fail := func(err error) error { return fmt.Errorf("pseudoterminal: %w", err) }
	number, err := unix.IoctlGetUint32(own, unix.TIOCGPTN)
	if err != nil {
		return fail(err)
	}
	p := &image.Pty{ID: s.newID(), Number: number}
	if err := getTermios(own, p); err != nil {
		return fail(err)
	}
	size, err := unix.IoctlGetWinsize(own, unix.TIOCGWINSZ)
	if err != nil {
		return fail(err)
	}
	p.Rows, p.Cols, p.Xpixel, p.Ypixel = uint32(size.Row), uint32(size.Col), uint32(size.Xpixel), uint32(size.Ypixel)
	for _, f := range []struct {
		request uint
		flag    *bool
	}{{unix.TIOCGPKT, &p.Packet}, {unix.TIOCGPTLCK, &p.Locked}} {
		v, err := unix.IoctlGetInt(own, f.request)
		if err != nil {
			return fail(err)
		}
		*f.flag = v != 0
	}
	fds := []unix.PollFd{{Fd: int32(own)}}
	if err := pollNow(fds); err == nil && fds[0].Revents&unix.POLLHUP != 0 {
		p.Closed = true
	}
	for _, f := range []struct {
		request uint
		id      *uint32
	}{{unix.TIOCGSID, &p.Session}, {unix.TIOCGPGRP, &p.Foreground}} {
		pid, err := unix.IoctlGetInt(own, f.request)
		if err != nil || pid == 0 {
			continue // it is nobody's controlling terminal
		}
		if st, err := readStatus(pid); err == nil && s.tree.find(pid) != nil {
			*f.id = last(st.nspid)
		}
	}
	output, err := unix.IoctlGetInt(own, unix.TIOCINQ)
	if err != nil {
		return fail(err)
	}
	d.file.Object = p.ID
	s.img.Ptys = append(s.img.Ptys, p)
	s.ptys = append(s.ptys, savedPty{p, d, output})
	return nil
}

// finishPtys finds the terminals whose masters the tree holds.
func (s *saver) finishPtys() error {
	for _, t := range s.terminals {
		for _, p := range s.ptys {
			if p.rec.Number != t.number {
				continue
			}
			t.d.file.Kind, t.d.file.Object = image.PtyTerminal, p.rec.ID
			if t.input > 0 {
				s.refuseFile(t.d, fmt.Sprintf("%d bytes of input wait to be read, and cannot be put back", t.input), "try again when they are read")
			}
		}
	}
	for _, p := range s.ptys {
		if p.output > 0 {
			s.refuseFile(p.d, fmt.Sprintf("%d bytes of output wait to be read, and cannot be put back", p.output), "try again when they are read")
		}
	}
	return nil
}

// stagePtyMaster makes a pseudoterminal, under whatever number is free.
func (rs *restarter) stagePtyMaster(f *image.File) error {
	if err := rs.checkKind(f); err != nil {
		return err
	}
	fd, err := rs.root.openPath(f.Path, rs.openFlags(f))
	if err != nil {
		return err
	}
	rs.files[f.ID] = fd
	rs.masters[f.Object] = fd
	own, err := rs.own(fd)
	if err != nil {
		return err
	}
	defer unix.Close(own)
	p := rs.img.Pty(f.Object)
	if err := unix.IoctlSetPointerInt(own, unix.TIOCSPTLCK, 0); err != nil {
		return fmt.Errorf("unlock the pseudoterminal: %w", err)
	}
	if err := setTermios(own, p); err != nil {
		return fmt.Errorf("settings of the pseudoterminal: %w", err)
	}
	size := &unix.Winsize{Row: uint16(p.Rows), Col: uint16(p.Cols), Xpixel: uint16(p.Xpixel), Ypixel: uint16(p.Ypixel)}
	return unix.IoctlSetWinsize(own, unix.TIOCSWINSZ, size)
}

// stagePtyTerminal opens the other side of a pseudoterminal of ours.
func (rs *restarter) stagePtyTerminal(f *image.File) error {
	if _, ok := rs.masters[f.Object]; !ok {
		for _, m := range rs.img.Files {
			if m.Kind == image.PtyMaster && m.Object == f.Object {
				if err := rs.staged(m.ID); err != nil {
					return err
				}
			}
		}
	}
	if _, ok := rs.masters[f.Object]; !ok {
		return fmt.Errorf("%w: pseudoterminal %d has no master", image.ErrInvalid, f.Object)
	}
	fd, err := rs.root.openTerminal(rs.masters[f.Object], rs.openFlags(f))
	if err != nil {
		return err
	}
	rs.files[f.ID] = fd
	return nil
}

// openTerminal opens the other side of the pseudoterminal of a master.
func (r *reborn) openTerminal(master int, flags uint32) (int, error) {
	fd, err := r.do(sysIoctl, master, unix.TIOCGPTPEER, flags)
	if err == nil {
		return int(fd), nil
	}
	// A kernel before 4.13, or a devpts that is mounted elsewhere.
	number := make(out, 4)
	if _, e := r.do(sysIoctl, master, uint32(unix.TIOCGPTN), number); e != nil {
		return 0, fmt.Errorf("pseudoterminal: %w", err)
	}
	return r.openPath(fmt.Sprintf("/dev/pts/%d", r.leader().abi.Order().Uint32(number)), flags)
}

// finishPty sets what would be in the way while a pseudoterminal is made.
func (rs *restarter) finishPty(f *image.File) error {
	p := rs.img.Pty(f.Object)
	fd := rs.files[f.ID]
	if p.Closed {
		terminal, err := rs.root.openTerminal(fd, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
		if err != nil {
			return err
		}
		if _, err := rs.root.do(sysClose, terminal); err != nil {
			return err
		}
	}
	own, err := rs.own(fd)
	if err != nil {
		return err
	}
	defer unix.Close(own)
	if p.Packet {
		if err := unix.IoctlSetPointerInt(own, unix.TIOCPKT, 1); err != nil {
			return fmt.Errorf("packet mode: %w", err)
		}
	}
	if p.Locked {
		if err := unix.IoctlSetPointerInt(own, unix.TIOCSPTLCK, 1); err != nil {
			return fmt.Errorf("lock the pseudoterminal: %w", err)
		}
	}
	return nil
}

// stageControl makes pseudoterminals the controlling terminals that they were.
// Sessions and process groups exist by then.
func (rs *restarter) stageControl() error {
	for _, p := range rs.img.Ptys {
		if p.Session == 0 {
			continue
		}
		for _, r := range rs.list {
			if r.rec.PID != p.Session || r.mm == nil || !rs.leadsSession(r) {
				continue
			}
			if err := rs.control(r, p); err != nil {
				return fmt.Errorf("controlling terminal of process %d: %w", r.rec.PID, err)
			}
		}
	}
	return nil
}

func (rs *restarter) control(r *reborn, p *image.Pty) error {
	if _, ok := rs.masters[p.ID]; !ok {
		return fmt.Errorf("%w: pseudoterminal %d has no master", image.ErrInvalid, p.ID)
	}
	fd, err := r.openTerminal(rs.masters[p.ID], unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	if _, err := r.do(sysIoctl, fd, unix.TIOCSCTTY, 0); err != nil {
		return err
	}
	if group := rs.groupNow(p.Foreground); group != 0 {
		b := make([]byte, 4)
		r.leader().abi.Order().PutUint32(b, group)
		if _, err := r.do(sysIoctl, fd, uint32(unix.TIOCSPGRP), b); err != nil {
			return err
		}
	}
	_, err = r.do(sysClose, fd)
	return err
}

// stageTerminal is not called: terminals that lead out of the tree are taken
// from whoever restarts it.
func (rs *restarter) stageTerminal(f *image.File) error { return rs.stageExternal(f) }

// otherTerminal finds a terminal for an open file whose descriptor is not open
// here: the controlling terminal, or one of the standard descriptors.
func (rs *restarter) otherTerminal(f *image.File) error {
	fd, err := rs.root.openPath("/dev/tty", unix.O_RDWR|rs.cloexec(f)|f.Flags&unix.O_NONBLOCK)
	if err == nil {
		rs.files[f.ID] = fd
		return nil
	}
	if !errors.Is(err, unix.ENXIO) && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EACCES) {
		return err
	}
	for _, n := range rs.root.fds {
		own, err := rs.own(n)
		if err != nil {
			return err
		}
		_, err = unix.IoctlGetTermios(own, unix.TCGETS)
		unix.Close(own)
		if err != nil || n > 2 {
			continue
		}
		fd, err := rs.root.openPath(procFD(n), unix.O_RDWR|unix.O_NOCTTY|rs.cloexec(f)|f.Flags&unix.O_NONBLOCK)
		if err != nil {
			return err
		}
		rs.files[f.ID] = fd
		return nil
	}
	return &RefusedError{PID: rs.root.pid, Kind: "descriptor", Object: fmt.Sprintf("%d %s", rs.first[f.ID], f.Path),
		Reason: "it was a terminal, and there is none here to stand in for it", Hint: "restart it on a terminal", Errno: unix.ENXIO}
}

// getTermios reads the settings of a terminal.
func getTermios(fd int, p *image.Pty) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	p.Iflag, p.Oflag, p.Cflag, p.Lflag, p.Line = t.Iflag, t.Oflag, t.Cflag, t.Lflag, t.Line
	p.CC = append([]byte(nil), t.Cc[:]...)
	p.Ispeed, p.Ospeed = t.Ispeed, t.Ospeed
	return nil
}

func setTermios(fd int, p *image.Pty) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag, t.Oflag, t.Cflag, t.Lflag, t.Line = p.Iflag, p.Oflag, p.Cflag, p.Lflag, p.Line
	copy(t.Cc[:], p.CC)
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}

// pollNow is poll(2) that does not wait. Signals do not get in between, SIGCHLD
// above all, of which a program that traces tasks has many.
func pollNow(fds []unix.PollFd) error {
	for {
		if _, err := unix.Poll(fds, 0); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
