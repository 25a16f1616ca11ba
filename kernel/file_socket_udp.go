package kernel

import (
	"net"

	"golang.org/x/sys/unix"

	"cr/image"
)

// resendDatagrams sends again what waited in a UDP socket: from the socket of
// the tree that sent it, or from one that has the sender's address for a moment.
// What cannot be sent so is lost, as datagrams may be.
func (rs *restarter) resendDatagrams(rec *image.Socket) error {
	to := hereAddress(rec.Name)
	if to == nil {
		return nil
	}
	for _, m := range rec.Messages {
		if fd, ok := rs.udpSender(m.From); ok {
			_ = rs.send(fd, m.Data, to, nil)
			continue
		}
		if err := rs.sendAs(rec, &m, to); err != nil && !isErrno(err) {
			return err
		}
	}
	return nil
}

// hereAddress is the address to which a datagram for a socket of a name is sent;
// nil if it has no port.
func hereAddress(name []byte) []byte {
	ip, port := splitAddress(name)
	if port == 0 {
		return nil
	}
	to := append([]byte(nil), name...)
	if !ip.IsUnspecified() {
		return to
	}
	if len(ip) == net.IPv4len {
		copy(to[4:8], net.IPv4(127, 0, 0, 1).To4())
	} else {
		copy(to[8:24], net.IPv6loopback)
	}
	return to
}

// udpSender finds the socket of the tree that has an address.
func (rs *restarter) udpSender(from []byte) (fd int, ok bool) {
	ip, port := splitAddress(from)
	for _, s := range rs.img.Sockets {
		if s.Family != unix.AF_INET && s.Family != unix.AF_INET6 || s.Type != unix.SOCK_DGRAM || s.Shutdown&2 != 0 {
			continue
		}
		has, at := splitAddress(s.Name)
		if port == 0 || at != port || !has.IsUnspecified() && !has.Equal(ip) {
			continue
		}
		f := rs.fileOf(s.ID)
		if f == nil {
			continue
		}
		fd, ok = rs.files[f.ID]
		return fd, ok
	}
	return 0, false
}

// sendAs sends a datagram from a socket that is made for it.
func (rs *restarter) sendAs(rec *image.Socket, m *image.Message, to []byte) error {
	fd, err := rs.root.do(sysSocket, rec.Family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, rec.Protocol)
	if err != nil {
		return err
	}
	if _, err = rs.root.do(sysBind, fd, m.From, len(m.From)); err == nil {
		err = rs.send(int(fd), m.Data, to, nil)
	}
	if _, e := rs.root.do(sysClose, fd); e != nil {
		return e
	}
	return err
}
