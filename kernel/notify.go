package kernel

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// notification is a call that waits for its result: struct seccomp_notif.
type notification struct {
	id   uint64
	tid  int
	nr   uint32
	arch uint32
	args [6]uint64
}

// Sizes of the structures of seccomp_unotify(2) as far as they are known here,
// in bytes. A kernel may have larger ones, and says so.
const (
	notifSize = 80
	respSize  = 24
)

// listener is the descriptor by which a filter hands over calls.
type listener struct {
	fd                  int
	notifSize, respSize int
}

func newListener(fd int) (*listener, error) {
	var sizes struct{ notif, resp, data uint16 }
	_, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_NOTIF_SIZES, 0, uintptr(unsafe.Pointer(&sizes)))
	if e != 0 {
		return nil, fmt.Errorf("sizes of seccomp notifications: %w", e)
	}
	if sizes.notif < notifSize || sizes.resp < respSize {
		return nil, fmt.Errorf("seccomp notifications of %d and %d bytes", sizes.notif, sizes.resp)
	}
	return &listener{fd, int(sizes.notif), int(sizes.resp)}, nil
}

func (l *listener) ioctl(request uintptr, arg unsafe.Pointer) error {
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(l.fd), request, uintptr(arg))
	if e != 0 {
		return e
	}
	return nil
}

// errHangup says that no task has the filter any more.
var errHangup = errors.New("no task has the filter any more")

// receive waits for the next call.
func (l *listener) receive() (*notification, error) {
	for {
		fds := []unix.PollFd{{Fd: int32(l.fd), Events: unix.POLLIN}}
		_, err := unix.Poll(fds, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("wait for calls: %w", err)
		}
		if fds[0].Revents&unix.POLLIN == 0 {
			return nil, errHangup
		}
		b := make([]byte, l.notifSize) // the kernel insists on zeros
		err = l.ioctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&b[0]))
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) {
			continue // a signal; or the caller was interrupted or has gone
		}
		if err != nil {
			return nil, fmt.Errorf("receive a call: %w", err)
		}
		n := &notification{
			id:   hostOrder.Uint64(b),
			tid:  int(hostOrder.Uint32(b[8:])),
			nr:   hostOrder.Uint32(b[16:]),
			arch: hostOrder.Uint32(b[20:]),
		}
		for i := range n.args {
			n.args[i] = hostOrder.Uint64(b[32+8*i:])
		}
		return n, nil
	}
}

// waiting reports whether the caller still waits for its result.
func (l *listener) waiting(n *notification) bool {
	id := n.id
	return l.ioctl(unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&id)) == nil
}

// proceed lets the kernel carry a call out as if there were no filter. That the
// caller no longer waits is no error.
func (l *listener) proceed(n *notification) error {
	b := make([]byte, l.respSize)
	hostOrder.PutUint64(b, n.id)
	hostOrder.PutUint32(b[20:], unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE)
	err := l.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&b[0]))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("let a call of pid %d proceed: %w", n.tid, err)
	}
	return nil
}

// answer gives a call its result, or the errno of an error. That the caller no
// longer waits is no error.
func (l *listener) answer(n *notification, result int64, err error) error {
	b := make([]byte, l.respSize)
	hostOrder.PutUint64(b, n.id)
	if e := Errno(err); e != 0 {
		hostOrder.PutUint32(b[16:], uint32(-int32(e)))
	} else {
		hostOrder.PutUint64(b[8:], uint64(result))
	}
	err = l.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&b[0]))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("answer a call of pid %d: %w", n.tid, err)
	}
	return nil
}
