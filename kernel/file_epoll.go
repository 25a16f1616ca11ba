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

// savedEpoll is an epoll descriptor whose targets are still to be found among
// the open files of the tree.
type savedEpoll struct {
	d       *openDescriptor
	rec     *image.Epoll
	targets []epollLine
}

// epollLine is a target as fdinfo shows it.
type epollLine struct {
	image.EpollTarget
	offset uint32 // among the targets with the same number
	inode  fileID
}

func saveEpoll(s *saver, d *openDescriptor) error {
	e := &savedEpoll{d: d, rec: &image.Epoll{ID: s.newID()}}
	d.file.Object = e.rec.ID
	s.img.Epolls = append(s.img.Epolls, e.rec)
	s.epolls = append(s.epolls, e)
	seen := make(map[uint32]uint32)
	for _, line := range d.info.rest {
		if !strings.HasPrefix(line, "tfd:") {
			continue
		}
		t, err := parseEpoll(line)
		if err != nil {
			return err
		}
		t.offset = seen[t.Number]
		seen[t.Number]++
		e.targets = append(e.targets, t)
	}
	return nil
}

// parseEpoll parses a line of an epoll descriptor's fdinfo:
// "tfd: 5 events: 1d data: ffffffffffffffff pos:0 ino:61af sdev:7".
func parseEpoll(line string) (t epollLine, err error) {
	fields := strings.Fields(strings.ReplaceAll(line, ":", ": "))
	num := func(key string, base, bits int) uint64 {
		for i := 0; i+1 < len(fields); i++ {
			if fields[i] != key+":" {
				continue
			}
			n, e := strconv.ParseUint(fields[i+1], base, bits)
			if e != nil {
				err = e
			}
			return n
		}
		err = fmt.Errorf("malformed line %q", line)
		return 0
	}
	t.Number = uint32(num("tfd", 10, 32))
	t.Events = uint32(num("events", 16, 32))
	t.Data = num("data", 16, 64)
	t.inode = fileID{dev: kernelDev(num("sdev", 16, 32)), ino: num("ino", 16, 64)}
	return t, err
}

// kernelDev turns a device number as the kernel has it, which some files of
// /proc show, into one of stat(2).
func kernelDev(dev uint64) uint64 { return unix.Mkdev(uint32(dev>>20), uint32(dev&0xfffff)) }

// finishEpolls finds the open files that epoll descriptors look at. It need not
// be where it was when it was registered: what counts is that the tree has it
// open.
func (s *saver) finishEpolls() error {
	for _, e := range s.epolls {
		for _, t := range e.targets {
			id, err := s.epollTarget(e.d, &t)
			if err != nil {
				return fmt.Errorf("pid %d: descriptor %d: %w", e.d.pid, e.d.number, err)
			}
			if id == 0 {
				s.refuseFile(e.d, fmt.Sprintf("it looks at an open file, once descriptor %d, that no process has open any more", t.Number),
					"take it off the list before it is closed")
				continue
			}
			t.File = id
			e.rec.Targets = append(e.rec.Targets, t.EpollTarget)
		}
	}
	return nil
}

// epollTarget gives the record of the open file of a target, 0 if it is not one
// of the tree. kcmp(2) compares it with descriptors, and gives an order.
func (s *saver) epollTarget(d *openDescriptor, t *epollLine) (uint32, error) {
	list := s.open[t.inode]
	if list == nil {
		// Some file systems show another device in stat(2) than here.
		for id := range s.open {
			if id.ino == t.inode.ino {
				list = s.open[id]
			}
		}
	}
	slot := struct{ efd, tfd, toff uint32 }{uint32(d.number), t.Number, t.offset}
	compare := func(o openFile) (int, error) {
		const kcmpEpollTFD = 7
		return kcmp(o.pid, d.pid, kcmpEpollTFD, uintptr(o.fd), uintptr(unsafe.Pointer(&slot)))
	}
	// Most often it is where it was.
	if id, ok := s.numbers[openNumber{d.pid, int(t.Number)}]; ok {
		if c, err := compare(openFile{d.pid, int(t.Number), id}); err == nil && c == 0 {
			return id, nil
		}
	}
	low, high := 0, len(list)
	for low < high {
		mid := (low + high) / 2
		c, err := compare(list[mid])
		switch {
		case errors.Is(err, unix.ENOENT):
			return 0, nil
		case err != nil:
			return 0, err
		case c == 0:
			return list[mid].id, nil
		case c == 1: // that of the list comes first
			low = mid + 1
		default:
			high = mid
		}
	}
	return 0, nil
}

func (rs *restarter) stageEpoll(f *image.File) error {
	fd, err := rs.root.do(sysEpollCreate1, rs.cloexec(f))
	if err != nil {
		return err
	}
	rs.files[f.ID] = int(fd)
	return nil
}

// finishEpoll registers what an epoll descriptor looks at, under the numbers
// that it had.
func (rs *restarter) finishEpoll(f *image.File) error {
	for _, t := range rs.img.Epoll(f.Object).Targets {
		if rs.img.File(t.File).Kind == image.PidFD {
			rs.lateTargets = append(rs.lateTargets, lateTarget{f, t})
			continue
		}
		if err := rs.staged(t.File); err != nil {
			return err
		}
		if err := rs.root.register(rs.files[f.ID], rs.files[t.File], t); err != nil {
			return err
		}
	}
	return nil
}

// lateTarget is a target that exists only when all processes do.
type lateTarget struct {
	file   *image.File // the epoll descriptor
	target image.EpollTarget
}

// register adds an open file that has descriptor fd to an epoll descriptor.
func (r *reborn) register(epoll, fd int, t image.EpollTarget) error {
	order := r.leader().abi.Order()
	event := make([]byte, 16) // struct epoll_event, packed on x86_64 and i386
	order.PutUint32(event, t.Events)
	data := event[8:]
	if a := r.leader().abi; a == regset.X86_64 || a == regset.I386 {
		data = event[4:]
	}
	order.PutUint64(data, t.Data)
	err := r.at(int(t.Number), fd, func(kept int) error {
		const ctlAdd = 1
		if epoll == int(t.Number) {
			epoll = kept
		}
		_, err := r.do(sysEpollCtl, epoll, ctlAdd, t.Number, event)
		return err
	})
	if err != nil {
		return fmt.Errorf("epoll: descriptor %d: %w", t.Number, err)
	}
	return nil
}

// at does something while an open file has a certain descriptor in a process;
// afterwards what was there before is there again. Meanwhile it is at kept.
func (r *reborn) at(number, fd int, do func(kept int) error) error {
	if number == fd {
		return do(number)
	}
	flags, err := r.do(sysFcntl, number, unix.F_GETFD, 0)
	open := err == nil
	if err != nil && !errors.Is(err, unix.EBADF) {
		return err
	}
	kept := uint64(0)
	if open {
		if kept, err = r.do(sysFcntl, number, unix.F_DUPFD_CLOEXEC, number+1); err != nil {
			return err
		}
	}
	if open {
		r.displaced = &displaced{number, int(kept), 0}
		if flags&unix.FD_CLOEXEC != 0 {
			r.displaced.flags = unix.O_CLOEXEC
		}
	}
	home := r.leader().home
	if open {
		if err := home.will(-1, sysDup3, kept, number, r.displaced.flags); err != nil {
			return err
		}
	}
	if _, err := r.do(sysDup3, fd, number, unix.O_CLOEXEC); err != nil {
		return err
	}
	back := home.newest()
	// Whatever comes of it, the caller may have to go on with what was there.
	done := do(int(kept))
	if !open {
		_, err := r.do(sysClose, number)
		return firstError(done, err)
	}
	if err := r.putBack(); err != nil {
		return firstError(done, err)
	}
	if err := home.drop(back, back); err != nil {
		return firstError(done, err)
	}
	_, err = r.do(sysClose, kept)
	return firstError(done, err)
}

// displaced is an open file that lies at another descriptor for now.
type displaced struct{ number, kept, flags int }

// putBack puts what was displaced back, if anything is.
func (r *reborn) putBack() error {
	d := r.displaced
	if d == nil {
		return nil
	}
	if _, err := r.do(sysDup3, d.kept, d.number, d.flags); err != nil {
		return err
	}
	r.displaced = nil
	return nil
}
