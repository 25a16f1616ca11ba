package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"

	"cr/image"
)

// The paths of an image are those that the checkpoint saw, not those of a
// process that has changed its root directory: a process changes it when all
// that is known by a path is open.

// mayHaveRoot checks that a process may have the root directory of the image.
func (rs *restarter) mayHaveRoot(p *process, rec *image.Process, fs uint32) error {
	root := rs.img.FS(fs).Root
	if root == "/" || p.status.creds.Effective>>capSysChroot&1 != 0 {
		return nil
	}
	return &RefusedError{PID: int(rec.PID), Kind: "root directory", Object: root,
		Reason: "to change it takes CAP_SYS_CHROOT", Hint: "restart it as root", Errno: unix.EPERM}
}

// openRoot has a process open the root directory of a file system state, 0 if it
// stays as it is.
func (rs *restarter) openRoot(r *reborn, fs uint32) (int, error) {
	root := rs.img.FS(fs).Root
	if root == "/" {
		return 0, nil
	}
	fd, err := r.openDir(root)
	if err != nil {
		return 0, fmt.Errorf("root directory %w", err)
	}
	return fd, nil
}

// commitRoot changes the root directory.
func (r *reborn) commitRoot() error {
	if r.root == 0 {
		return nil
	}
	if _, err := r.do(sysFchdir, r.root); err != nil {
		return err
	}
	_, err := r.do(sysChroot, []byte(".\x00"))
	return err
}
