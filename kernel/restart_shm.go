package kernel

import (
	"errors"
	"fmt"
	"path"
	"strconv"

	"golang.org/x/sys/unix"

	"cr/image"
)

// stagedShm is a memfd, or a file without a name, in the processes that are
// being made.
type stagedShm struct {
	rec *image.Shm
	fd  int // in the root process, open for reading and writing
}

// hasFile reports whether shared memory is restored as an open file.
func hasFile(s *image.Shm) bool { return s.MemFD || s.Path != "" }

// stageShmFiles makes the open files of all shared memory that has one.
func (rs *restarter) stageShmFiles() error {
	for _, rec := range rs.img.Shms {
		if !hasFile(rec) {
			continue
		}
		create := rs.makeFile
		if rec.MemFD {
			create = rs.makeMemFD
		}
		fd, err := create(rec)
		if err != nil {
			return err
		}
		rs.shmFiles[rec.ID] = &stagedShm{rec, fd}
		own, err := rs.own(fd)
		if err != nil {
			return err
		}
		_, err = rs.options.as.do(func() (int, error) { return 0, ftruncate(own, int64(rec.Size)) })
		unix.Close(own)
		if err == nil {
			err = rs.stageHugeShm(rs.shmFiles[rec.ID])
		}
		if err != nil {
			return fmt.Errorf("%d bytes for %s%s: %w", rec.Size, rec.Name, rec.Path, err)
		}
	}
	return nil
}

func (rs *restarter) makeMemFD(rec *image.Shm) (int, error) {
	flags := unix.MFD_CLOEXEC
	if rec.Seals != unix.F_SEAL_SEAL {
		flags |= unix.MFD_ALLOW_SEALING
	}
	if rec.HugePage != 0 {
		flags |= unix.MFD_HUGETLB | int(hugeFlags(rec.HugePage))
	}
	fd, err := rs.root.do(sysMemfdCreate, append([]byte(rec.Name), 0), flags)
	if err != nil && rec.HugePage != 0 {
		err = noHuge(err, rec.HugePage)
	}
	if err != nil {
		return 0, err
	}
	if mode := rec.Mode & 0o7777; mode != 0o777 && rec.Mode != 0 {
		if _, err := rs.root.do(sysFchmod, fd, mode); err != nil {
			return 0, err
		}
	}
	return int(fd), nil
}

// makeFile makes a file without a name: in the directory where it had one, or
// one above if that is gone.
func (rs *restarter) makeFile(rec *image.Shm) (int, error) {
	r := rs.root
	for dir := path.Dir(rec.Path); ; dir = path.Dir(dir) {
		const mode = 0o600 // for the time being
		fd, err := r.openPathMode(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, mode)
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
			fd, err = rs.makeUnlinked(dir)
		}
		if errors.Is(err, unix.ENOENT) && dir != "/" {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("a file in place of one that was deleted, %s: %w", rec.Path, err)
		}
		return fd, nil
	}
}

// makeUnlinked makes a file and removes its name, where the file system cannot
// make one without.
func (rs *restarter) makeUnlinked(dir string) (int, error) {
	id, err := newIdentifier()
	if err != nil {
		return 0, err
	}
	name := path.Join(dir, ".cr-"+strconv.FormatUint(id, 16))
	fd, made := 0, true
	err = rs.forNow(func() (err error) {
		fd, err = rs.root.openPathMode(name, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		made = err == nil
		return err
	}, nil, func() error {
		if !made {
			return nil
		}
		_, err := rs.root.do(sysUnlinkat, atFdcwd, append([]byte(name), 0), 0)
		return err
	})
	return fd, err
}

// reopenShm opens the file of shared memory once more, as an open file of its
// own.
func (rs *restarter) reopenShm(f *image.File, id uint32) (int, error) {
	return rs.root.openPath(fmt.Sprintf("/proc/self/fd/%d", rs.shmFiles[id].fd), rs.reopenFlags(f))
}

func (rs *restarter) stageMemFD(f *image.File) error {
	fd, err := rs.reopenShm(f, f.Object)
	if err != nil {
		return err
	}
	return rs.stagedAt(f, fd)
}

// mapShmFile maps a part of shared memory that has a file. If the memory will be
// sealed against writing, the mapping must not be one that could write.
func (rs *restarter) mapShmFile(r *reborn, s *stagedVMA, m *stagedShm) error {
	t := r.leader()
	fd := m.fd
	if m.rec.Seals&unix.F_SEAL_WRITE != 0 {
		var err error
		if fd, err = r.openPath(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_CLOEXEC); err != nil {
			return err
		}
	}
	if _, err := t.mmap(s.at, s.End-s.Start, r.firstProt(s), unix.MAP_SHARED|mapFixedNoReplace, fd, s.Offset); err != nil {
		return err
	}
	s.mapped = true
	if fd != m.fd {
		if _, err := t.call(sysClose, uint64(fd)); err != nil {
			return err
		}
	}
	return r.advise(s)
}

// fillShm writes contents of shared memory.
func (rs *restarter) fillShm(id uint32, at uint64, data []byte) error {
	m := rs.shmFiles[id]
	if m == nil || m.rec.HugePage != 0 {
		return rs.fillAt(rs.root, rs.shms[id]+at, data)
	}
	// The last page may be longer than the file.
	if at >= m.rec.Size {
		return nil
	}
	if left := m.rec.Size - at; uint64(len(data)) > left {
		data = data[:left]
	}
	if rs.filling != m {
		if err := rs.endFilling(); err != nil {
			return err
		}
		own, err := rs.own(m.fd)
		if err != nil {
			return err
		}
		rs.filling, rs.fillingFD = m, own
	}
	for len(data) > 0 {
		n, err := rs.options.as.do(func() (int, error) { return pwrite(rs.fillingFD, data, int64(at)) })
		if err != nil {
			return fmt.Errorf("contents of %s%s: %w", m.rec.Name, m.rec.Path, err)
		}
		data, at = data[n:], at+uint64(n)
	}
	return nil
}

func (rs *restarter) endFilling() error {
	if rs.filling == nil {
		return nil
	}
	rs.filling = nil
	return unix.Close(rs.fillingFD)
}

// sealShms seals memfds and sets the modes of files, once the contents are
// there.
func (rs *restarter) sealShms() error {
	if err := rs.endFilling(); err != nil {
		return err
	}
	defer rs.closePidfd()
	for _, rec := range rs.img.Shms {
		m := rs.shmFiles[rec.ID]
		if m == nil {
			continue
		}
		if rec.Path != "" {
			if _, err := rs.root.do(sysFchmod, m.fd, rec.Mode&0o7777); err != nil {
				return err
			}
			continue
		}
		if rec.Seals == 0 || rec.Seals == unix.F_SEAL_SEAL {
			continue
		}
		own, err := rs.own(m.fd)
		if err != nil {
			return err
		}
		_, err = unix.FcntlInt(uintptr(own), unix.F_ADD_SEALS, int(rec.Seals))
		unix.Close(own)
		if err != nil {
			return fmt.Errorf("seals %#x of memfd %s: %w", rec.Seals, rec.Name, err)
		}
	}
	return nil
}
