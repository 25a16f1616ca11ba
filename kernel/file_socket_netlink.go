package kernel

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"cr/image"
)

// saveNetlink saves a netlink socket: its port and groups.
func saveNetlink(s *saver, k *savedSocket, own int) error {
	k.rec.State = image.Unconnected
	k.rec.PeerName = nil
	var b [1]byte
	if _, _, err := unix.Recvfrom(own, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT); !errors.Is(err, unix.EAGAIN) {
		s.refuseFile(k.d, "messages of the kernel wait in the netlink socket", "try again when they are read")
		return nil
	}
	// Groups above 32 are not part of the address.
	const listMemberships = 9
	groups := make([]uint32, 64)
	n := uint32(4 * len(groups))
	_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(own), unix.SOL_NETLINK, listMemberships,
		uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&n)), 0)
	if e != 0 {
		return nil
	}
	for i, word := range groups[:n/4] {
		for bit := uint(0); bit < 32; bit++ {
			if word>>bit&1 == 0 {
				continue
			}
			v := make([]byte, 4)
			hostOrder.PutUint32(v, uint32(i)*32+uint32(bit)+1)
			k.rec.Options = append(k.rec.Options, image.SockOpt{Level: unix.SOL_NETLINK, Name: unix.NETLINK_ADD_MEMBERSHIP, Value: v})
		}
	}
	return nil
}

// stageNetlink makes a netlink socket. If its port is taken, it gets another
// one.
func (rs *restarter) stageNetlink(f *image.File, rec *image.Socket) error {
	fd, err := rs.newSocket(f, rec)
	if err != nil {
		return err
	}
	rs.files[f.ID] = fd
	const size = 12 // struct sockaddr_nl
	if len(rec.Name) < size || hostOrder.Uint32(rec.Name[4:]) == 0 {
		return nil
	}
	name := append([]byte(nil), rec.Name[:size]...)
	_, err = rs.root.do(sysBind, fd, name, size)
	if errors.Is(err, unix.EADDRINUSE) {
		hostOrder.PutUint32(name[4:], 0)
		_, err = rs.root.do(sysBind, fd, name, size)
	}
	if err != nil {
		return fmt.Errorf("bind netlink socket: %w", err)
	}
	return nil
}
