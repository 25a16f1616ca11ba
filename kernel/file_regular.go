package kernel

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"cr/image"
)

func isRegular(d *openDescriptor) bool {
	return d.st.Mode&unix.S_IFMT == unix.S_IFREG && !strings.HasPrefix(d.file.Path, "anon_inode:") &&
		strings.HasPrefix(d.file.Path, "/")
}

func isDirectory(d *openDescriptor) bool { return d.st.Mode&unix.S_IFMT == unix.S_IFDIR }

// memoryDevices are the minor numbers of the devices of major 1 that are the
// same whoever opens them: null, zero, full, random, urandom, kmsg.
var memoryDevices = map[uint32]bool{3: true, 5: true, 7: true, 8: true, 9: true, 11: true}

func isMemoryDevice(d *openDescriptor) bool {
	return d.st.Mode&unix.S_IFMT == unix.S_IFCHR && unix.Major(d.st.Rdev) == 1 && memoryDevices[unix.Minor(d.st.Rdev)]
}

// saveRegular saves a regular file: by its path, or with its contents if that
// is gone.
func saveRegular(s *saver, d *openDescriptor) error {
	f := d.file
	if s.imageFile == d.inode() {
		f.Mtime = 0
	}
	if d.st.Blocks == 0 {
		kind, err := virtualFS(d)
		if err != nil {
			return err
		}
		if kind == procSuperMagic && ofProcess(f.Path) {
			s.refuseFile(d, "a file of /proc that belongs to a process", "close it first")
			return nil
		}
		if kind != 0 {
			f.Mtime = 0
		}
	}
	named, err := isNamed(d)
	if err != nil || named {
		return err
	}
	if d.st.Nlink == 0 {
		return s.deletedFile(d)
	}
	s.refuseFile(d, "its path leads to another file, or to none, though it has not been deleted",
		"let the path lead to it again")
	return nil
}

// isNamed reports whether the path of an open file still leads to it.
func isNamed(d *openDescriptor) (bool, error) {
	var there unix.Stat_t
	err := unix.Lstat(d.file.Path, &there)
	return err == nil && there.Ino == d.st.Ino && there.Dev == d.st.Dev, nil
}

// saveNamed saves a file that can be opened by its path only.
func saveNamed(s *saver, d *openDescriptor) error {
	named, err := isNamed(d)
	if err == nil && !named {
		s.refuseFile(d, "its path leads to another file, or to none", "let the path lead to it again, or close it first")
	}
	return err
}

// File systems whose files change by themselves (include/uapi/linux/magic.h).
const (
	procSuperMagic    = 0x9fa0
	sysfsMagic        = 0x62656572
	cgroupMagic       = 0x27e0eb
	cgroup2Magic      = 0x63677270
	debugfsMagic      = 0x64626720
	tracefsMagic      = 0x74726163
	securityfsMagic   = 0x73636673
	hugetlbfsMagic    = 0x958458f6
	mqueueMagic       = 0x19800202
	configfsMagic     = 0x62656570
	efivarfsMagic     = 0xde5e81e4
	binfmtMagic       = 0x42494e4d
	fusectlSuperMagic = 0x65735543
)

// virtualFS gives the type of the file system of a file if it is one whose
// files change by themselves, 0 if not.
func virtualFS(d *openDescriptor) (uint32, error) {
	kind, err := fsType(d.link)
	switch kind {
	case procSuperMagic, sysfsMagic, cgroupMagic, cgroup2Magic, debugfsMagic, tracefsMagic, securityfsMagic,
		configfsMagic, efivarfsMagic, binfmtMagic, fusectlSuperMagic:
		return kind, err
	}
	return 0, err
}

func fsType(path string) (uint32, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return uint32(fs.Type), nil
}

// ofProcess reports whether a path in /proc is below the directory of a
// process.
func ofProcess(path string) bool {
	rest := strings.TrimPrefix(path, "/proc/")
	return rest != path && rest != "" && rest[0] >= '0' && rest[0] <= '9'
}

// stageRegular opens a regular file, or one that stands for it.
func (rs *restarter) stageRegular(f *image.File) error {
	if !f.Gone {
		return rs.stageNamed(f)
	}
	fd, err := rs.reopenShm(f, f.Object)
	if err != nil {
		return err
	}
	return rs.stagedAt(f, fd)
}

// stageNamed opens a file by its path.
func (rs *restarter) stageNamed(f *image.File) error {
	if err := rs.checkKind(f); err != nil {
		return err
	}
	fd, err := rs.root.openPath(f.Path, rs.openFlags(f))
	if err != nil {
		return err
	}
	rs.files[f.ID] = fd
	if err := rs.checkIdentity(rs.root, fd, f, false); err != nil {
		return err
	}
	return rs.stagedAt(f, fd)
}

// stagedAt notes the descriptor of a staged file, and sets its offset.
func (rs *restarter) stagedAt(f *image.File, fd int) error {
	rs.files[f.ID] = fd
	if f.Pos == 0 || f.Kind != image.Regular && f.Kind != image.Directory && f.Kind != image.MemFD {
		return nil
	}
	if err := rs.root.seek(fd, f.Pos); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	return nil
}

// checkKind makes sure that a path leads to a file of the kind that it had:
// to open a FIFO can take for ever, and some devices do not like to be opened.
// What was really opened is checked again.
func (rs *restarter) checkKind(f *image.File) error {
	kind, rdev, err := rs.root.kindOf(f.Path, 0)
	if err != nil {
		return nil // to open it says why
	}
	if kind != f.Mode&unix.S_IFMT || kind == unix.S_IFCHR && rdev != f.Rdev {
		return rs.changed(f, "it has become a file of another kind")
	}
	return nil
}

// openFlags are the flags with which an open file is opened again.
func (rs *restarter) openFlags(f *image.File) uint32 {
	once := uint32(unix.O_CREAT | unix.O_EXCL | unix.O_TRUNC | unix.O_NOCTTY | unix.O_ASYNC | oTmpfileBit)
	if f.Kind == image.Regular {
		once |= unix.O_DIRECTORY // the other part of O_TMPFILE
	}
	return f.Flags&^once | unix.O_NOCTTY | rs.cloexec(f)
}

// reopenFlags are those with which a file is opened again that is open already.
func (rs *restarter) reopenFlags(f *image.File) uint32 {
	return rs.openFlags(f) &^ (unix.O_NOFOLLOW | unix.O_DIRECTORY)
}

// oTmpfileBit is __O_TMPFILE, the part of O_TMPFILE that is not O_DIRECTORY; the
// same on all of our machines.
const oTmpfileBit = 0o20000000

// O_PATH descriptors.

func isPathOnly(d *openDescriptor) bool { return d.info.flags&unix.O_PATH != 0 }

func savePathOnly(s *saver, d *openDescriptor) error {
	if ofProcess(d.file.Path) {
		if kind, err := fsType(d.link); err != nil || kind == procSuperMagic {
			s.refuseFile(d, "a file of /proc that belongs to a process", "close it first")
			return err
		}
	}
	return saveNamed(s, d)
}

func (rs *restarter) stagePathOnly(f *image.File) error {
	flags := uint32(unix.O_PATH) | rs.cloexec(f)
	if f.Mode&unix.S_IFMT == unix.S_IFLNK {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := rs.root.openPath(f.Path, flags)
	if err != nil {
		return err
	}
	rs.files[f.ID] = fd
	return rs.checkIdentity(rs.root, fd, f, false)
}
