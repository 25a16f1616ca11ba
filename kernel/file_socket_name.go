package kernel

import (
	"errors"
	"fmt"
	"path"
	"strconv"

	"golang.org/x/sys/unix"

	"cr/image"
)

// A boundName is the name of a UNIX socket in the file system.
type boundName struct {
	rec      *image.Socket
	made     bool   // the socket has made the file
	entry    int    // of the undo list, which removes it
	dev, ino uint64 // of that file
	aside    string // where the file lies that a socket had left there before; "" if there was none
}

// fromRoot is a name that begins where that of a socket does, from the root
// directory on.
func fromRoot(rec *image.Socket, name string) string {
	if path.IsAbs(name) {
		return name
	}
	return path.Join(rec.Dir, name)
}

// lookAt looks at the file that the name of a socket leads to.
func (r *reborn) lookAt(rec *image.Socket) (st unix.Stat_t, err error) {
	return st, unix.Lstat(procPath(r.pid, "root")+fromRoot(rec, unixPath(rec.Name)), &st)
}

// setAside renames what a socket has left at a name, in the directory at which
// the name begins. undo gives it its name back.
func (rs *restarter) setAside(b *boundName) error {
	id, err := newIdentifier()
	if err != nil {
		return err
	}
	name := unixPath(b.rec.Name)
	aside := path.Join(path.Dir(name), ".cr-"+strconv.FormatUint(id, 16))
	whole := func(name string) []byte { return append([]byte(fromRoot(b.rec, name)), 0) }
	if err := rs.root.leader().home.will(-1, sysRenameat2, atFdcwd, whole(aside), atFdcwd, whole(name), unix.RENAME_NOREPLACE); err != nil {
		return err
	}
	if err := rs.rename(name, aside, 0); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	b.aside = aside
	rs.bound = append(rs.bound, b)
	return nil
}

func (rs *restarter) rename(from, to string, flags int) error {
	_, err := rs.root.do(sysRenameat2, atFdcwd, append([]byte(from), 0), atFdcwd, append([]byte(to), 0), flags)
	return err
}

// noteBound notes that a socket has made a file.
func (rs *restarter) noteBound(b *boundName) {
	if st, err := rs.root.lookAt(b.rec); err == nil {
		b.dev, b.ino = uint64(st.Dev), uint64(st.Ino)
	}
	b.made = true
	if b.aside == "" {
		rs.bound = append(rs.bound, b)
	}
}

// unlinkSocket removes the file of a socket.
func (rs *restarter) unlinkSocket(rec *image.Socket) error {
	if unixPath(rec.Name) == "" {
		return nil
	}
	err := rs.inDir(rec, func() error { return rs.unlinkName(unixPath(rec.Name)) })
	if err != nil {
		return err
	}
	for i, b := range rs.bound {
		if b.rec == rec && b.made {
			if err := rs.unmade(b); err != nil {
				return err
			}
			if b.aside == "" {
				rs.bound = append(rs.bound[:i], rs.bound[i+1:]...)
			}
			break
		}
	}
	return nil
}

// unmade notes that the file that a socket had made is removed.
func (rs *restarter) unmade(b *boundName) error {
	b.made = false
	return rs.root.leader().home.drop(b.entry, b.entry)
}

// unlinkName removes a file that may be gone.
func (rs *restarter) unlinkName(name string) error {
	_, err := rs.root.do(sysUnlinkat, atFdcwd, append([]byte(name), 0), 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// undoSockets removes the files of sockets that were bound, last bound first,
// and puts those back that were there before.
func (rs *restarter) undoSockets() error {
	for n := len(rs.bound); n > 0; n = len(rs.bound) {
		b := rs.bound[n-1]
		err := rs.inDir(b.rec, func() error {
			if b.made {
				if err := rs.unlinkName(unixPath(b.rec.Name)); err != nil {
					return err
				}
				if err := rs.unmade(b); err != nil {
					return err
				}
			}
			return rs.bringBack(b)
		})
		if err != nil {
			return err
		}
		rs.bound = rs.bound[:n-1]
	}
	return nil
}

// bringBack gives what was set aside its name back, unless somebody has taken
// that meanwhile.
func (rs *restarter) bringBack(b *boundName) error {
	if b.aside == "" {
		return nil
	}
	name := unixPath(b.rec.Name)
	err := rs.rename(b.aside, name, unix.RENAME_NOREPLACE)
	switch {
	case errors.Is(err, unix.EINVAL): // not every file system looks
		err = rs.rename(b.aside, name, 0)
	case errors.Is(err, unix.EEXIST):
		err = rs.unlinkName(b.aside)
	}
	if err == nil {
		b.aside = ""
	}
	return err
}

// commitNames removes what was set aside.
func (rs *restarter) commitNames() error {
	for _, b := range rs.bound {
		if b.aside == "" {
			continue
		}
		// By its whole name: that takes no descriptor, as inDir does.
		if err := rs.unlinkName(fromRoot(b.rec, b.aside)); err != nil {
			return fmt.Errorf("what was at %s before: %w", unixName(b.rec.Name), err)
		}
		b.aside = ""
	}
	return nil
}

// tidy has processes that go neither on nor back remove what would outlive them:
// the files of sockets and shared memory. Each does what it still can, and nothing
// to a file that is another one by now.
func (rs *restarter) tidy() {
	for _, r := range rs.list {
		if r.mm == nil || r.scratch == 0 {
			continue
		}
		for _, b := range rs.bound {
			name := fromRoot(b.rec, unixPath(b.rec.Name))
			if st, err := r.lookAt(b.rec); b.made && err == nil && uint64(st.Dev) == b.dev && uint64(st.Ino) == b.ino {
				_, _ = r.do(sysUnlinkat, atFdcwd, append([]byte(name), 0), 0)
			}
			if b.aside != "" {
				aside := fromRoot(b.rec, b.aside)
				_, _ = r.do(sysRenameat2, atFdcwd, append([]byte(aside), 0), atFdcwd, append([]byte(name), 0), unix.RENAME_NOREPLACE)
			}
		}
		for _, number := range rs.segments {
			_, _ = r.do(sysShmctl, number, 0, 0)
		}
	}
}
