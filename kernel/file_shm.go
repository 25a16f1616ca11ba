package kernel

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"cr/image"
)

// savedShm is memory that processes share, or the contents of a file whose name
// is gone, to be saved. It is read through an open file where there is one, and
// otherwise through the mappings of it.
type savedShm struct {
	rec    *image.Shm
	pid    int             // whose
	fd     int             // descriptor leads to it, open for reading; -1 if none does
	writer *openDescriptor // one that is open for writing only; nil if none is
	file   string          // of a mapping, in /proc; "" if it may not be opened
	maps   []shmMap
	runs   []image.Run // offsets
}

// shmMap is a mapping of a part of it.
type shmMap struct {
	process            *process
	start, end, offset uint64
}

// shmOf gives the record of what has an inode, a new one if it has none yet.
func (s *saver) shmOf(id fileID) (m *savedShm, fresh bool) {
	if m := s.shms[id]; m != nil {
		return m, false
	}
	if s.shms == nil {
		s.shms = make(map[fileID]*savedShm)
	}
	m = &savedShm{rec: &image.Shm{ID: s.newID()}, fd: -1}
	s.shms[id] = m
	s.shmList = append(s.shmList, m)
	s.img.Shms = append(s.img.Shms, m.rec)
	return m, true
}

// isMemFD reports whether an open file is a memfd.
func isMemFD(d *openDescriptor) bool {
	return d.st.Mode&unix.S_IFMT == unix.S_IFREG && strings.HasPrefix(d.file.Path, memfdPrefix) && d.st.Nlink == 0
}

const memfdPrefix = "/memfd:"

// fSealFutureWrite is F_SEAL_FUTURE_WRITE.
const fSealFutureWrite = 0x10

// isMemFDName reports whether a mapping has the name of a memfd.
func isMemFDName(name string) bool { return strings.HasPrefix(name, memfdPrefix) }

func saveMemFD(s *saver, d *openDescriptor) error {
	own, err := d.dup()
	if err != nil {
		return err
	}
	kind, err := fsType(d.link)
	if err != nil {
		return err
	}
	seals, err := unix.FcntlInt(uintptr(own), unix.F_GET_SEALS, 0)
	if err != nil {
		return fmt.Errorf("seals of a memfd: %w", err)
	}
	m, _ := s.shmOf(d.inode())
	m.setFile(d)
	m.rec.MemFD = true
	m.rec.Name = memfdName(d.file.Path)
	m.rec.Seals = uint32(seals)
	d.file.Object = m.rec.ID
	if kind == hugetlbfsMagic {
		var fs unix.Statfs_t
		if err := unix.Fstatfs(own, &fs); err != nil {
			return err
		}
		m.rec.HugePage = uint64(fs.Bsize)
		if seals&(unix.F_SEAL_WRITE|fSealFutureWrite) != 0 {
			s.refuseFile(d, "a memfd of huge pages that is sealed against writing", "run the program without the seal")
		}
	}
	return nil
}

func memfdName(path string) string {
	return strings.TrimSuffix(strings.TrimPrefix(path, memfdPrefix), " (deleted)")
}

// setFile notes an open file that leads to the contents.
func (m *savedShm) setFile(d *openDescriptor) {
	m.rec.Size, m.rec.Mode = uint64(d.st.Size), d.st.Mode
	switch {
	case d.access() == unix.O_WRONLY:
		m.writer = d
	case m.fd < 0:
		m.pid, m.fd = d.pid, d.number
	}
}

// deletedFile saves the contents of a file that has no name any more.
func (s *saver) deletedFile(d *openDescriptor) error {
	if kind, err := virtualFS(d); err != nil || kind != 0 {
		s.refuseFile(d, "a file of the kernel that has gone", "close it first")
		return err
	}
	m, _ := s.shmOf(d.inode())
	m.setFile(d)
	m.rec.Path = strings.TrimSuffix(d.file.Path, " (deleted)")
	d.file.Path, d.file.Gone, d.file.Object = m.rec.Path, true, m.rec.ID
	return nil
}

// mapAnyShared gives a mapping of what has no file its record.
func (s *saver) mapAnyShared(p *process, a *area, v *image.VMA) error {
	if isSegment(a) {
		return s.mapSegment(p, a, v)
	}
	s.mapShared(p, a, v)
	return nil
}

// mapShared gives a shared mapping of memory without a name its record.
func (s *saver) mapShared(p *process, a *area, v *image.VMA) {
	m, fresh := s.shmOf(fileID{uint64(unix.Mkdev(a.major, a.minor)), a.inode})
	v.File = m.rec.ID
	m.maps = append(m.maps, shmMap{p, v.Start, v.End, v.Offset})
	if fresh || m.rec.Mode == 0 {
		// Only those with CAP_CHECKPOINT_RESTORE can open what is mapped.
		link := procPath(p.pid, fmt.Sprintf("map_files/%x-%x", a.start, a.end))
		var st unix.Stat_t
		if err := unix.Stat(link, &st); err == nil {
			m.rec.Size, m.rec.Mode, m.file = uint64(st.Size), st.Mode, link
		}
		switch {
		case strings.HasPrefix(a.name, memfdPrefix):
			m.rec.MemFD, m.rec.Name = true, memfdName(a.name)
			s.mappedSeals(m)
		case a.name == anonHuge:
			// It comes back as a memfd, which can be mapped in several places.
			m.rec.MemFD, m.rec.Name = true, "anon_hugepage"
		case !isAnonShared(a.name) && !isSegment(a) && m.rec.Mode != 0:
			m.rec.Path = strings.TrimSuffix(a.name, " (deleted)")
		}
	}
	if a.isHuge() {
		m.rec.HugePage = a.pageSize
	}
	if end := v.Offset + v.End - v.Start; m.rec.Mode == 0 && !m.rec.Segment.Is && end > m.rec.Size {
		m.rec.Size = end
	}
}

// anonShared is the name that maps gives to shared anonymous memory.
const anonShared = "/dev/zero (deleted)"

// isAnonShared reports whether a name is that of shared anonymous memory, which
// can have been given one (PR_SET_VMA_ANON_NAME).
func isAnonShared(name string) bool {
	return name == anonShared || strings.HasPrefix(name, "[anon_shmem:")
}

// mappedSeals notes the seals of a memfd that is mapped, and perhaps nowhere
// open.
func (s *saver) mappedSeals(m *savedShm) {
	if m.file == "" {
		return
	}
	fd, err := unix.Open(m.file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0); err == nil {
		m.rec.Seals = uint32(seals)
	}
}

// open opens the contents for reading; -1 without error if only the mappings
// lead to them. Unless alone, the open file is the target's, whose offset is not
// to be touched.
//
// Whoever has it open for reading, or mapped, which takes the same, may read all
// of it. Whoever has it open for writing only may not, so that the authority of
// whoever asked for the checkpoint counts.
func (m *savedShm) open(as *authority) (fd int, alone bool, err error) {
	if m.fd >= 0 {
		if fd, err = openToRead(procPath(m.pid, "fd/"+strconv.Itoa(m.fd))); err == nil {
			return fd, true, nil
		}
		pidfd, err := openTask(m.pid)
		if err != nil {
			return -1, false, err
		}
		defer unix.Close(pidfd)
		fd, err = pidfdGetfd(pidfd, m.fd)
		return fd, false, err
	}
	if m.file != "" {
		if fd, err = openToRead(m.file); err == nil {
			return fd, true, nil
		}
	}
	if m.writer == nil {
		return -1, false, nil
	}
	fd, err = as.do(func() (int, error) { return openToRead(m.writer.link) })
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		err = &RefusedError{PID: m.writer.process.pid, Kind: "descriptor", Object: fmt.Sprintf("%d %s", m.writer.number, m.writer.file.Path),
			Reason: "a deleted file that is open for writing only, and may not be read",
			Hint:   "close it first, or open it for reading too", Errno: unix.EACCES}
	}
	return fd, true, err
}

// openToRead opens a file without a trace where that may be had.
func openToRead(file string) (int, error) {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_NOATIME|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EPERM) {
		fd, err = unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	}
	return fd, err
}

// Whences of lseek(2) that golang.org/x/sys lacks on some machines.
const (
	seekData = 3
	seekHole = 4
)

// findShms lists what is to be saved of shared memory: what is no hole.
func (s *saver) findShms() error {
	for _, m := range s.shmList {
		fd, alone, err := m.open(s.options.as)
		var refused *RefusedError
		if errors.As(err, &refused) {
			s.refused = append(s.refused, refused)
			continue
		}
		if err != nil {
			return fmt.Errorf("contents of %s: %w", m.what(), err)
		}
		switch {
		case fd < 0:
			m.findMapped()
		case alone:
			err = m.findData(fd)
		default:
			m.addRun(0, m.rec.Size)
		}
		if fd >= 0 {
			unix.Close(fd)
		}
		if err != nil {
			return fmt.Errorf("contents of %s: %w", m.what(), err)
		}
	}
	return nil
}

func (m *savedShm) what() string {
	switch {
	case m.rec.MemFD:
		return memfdPrefix + m.rec.Name
	case m.rec.Path != "":
		return m.rec.Path + " (deleted)"
	}
	return "shared memory"
}

// findData lists the runs of a file that are no holes.
func (m *savedShm) findData(fd int) error {
	for at := int64(0); at < int64(m.rec.Size); {
		start, err := unix.Seek(fd, at, seekData)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if errors.Is(err, unix.EINVAL) {
			start, err = at, nil // a file system without holes
		}
		if err != nil {
			return err
		}
		end, err := unix.Seek(fd, start, seekHole)
		if err != nil {
			end = int64(m.rec.Size)
		}
		m.addRun(uint64(start), uint64(end))
		at = end
	}
	return nil
}

// findMapped lists what is mapped of the memory, by whomever.
func (m *savedShm) findMapped() {
	var all spans
	for _, v := range m.maps {
		all = all.add(span{v.offset, v.offset + v.end - v.start})
	}
	for _, a := range all {
		m.addRun(a.start, a.end)
	}
}

// addRun adds a range, widened to whole pages, behind all others.
func (m *savedShm) addRun(start, end uint64) {
	page := uint64(os.Getpagesize())
	start, end = start&^(page-1), (end+page-1)&^(page-1)
	if n := len(m.runs); n > 0 {
		last := &m.runs[n-1]
		if before := last.Addr + last.Len; start <= before {
			if end > before {
				last.Len = end - last.Addr
			}
			return
		}
	}
	if start < end {
		m.runs = append(m.runs, image.Run{Addr: start, Len: end - start})
	}
}

// shmBytes is how much of shared memory is to be saved, at most.
func (s *saver) shmBytes() (n uint64) {
	for _, m := range s.shmList {
		for _, r := range m.runs {
			n += r.Len
		}
	}
	return n
}

// shmPages writes the contents of shared memory. Pages of zeros are left out:
// to read memory that was never touched makes such.
func (s *saver) shmPages(buf []byte, write func(owner uint32, runs []image.Run, data []byte) error) error {
	for _, m := range s.shmList {
		fd, _, err := m.open(s.options.as)
		if err != nil {
			return fmt.Errorf("contents of %s: %w", m.what(), err)
		}
		err = m.pages(fd, buf, write)
		if fd >= 0 {
			unix.Close(fd)
		}
		if err != nil {
			return fmt.Errorf("contents of %s: %w", m.what(), err)
		}
	}
	return nil
}

func (m *savedShm) pages(fd int, buf []byte, write func(owner uint32, runs []image.Run, data []byte) error) error {
	for _, r := range m.runs {
		for r.Len > 0 {
			n := r.Len
			if n > uint64(len(buf)) {
				n = uint64(len(buf))
			}
			data := buf[:n]
			var err error
			if fd >= 0 {
				err = readSparse(fd, data, int64(r.Addr))
			} else {
				err = m.readMapped(data, r.Addr)
			}
			if err != nil {
				return err
			}
			if runs, data := withoutZeros(r.Addr, data); len(runs) > 0 {
				if err := write(m.rec.ID, runs, data); err != nil {
					return err
				}
			}
			r.Addr += n
			r.Len -= n
		}
	}
	return nil
}

// readSparse reads at an offset; what lies behind the end of the file is zero.
func readSparse(fd int, b []byte, at int64) error {
	for len(b) > 0 {
		n, err := pread(fd, b, at)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			for i := range b {
				b[i] = 0
			}
			return nil
		}
		b, at = b[n:], at+int64(n)
	}
	return nil
}

// readMapped reads at an offset through whatever mappings there are.
func (m *savedShm) readMapped(b []byte, at uint64) error {
	for len(b) > 0 {
		n := uint64(0)
		for _, v := range m.maps {
			if at < v.offset || at >= v.offset+v.end-v.start {
				continue
			}
			if n = v.offset + v.end - v.start - at; n > uint64(len(b)) {
				n = uint64(len(b))
			}
			addr := v.start + at - v.offset
			if err := v.process.readRuns([]image.Run{{Addr: addr, Len: n}}, b[:n]); err != nil {
				return err
			}
			break
		}
		if n == 0 {
			return fmt.Errorf("nothing is mapped at offset %#x", at)
		}
		b, at = b[n:], at+n
	}
	return nil
}

// withoutZeros gives the runs of a range that hold something, and moves their
// contents together.
func withoutZeros(addr uint64, data []byte) ([]image.Run, []byte) {
	page := os.Getpagesize()
	var runs []image.Run
	kept := 0
	for at := 0; at < len(data); at += page {
		p := data[at : at+page]
		if isZero(p) {
			continue
		}
		start := addr + uint64(at)
		if n := len(runs); n > 0 && runs[n-1].Addr+runs[n-1].Len == start {
			runs[n-1].Len += uint64(page)
		} else {
			runs = append(runs, image.Run{Addr: start, Len: uint64(page)})
		}
		kept += copy(data[kept:], p)
	}
	return runs, data[:kept]
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// withoutName reports whether a shared mapping is of memory that has no name:
// anonymous, a memfd, or a file that is deleted.
func (s *saver) withoutName(p *process, a *area) bool {
	if isAnonShared(a.name) || strings.HasPrefix(a.name, memfdPrefix) {
		return true
	}
	if !strings.HasSuffix(a.name, " (deleted)") || !strings.HasPrefix(a.name, "/") {
		return false
	}
	var st unix.Stat_t
	if unix.Stat(a.name, &st) == nil && st.Ino == a.inode {
		return false // it is called so
	}
	err := unix.Stat(procPath(p.pid, fmt.Sprintf("map_files/%x-%x", a.start, a.end)), &st)
	return err != nil || st.Nlink == 0
}
