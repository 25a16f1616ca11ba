package kernel

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"cr/image"
)

// mqueueSize is st_size of a POSIX message queue (FILENT_SIZE, ipc/mqueue.c).
const mqueueSize = 80

// isMQueue reports whether a file is a POSIX message queue. As with a file that
// has a name, a queue and what is in it belong to its IPC namespace, not to the
// processes that have it open.
func isMQueue(d *openDescriptor) bool {
	if d.st.Mode&unix.S_IFMT != unix.S_IFREG || d.st.Size != mqueueSize {
		return false
	}
	kind, err := fsType(d.link)
	return err == nil && kind == mqueueMagic
}

func saveMQueue(s *saver, d *openDescriptor) error {
	if d.st.Nlink == 0 {
		s.refuseFile(d, "a message queue whose name is gone", "close it first")
		return nil
	}
	d.file.Path = "/" + path.Base(d.file.Path)
	own, err := d.dup()
	if err != nil {
		return err
	}
	if s.ownIPC() {
		if err := s.nameQueue(d, own); err != nil {
			return err
		}
	}
	if d.access() == unix.O_WRONLY {
		return nil
	}
	b := make([]byte, 128)
	n, err := pread(own, b, 0)
	if err != nil {
		return fmt.Errorf("message queue: %w", err)
	}
	for _, f := range strings.Fields(string(b[:n])) {
		if strings.HasPrefix(f, "NOTIFY_PID:") && f != "NOTIFY_PID:0" {
			s.refuseFile(d, "a process waits to be told of its messages (mq_notify)", "end the registration first")
		}
	}
	return nil
}

// stageMQueue opens a message queue by its name.
func (rs *restarter) stageMQueue(f *image.File) error {
	if err := rs.newMQueue(f.Path[1:]); err != nil {
		return err
	}
	fd, err := rs.root.do(sysMqOpen, append([]byte(f.Path[1:]), 0), rs.openFlags(f), 0, 0)
	if err != nil {
		return fmt.Errorf("message queue %s: %w", f.Path, err)
	}
	rs.files[f.ID] = int(fd)
	return nil
}
