package kernel

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"cr/image"
)

// saveInotify saves the watches of an inotify descriptor, by the paths of what
// they watch.
func saveInotify(s *saver, d *openDescriptor) error {
	rec := &image.Inotify{ID: s.newID()}
	d.file.Object = rec.ID
	s.img.Inotifies = append(s.img.Inotifies, rec)
	own, err := d.dup()
	if err != nil {
		return err
	}
	waiting, err := unix.IoctlGetInt(own, unix.TIOCINQ)
	if err != nil {
		return fmt.Errorf("inotify: %w", err)
	}
	if waiting > 0 {
		s.refuseFile(d, fmt.Sprintf("%d bytes of events wait to be read, and cannot be put back", waiting), "try again when they are read")
		return nil
	}
	for _, line := range d.info.rest {
		if !strings.HasPrefix(line, "inotify ") {
			continue
		}
		w, err := parseWatch(line)
		if err != nil {
			return err
		}
		if w.Path = s.watchedPath(d, w); w.Path == "" {
			s.refuseFile(d, fmt.Sprintf("the path of its watch %d is not known", w.WD), "checkpoint as root, or end the watch first")
			return nil
		}
		rec.Watches = append(rec.Watches, w.Watch)
	}
	sort.Slice(rec.Watches, func(i, j int) bool { return rec.Watches[i].WD < rec.Watches[j].WD })
	return nil
}

// watches reports whether the tree has an inotify descriptor. Then no file is
// read that need not be: it might be one that is watched, and the program would
// be told of it.
func (s *saver) watches() (bool, error) {
	for _, p := range s.tree.processes {
		if p.zombie {
			continue
		}
		fds, err := descriptors(p.pid)
		if err != nil {
			return false, err
		}
		for _, fd := range fds {
			link, err := os.Readlink(procPath(p.pid, "fd/"+strconv.Itoa(fd)))
			if err == nil && link == "anon_inode:inotify" {
				return true, nil
			}
		}
	}
	return false, nil
}

// watchLine is a watch as fdinfo shows it.
type watchLine struct {
	image.Watch
	inode  fileID
	handle unix.FileHandle
	known  bool // the handle is there
}

// parseWatch parses a line of an inotify descriptor's fdinfo: "inotify wd:1
// ino:2 sdev:800001 mask:fce ignored_mask:0 fhandle-bytes:8 fhandle-type:1
// f_handle:0200...".
func parseWatch(line string) (w watchLine, err error) {
	var size, kind uint64
	var handle []byte
	for _, f := range strings.Fields(line)[1:] {
		key, v, _ := strings.Cut(f, ":")
		if key == "f_handle" {
			handle, err = hex.DecodeString(v)
		} else {
			var n uint64
			n, err = strconv.ParseUint(v, 16, 64)
			switch key {
			case "wd":
				w.WD = uint32(n)
			case "ino":
				w.inode.ino = n
			case "sdev":
				w.inode.dev = kernelDev(n)
			case "mask":
				w.Mask = uint32(n)
			case "fhandle-bytes":
				size = n
			case "fhandle-type":
				kind = n
			}
		}
		if err != nil {
			return w, fmt.Errorf("fdinfo of inotify: %q: %w", f, err)
		}
	}
	const user = unix.IN_ALL_EVENTS | unix.IN_EXCL_UNLINK | unix.IN_ONESHOT
	w.Mask &= user
	if size > 0 && uint64(len(handle)) >= size {
		w.handle, w.known = unix.NewFileHandle(int32(kind), handle[:size]), true
	}
	return w, nil
}

// watchedPath finds the path of what a watch looks at: by its file handle,
// which takes CAP_DAC_READ_SEARCH, or among the places that the tree is known
// to use; "" if it is not found.
func (s *saver) watchedPath(d *openDescriptor, w watchLine) string {
	if w.known {
		for _, mount := range s.mountsOf(w.inode.dev) {
			dir, err := unix.Open(mount, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
			if err != nil {
				continue
			}
			fd, err := unix.OpenByHandleAt(dir, w.handle, unix.O_PATH|unix.O_CLOEXEC)
			unix.Close(dir)
			if err != nil {
				continue
			}
			path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
			unix.Close(fd)
			if err == nil && w.leads(path) {
				return path
			}
		}
	}
	candidates := []string{"/", "/etc", "/tmp", "/dev", "/run"}
	for _, name := range []string{"cwd", "exe"} {
		if path, err := os.Readlink(procPath(d.process.pid, name)); err == nil {
			candidates = append(candidates, path)
		}
	}
	for _, f := range s.img.Files {
		candidates = append(candidates, f.Path)
	}
	for _, c := range candidates {
		for ; strings.HasPrefix(c, "/"); c = c[:strings.LastIndexByte(c, '/')] {
			if w.leads(c) {
				return c
			}
		}
	}
	return ""
}

// leads reports whether a path leads to what is watched.
func (w *watchLine) leads(path string) bool {
	var st unix.Stat_t
	return strings.HasPrefix(path, "/") && unix.Lstat(path, &st) == nil && st.Ino == w.inode.ino && st.Dev == w.inode.dev
}

// mountsOf lists where a device is mounted.
func (s *saver) mountsOf(dev uint64) []string {
	if s.mounts == nil {
		s.mounts = make(map[uint64][]string)
		b, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			return nil
		}
		for _, line := range strings.Split(string(b), "\n") {
			f := strings.Fields(line)
			if len(f) < 5 {
				continue
			}
			major, minor, _ := strings.Cut(f[2], ":")
			a, _ := strconv.ParseUint(major, 10, 32)
			b, _ := strconv.ParseUint(minor, 10, 32)
			key := unix.Mkdev(uint32(a), uint32(b))
			s.mounts[key] = append(s.mounts[key], unescapeMount(f[4]))
		}
	}
	return s.mounts[dev]
}

// unescapeMount undoes the octal escapes of /proc/PID/mountinfo.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// inotifyIocSetNextWD is INOTIFY_IOC_SETNEXTWD, _IOW('I', 0, s32).
const inotifyIocSetNextWD = iocWrite | 4<<16 | 'I'<<8

func (rs *restarter) stageInotify(f *image.File) error {
	r := rs.root
	fd, err := r.do(sysInotifyInit1, rs.cloexec(f)|f.Flags&unix.O_NONBLOCK)
	if err != nil {
		return fmt.Errorf("inotify: %w", err)
	}
	rs.files[f.ID] = int(fd)
	own, err := rs.own(int(fd))
	if err != nil {
		return err
	}
	defer unix.Close(own)
	next := uint32(1)
	for _, w := range rs.img.Inotify(f.Object).Watches {
		if w.WD != next {
			_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(own), inotifyIocSetNextWD, uintptr(w.WD))
			if e != 0 {
				return fmt.Errorf("watch %d of inotify (the kernel needs CONFIG_CHECKPOINT_RESTORE): %w", w.WD, e)
			}
		}
		wd, err := r.do(sysInotifyAddWatch, fd, append([]byte(w.Path), 0), w.Mask)
		if errors.Is(err, unix.ENOENT) {
			return &RefusedError{PID: r.pid, Kind: "inotify", Object: w.Path, Reason: "what it watched has gone",
				Hint: "make it again", Errno: unix.ENOENT}
		}
		if err != nil {
			return fmt.Errorf("watch %s: %w", w.Path, err)
		}
		if uint32(wd) != w.WD {
			return fmt.Errorf("watch %s has become number %d, not %d: %w", w.Path, wd, w.WD, unix.EBUSY)
		}
		next = w.WD + 1
	}
	return nil
}
