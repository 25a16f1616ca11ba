package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// dumpNetlink asks for a list by a netlink socket (netlink(7)): a request of a
// type with a body. each is called for each message of the answer.
func dumpNetlink(sock int, request uint16, body []byte, each func(kind uint16, message []byte)) error {
	const head = 16
	b := make([]byte, head+len(body))
	hostOrder.PutUint32(b, uint32(len(b)))
	hostOrder.PutUint16(b[4:], request)
	hostOrder.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	copy(b[head:], body)
	if err := unix.Sendto(sock, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(sock, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		for m := buf[:n]; len(m) >= head; {
			size := int(hostOrder.Uint32(m))
			if size < head || size > len(m) {
				return errors.New("a malformed answer")
			}
			switch kind := hostOrder.Uint16(m[4:]); kind {
			case unix.NLMSG_DONE:
				return nil
			case unix.NLMSG_ERROR:
				if size < head+4 {
					return errors.New("a malformed answer")
				}
				return unix.Errno(-int32(hostOrder.Uint32(m[head:])))
			default:
				each(kind, m[head:size])
			}
			if size = (size + 3) &^ 3; size > len(m) {
				break
			}
			m = m[size:]
		}
	}
}

// netlinkAttributes calls f for each attribute of a message (struct nlattr).
func netlinkAttributes(b []byte, f func(kind uint16, value []byte)) {
	for len(b) >= 4 {
		size, kind := int(hostOrder.Uint16(b)), hostOrder.Uint16(b[2:])
		if size < 4 || size > len(b) {
			return
		}
		f(kind, b[4:size])
		if size = (size + 3) &^ 3; size > len(b) {
			return
		}
		b = b[size:]
	}
}

// dumpOf is a list that a process's network namespace has, by a socket of that.
func (p *process) dumpOf(protocol int, request uint16, body []byte, each func(kind uint16, message []byte)) error {
	sock, err := p.netlinkSocket(protocol)
	if err != nil {
		return err
	}
	defer unix.Close(sock)
	if err := dumpNetlink(sock, request, body, each); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	return nil
}
