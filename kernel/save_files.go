package kernel

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"

	"golang.org/x/sys/unix"

	"cr/image"
)

// fdinfo is what /proc/PID/fdinfo/FD says of an open file
// (Documentation/filesystems/proc.rst). What a kind of file adds of its own is
// in rest, a line each.
type fdinfo struct {
	pos   int64
	flags uint32
	locks []string
	rest  []string
}

// value gives what stands behind a key.
func (i *fdinfo) value(key string) (string, bool) {
	for _, line := range i.rest {
		if k, v := cutKey(line); k == key {
			return v, true
		}
	}
	return "", false
}

// cutKey cuts a line at its first colon.
func cutKey(line string) (key, value string) {
	for i := 0; i < len(line); i++ {
		if line[i] == ':' {
			v := line[i+1:]
			for len(v) > 0 && (v[0] == ' ' || v[0] == '\t') {
				v = v[1:]
			}
			return line[:i], v
		}
	}
	return line, ""
}

func readFdinfo(pid, fd int) (*fdinfo, error) {
	path := procPath(pid, "fdinfo/"+strconv.Itoa(fd))
	b, err := readWhole(path)
	if err != nil {
		return nil, err
	}
	i := new(fdinfo)
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			end = len(b) - 1
		}
		line := string(b[:end])
		b = b[end+1:]
		key, v := cutKey(line)
		switch key {
		case "pos":
			i.pos, err = strconv.ParseInt(v, 10, 64)
		case "flags":
			var n uint64
			n, err = strconv.ParseUint(v, 8, 32)
			i.flags = uint32(n)
		case "mnt_id", "ino":
		case "lock":
			i.locks = append(i.locks, v)
		default:
			i.rest = append(i.rest, line)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return i, nil
}

// readWhole reads a file of /proc in as few calls as it takes: there is one
// for every descriptor.
func readWhole(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var b []byte
	buf := make([]byte, 1024)
	for {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "read", Path: path, Err: err}
		}
		b = append(b, buf[:n]...)
		if n == 0 {
			return b, nil
		}
		if n == len(buf) && len(buf) < 64<<10 {
			buf = make([]byte, 64<<10)
		}
	}
}

// openDescriptor is a descriptor whose open file is being saved.
type openDescriptor struct {
	process *process // whom it is told of
	pid     int      // whose descriptor it is: the process's, a thread's, or this program's
	pidfd   int      // of pid; -1 for this program
	number  int
	info    *fdinfo
	link    string // /proc/PID/fd/NUMBER
	st      unix.Stat_t
	file    *image.File
	own     int // this program's descriptor of the same open file; -1
}

// dup gives a descriptor of this program that refers to the same open file.
func (d *openDescriptor) dup() (int, error) {
	if d.own >= 0 {
		return d.own, nil
	}
	if d.pidfd < 0 {
		return d.number, nil
	}
	own, err := pidfdGetfd(d.pidfd, d.number)
	if err != nil {
		return -1, err
	}
	d.own = own
	return own, nil
}

func (d *openDescriptor) close() {
	if d.own >= 0 {
		unix.Close(d.own)
	}
}

// access is the access mode of the open file: unix.O_RDONLY, O_WRONLY, O_RDWR.
func (d *openDescriptor) access() uint32 { return d.info.flags & unix.O_ACCMODE }

// refuse notes that an open file cannot be saved.
func (s *saver) refuseFile(d *openDescriptor, reason, hint string) {
	s.refuse(d.process, "descriptor", strconv.Itoa(d.number)+" "+d.file.Path, reason, hint)
}

func pidfdGetfd(pidfd, fd int) (int, error) {
	dup, err := unix.PidfdGetfd(pidfd, fd, 0)
	if err != nil {
		return -1, fmt.Errorf("pidfd_getfd: %w", err)
	}
	return dup, nil
}

// descriptors saves the table of descriptors of a process and the open files
// that they refer to.
func (s *saver) descriptors(p *process, r *image.Process) error {
	if p.filesOf != nil {
		r.Files = s.img.Process(last(p.filesOf.status.nstgid)).Files
		for _, fd := range s.img.Table(r.Files).FDs {
			s.numbers[openNumber{p.pid, int(fd.Number)}] = fd.File
		}
		return nil
	}
	var err error
	r.Files, err = s.table(p, p.pid)
	return err
}

// table saves the table of descriptors of a task of a process.
func (s *saver) table(p *process, tid int) (uint32, error) {
	table := &image.Files{ID: s.newID()}
	s.img.Tables = append(s.img.Tables, table)
	fds, err := descriptors(tid)
	if err != nil {
		return 0, err
	}
	pidfd, err := openTask(tid)
	if err != nil {
		return 0, err
	}
	defer unix.Close(pidfd)
	if s.numbers == nil {
		s.numbers = make(map[openNumber]uint32)
	}
	locks := newPosixLocks(table)
	for _, fd := range fds {
		d := &openDescriptor{process: p, pid: tid, pidfd: pidfd, number: fd, own: -1}
		id, err := s.descriptor(d)
		d.close()
		if err != nil {
			return 0, fmt.Errorf("pid %d: descriptor %d: %w", tid, fd, err)
		}
		s.numbers[openNumber{tid, fd}] = id
		table.FDs = append(table.FDs, image.FD{Number: uint32(fd), File: id, CloExec: d.info.flags&unix.O_CLOEXEC != 0})
		if len(d.info.locks) > 0 {
			locks.add(d)
		}
	}
	return table.ID, nil
}

// descriptor gives the record of the open file that a descriptor refers to.
func (s *saver) descriptor(d *openDescriptor) (uint32, error) {
	var err error
	if d.info, err = readFdinfo(d.pid, d.number); err != nil {
		return 0, err
	}
	d.link = procPath(d.pid, "fd/"+strconv.Itoa(d.number))
	if err := unix.Stat(d.link, &d.st); err != nil {
		return 0, fmt.Errorf("%s: %w", d.link, err)
	}
	id, at, err := s.known(d)
	if err != nil || id != 0 {
		return id, err
	}
	f := &image.File{ID: s.newID(), Pos: d.info.pos, Flags: d.info.flags &^ unix.O_CLOEXEC}
	d.file = f
	s.remember(d, at)
	s.img.Files = append(s.img.Files, f)
	if f.Path, err = os.Readlink(d.link); err != nil {
		return 0, err
	}
	identify(f, &d.st)
	for i := range fileKinds {
		k := &fileKinds[i]
		if !k.is(d) {
			continue
		}
		f.Kind = k.kind
		if err := k.save(s, d); err != nil {
			return 0, err
		}
		return f.ID, s.fileSettings(d)
	}
	s.refuseFile(d, "an open file of an unknown kind", "close it first")
	return f.ID, nil
}

// fileSettings saves what an open file of any kind can have: an owner of its
// signals, and locks.
func (s *saver) fileSettings(d *openDescriptor) error {
	f := d.file
	if d.info.flags&unix.O_PATH != 0 {
		return nil
	}
	s.fileLocks(d)
	if (f.Kind == image.Regular || f.Kind == image.Directory) && d.info.flags&unix.O_ASYNC == 0 && len(f.Locks) == 0 {
		return nil // nothing raises a signal for it
	}
	own, err := d.dup()
	if err != nil {
		return err
	}
	return s.fileOwner(d, own)
}

// An open file of the tree is known by a descriptor that refers to it.
// Two descriptors refer to the same one if kcmp(2) says so, which gives an
// order too. Only files of the same inode need be compared.
type openFile struct {
	pid, fd int
	id      uint32
}

// openNumber is a descriptor of a process.
type openNumber struct{ pid, fd int }

// fileID is the inode of an open file.
type fileID struct{ dev, ino uint64 }

func (d *openDescriptor) inode() fileID { return fileID{d.st.Dev, d.st.Ino} }

// known gives the record of the open file of a descriptor; 0 if it is new, and
// then where it belongs in the list of its inode.
func (s *saver) known(d *openDescriptor) (id uint32, at int, err error) {
	list := s.open[d.inode()]
	if len(list) == 0 {
		return 0, 0, nil
	}
	at, same, err := findOpen(list, d.pid, d.number)
	if err != nil || !same {
		return 0, at, err
	}
	return list[at].id, at, nil
}

// remember adds the open file of a descriptor to those that are known.
func (s *saver) remember(d *openDescriptor, at int) {
	if s.open == nil {
		s.open = make(map[fileID][]openFile)
	}
	list := append(s.open[d.inode()], openFile{})
	copy(list[at+1:], list[at:])
	list[at] = openFile{d.pid, d.number, d.file.ID}
	s.open[d.inode()] = list
}

// findOpen looks for the open file that a descriptor refers to in a list. It
// returns where it is, or where it belongs.
func findOpen(list []openFile, pid, fd int) (at int, same bool, err error) {
	at = sort.Search(len(list), func(i int) bool {
		o := list[i]
		c, e := kcmp(pid, o.pid, kcmpOpenFile, uintptr(fd), uintptr(o.fd))
		if e != nil {
			err = e
		}
		if c == 0 {
			same = true
		}
		return c <= 1
	})
	return at, same, err
}

// finishFiles saves what can be told only when all open files are known.
func (s *saver) finishFiles() error {
	for _, step := range []func() error{s.finishSockets, s.finishPtys, s.finishEpolls, s.findShms} {
		if err := step(); err != nil {
			return err
		}
	}
	s.ends()
	s.passedOutside()
	return nil
}

// noteImage notes which file the image is written to: it changes meanwhile.
func (s *saver) noteImage(w io.Writer) {
	fd := -1
	switch w := w.(type) {
	case *os.File:
		fd = int(w.Fd())
	case *callerFile:
		fd = w.fd
	}
	var st unix.Stat_t
	if fd >= 0 && unix.Fstat(fd, &st) == nil {
		s.imageFile = fileID{st.Dev, st.Ino}
	}
}

// closeFiles closes what saving open files has opened.
func (s *saver) closeFiles() {
	for _, fd := range s.kept {
		unix.Close(fd)
	}
}
