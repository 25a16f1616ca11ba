package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"cr/image"
)

// savedSocket is a socket of the tree.
type savedSocket struct {
	rec     *image.Socket
	d       *openDescriptor
	waiting int // of a listening TCP socket: connections that wait to be accepted
}

func isSocket(d *openDescriptor) bool { return d.st.Mode&unix.S_IFMT == unix.S_IFSOCK }

// socketFamilies are the families that can be saved.
var socketFamilies = map[uint32]func(*saver, *savedSocket, int) error{
	unix.AF_UNIX:    saveUnix,
	unix.AF_INET:    saveInet,
	unix.AF_INET6:   saveInet,
	unix.AF_NETLINK: saveNetlink,
}

// familyNames are those that cannot.
var familyNames = map[uint32]string{
	unix.AF_PACKET: "packet", unix.AF_VSOCK: "vsock", unix.AF_ALG: "crypto", unix.AF_BLUETOOTH: "Bluetooth",
	unix.AF_CAN: "CAN", unix.AF_XDP: "XDP", unix.AF_KEY: "key", unix.AF_TIPC: "TIPC", unix.AF_RDS: "RDS",
	unix.AF_SMC: "SMC", unix.AF_QIPCRTR: "QRTR", unix.AF_NFC: "NFC", unix.AF_KCM: "KCM", unix.AF_PPPOX: "PPPoX",
}

// saveSocket saves a socket, but for what depends on others.
func saveSocket(s *saver, d *openDescriptor) error {
	own, err := d.dup()
	if err != nil {
		return err
	}
	rec := &image.Socket{ID: s.newID()}
	for _, o := range []struct {
		name  int
		field *uint32
	}{{unix.SO_DOMAIN, &rec.Family}, {unix.SO_TYPE, &rec.Type}, {unix.SO_PROTOCOL, &rec.Protocol}} {
		v, err := unix.GetsockoptInt(own, unix.SOL_SOCKET, o.name)
		if err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		*o.field = uint32(v)
	}
	d.file.Object = rec.ID
	s.img.Sockets = append(s.img.Sockets, rec)
	k := &savedSocket{rec: rec, d: d}
	save := socketFamilies[rec.Family]
	if save == nil {
		name := familyNames[rec.Family]
		if name == "" {
			name = fmt.Sprintf("family %d", rec.Family)
		}
		s.refuseFile(d, "a socket of another kind: "+name, "close it first")
		return nil
	}
	if s.sockets == nil {
		s.sockets = make(map[uint64]*savedSocket)
	}
	s.sockets[d.st.Ino] = k
	s.socketList = append(s.socketList, k)
	rec.Name = sockaddrBy(unix.SYS_GETSOCKNAME, own)
	if b, ok := getOption(own, unix.SOL_SOCKET, unix.SO_ACCEPTCONN, 4); ok && hostOrder.Uint32(b) != 0 {
		rec.State = image.Listening
	} else if rec.PeerName = sockaddrBy(unix.SYS_GETPEERNAME, own); rec.PeerName != nil {
		rec.State = image.Connected
	}
	if err := s.socketOptions(k, own); err != nil {
		return err
	}
	return save(s, k, own)
}

// socketOption is an option that is saved where it differs from that of a new
// socket.
type socketOption struct {
	level, name uint32
	size        int
	families    []uint32 // nil: all
	protocol    uint32   // 0: all
	late        bool     // set when everything else is done
}

// Options that golang.org/x/sys lacks on some machines.
const (
	soRcvtimeoNew = 66
	soSndtimeoNew = 67
	soBufLock     = 72
	soPasspidfd   = 76
)

var (
	inet        = []uint32{unix.AF_INET, unix.AF_INET6}
	inet6       = []uint32{unix.AF_INET6}
	notUnix     = []uint32{unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}
	netlinkOnly = []uint32{unix.AF_NETLINK}
)

var socketOptions = []socketOption{
	{unix.SOL_SOCKET, unix.SO_REUSEADDR, 4, notUnix, 0, false},
	{unix.SOL_SOCKET, unix.SO_REUSEPORT, 4, notUnix, 0, false},
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 4, notUnix, 0, false},
	{unix.SOL_SOCKET, unix.SO_BROADCAST, 4, notUnix, 0, false},
	{unix.SOL_SOCKET, unix.SO_OOBINLINE, 4, notUnix, 0, false},
	{unix.SOL_SOCKET, unix.SO_DONTROUTE, 4, notUnix, 0, false},
	{unix.SOL_SOCKET, unix.SO_LINGER, 8, notUnix, 0, false},
	{unix.SOL_SOCKET, unix.SO_PASSCRED, 4, nil, 0, false},
	{unix.SOL_SOCKET, unix.SO_PASSSEC, 4, nil, 0, false},
	{unix.SOL_SOCKET, soPasspidfd, 4, []uint32{unix.AF_UNIX}, 0, false},
	{unix.SOL_SOCKET, unix.SO_PRIORITY, 4, notUnix, 0, false},
	{unix.SOL_SOCKET, unix.SO_MARK, 4, notUnix, 0, false},
	{unix.SOL_SOCKET, unix.SO_RCVLOWAT, 4, nil, 0, false},
	{unix.SOL_SOCKET, unix.SO_TIMESTAMP, 4, nil, 0, false},
	{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 4, nil, 0, false},
	{unix.SOL_SOCKET, unix.SO_NO_CHECK, 4, inet, 0, false},
	{unix.SOL_SOCKET, unix.SO_BINDTODEVICE, 16, inet, 0, false},
	{unix.SOL_SOCKET, soRcvtimeoNew, 16, nil, 0, false},
	{unix.SOL_SOCKET, soSndtimeoNew, 16, nil, 0, false},
	{unix.SOL_SOCKET, unix.SO_PEEK_OFF, 4, nil, 0, true},
	{unix.IPPROTO_IP, unix.IP_TOS, 4, inet, 0, false},
	{unix.IPPROTO_IP, unix.IP_TTL, 4, inet, 0, false},
	{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, 4, inet, 0, false},
	{unix.IPPROTO_IP, unix.IP_RECVERR, 4, inet, 0, false},
	{unix.IPPROTO_IP, unix.IP_PKTINFO, 4, inet, 0, false},
	{unix.IPPROTO_IP, unix.IP_RECVTTL, 4, inet, 0, false},
	{unix.IPPROTO_IP, unix.IP_RECVTOS, 4, inet, 0, false},
	{unix.IPPROTO_IP, unix.IP_FREEBIND, 4, inet, 0, false},
	{unix.IPPROTO_IP, unix.IP_TRANSPARENT, 4, inet, 0, false},
	{unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 4, inet, 0, false},
	{unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 4, inet, unix.IPPROTO_UDP, false},
	{unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 4, inet, unix.IPPROTO_UDP, false},
	{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 4, inet6, 0, false},
	{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 4, inet6, 0, false},
	{unix.IPPROTO_IPV6, unix.IPV6_TCLASS, 4, inet6, 0, false},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 4, inet6, 0, false},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 4, inet6, 0, false},
	{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, 4, inet6, 0, false},
	{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 4, inet6, unix.IPPROTO_UDP, false},
	{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 4, inet6, unix.IPPROTO_UDP, false},
	{unix.IPPROTO_TCP, unix.TCP_NODELAY, 4, inet, unix.IPPROTO_TCP, false},
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 4, inet, unix.IPPROTO_TCP, false},
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 4, inet, unix.IPPROTO_TCP, false},
	{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 4, inet, unix.IPPROTO_TCP, false},
	{unix.IPPROTO_TCP, unix.TCP_SYNCNT, 4, inet, unix.IPPROTO_TCP, false},
	{unix.IPPROTO_TCP, unix.TCP_LINGER2, 4, inet, unix.IPPROTO_TCP, false},
	{unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 4, inet, unix.IPPROTO_TCP, false},
	{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 4, inet, unix.IPPROTO_TCP, false},
	{unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, 4, inet, unix.IPPROTO_TCP, false},
	{unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 4, inet, unix.IPPROTO_TCP, false},
	{unix.IPPROTO_TCP, unix.TCP_CONGESTION, 16, inet, unix.IPPROTO_TCP, false},
	{unix.IPPROTO_TCP, unix.TCP_CORK, 4, inet, unix.IPPROTO_TCP, true},
	{unix.SOL_NETLINK, unix.NETLINK_PKTINFO, 4, netlinkOnly, 0, false},
	{unix.SOL_NETLINK, unix.NETLINK_BROADCAST_ERROR, 4, netlinkOnly, 0, false},
	{unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, 4, netlinkOnly, 0, false},
	{unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 4, netlinkOnly, 0, false},
	{unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 4, netlinkOnly, 0, false},
	{unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 4, netlinkOnly, 0, false},
}

// of reports whether sockets of a family and protocol have an option.
func (o *socketOption) of(rec *image.Socket) bool {
	protocol := rec.Protocol
	if protocol == unix.IPPROTO_MPTCP {
		protocol = unix.IPPROTO_TCP // it has the same, as far as it has them
	}
	if o.protocol != 0 && o.protocol != protocol {
		return false
	}
	for _, f := range o.families {
		if f == rec.Family {
			return true
		}
	}
	return o.families == nil
}

// socketKind is what the options of a new socket depend on.
type socketKind struct{ family, kind, protocol uint32 }

// socketDefaults gives the options of a new socket, in the order of the table.
func (s *saver) socketDefaults(rec *image.Socket) ([][]byte, error) {
	k := socketKind{rec.Family, rec.Type, rec.Protocol}
	if list, ok := s.defaults[k]; ok {
		return list, nil
	}
	fd, err := unix.Socket(int(rec.Family), int(rec.Type)|unix.SOCK_CLOEXEC, int(rec.Protocol))
	list := make([][]byte, len(socketOptions))
	if err == nil {
		defer unix.Close(fd)
		for i := range socketOptions {
			if o := &socketOptions[i]; o.of(rec) {
				list[i], _ = getOption(fd, o.level, o.name, o.size)
			}
		}
	}
	if s.defaults == nil {
		s.defaults = make(map[socketKind][][]byte)
	}
	s.defaults[k] = list
	return list, nil
}

// socketOptions saves the options that a socket has set.
func (s *saver) socketOptions(k *savedSocket, own int) error {
	defaults, err := s.socketDefaults(k.rec)
	if err != nil {
		return err
	}
	for i := range socketOptions {
		o := &socketOptions[i]
		if !o.of(k.rec) {
			continue
		}
		v, ok := getOption(own, o.level, o.name, o.size)
		if ok && !bytes.Equal(v, defaults[i]) {
			k.rec.Options = append(k.rec.Options, image.SockOpt{Level: o.level, Name: o.name, Value: v})
		}
	}
	// A size that the program has chosen is kept; the kernel's own is not.
	locked := uint32(3)
	if b, ok := getOption(own, unix.SOL_SOCKET, soBufLock, 4); ok {
		locked = hostOrder.Uint32(b)
	} else if k.rec.Protocol == unix.IPPROTO_TCP {
		locked = 0
	}
	for i, name := range []uint32{unix.SO_SNDBUF, unix.SO_RCVBUF} {
		v, ok := getOption(own, unix.SOL_SOCKET, name, 4)
		if !ok || locked>>uint(i)&1 == 0 {
			continue
		}
		hostOrder.PutUint32(v, hostOrder.Uint32(v)/2) // the kernel doubles it
		k.rec.Options = append(k.rec.Options, image.SockOpt{Level: unix.SOL_SOCKET, Name: name, Value: v})
	}
	if n := uint32(0); k.rec.Family != unix.AF_NETLINK {
		_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(own), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, 0,
			uintptr(unsafe.Pointer(&n)), 0)
		if e == 0 && n > 0 {
			s.refuseFile(k.d, "a socket with a BPF filter", "detach the filter first (SO_DETACH_FILTER)")
		}
	}
	return nil
}

// finishSockets saves what sockets have to do with each other. What is in a
// queue can bring new ones.
func (s *saver) finishSockets() error {
	for i := 0; i < len(s.socketList); i++ {
		k := s.socketList[i]
		var err error
		switch k.rec.Family {
		case unix.AF_UNIX:
			err = s.finishUnix(k)
		case unix.AF_INET, unix.AF_INET6:
			err = s.finishInet(k)
		}
		if err != nil {
			return fmt.Errorf("pid %d: descriptor %d: %w", k.d.pid, k.d.number, err)
		}
	}
	return nil
}

// ownAgain gives a descriptor of this program for one that was looked at before.
func (s *saver) ownAgain(d *openDescriptor) (int, error) {
	if d.pidfd < 0 {
		return d.number, nil
	}
	pidfd, err := openTask(d.pid)
	if err != nil {
		return -1, err
	}
	defer unix.Close(pidfd)
	return pidfdGetfd(pidfd, d.number)
}

// outside deals with a socket that is connected to one outside of the tree: a
// standard descriptor is taken from whoever restarts the tree.
func (s *saver) outside(k *savedSocket, what string) {
	const standard = 3 // descriptors 0, 1, 2
	if k.d.number < standard && k.d.pidfd >= 0 {
		k.rec.External = true
		return
	}
	s.refuseFile(k.d, what, "end the connection first, or checkpoint both ends")
}

// maxMessage is the size of the largest message that is saved, in bytes.
const maxMessage = 1 << 20

// peekQueue reads what waits in a socket and leaves it there.
func (s *saver) peekQueue(k *savedSocket, own int) error {
	set := func(off int) error { return unix.SetsockoptInt(own, unix.SOL_SOCKET, unix.SO_PEEK_OFF, off) }
	before, err := unix.GetsockoptInt(own, unix.SOL_SOCKET, unix.SO_PEEK_OFF)
	if err != nil {
		return fmt.Errorf("queue of a socket: %w", err)
	}
	if err := set(0); err != nil {
		return fmt.Errorf("queue of a socket: %w", err)
	}
	err = s.peekMessages(k, own)
	if e := set(before); err == nil {
		err = e
	}
	return err
}

func (s *saver) peekMessages(k *savedSocket, own int) error {
	if s.peekBuffer == nil {
		s.peekBuffer = make([]byte, maxMessage)
	}
	buf, control, from := s.peekBuffer, make([]byte, 4096), make([]byte, 128)
	stream := k.rec.Type == unix.SOCK_STREAM
	for {
		iov := unix.Iovec{Base: &buf[0]}
		iov.SetLen(len(buf))
		h := unix.Msghdr{Iov: &iov, Name: &from[0], Namelen: uint32(len(from)), Control: &control[0]}
		h.SetIovlen(1)
		h.SetControllen(len(control))
		n, _, e := unix.Syscall(unix.SYS_RECVMSG, uintptr(own), uintptr(unsafe.Pointer(&h)),
			unix.MSG_PEEK|unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		switch {
		case e == unix.EINTR:
			continue
		case e == unix.EAGAIN || e == unix.ENOTCONN || e == unix.EINVAL, e == 0 && n == 0 && (stream || k.rec.Shutdown&1 != 0):
			return nil
		case e != 0:
			return fmt.Errorf("queue of a socket: %w", e)
		}
		if h.Flags&unix.MSG_TRUNC != 0 {
			s.refuseFile(k.d, "a message in its queue is too large", "try again when it is read")
			return nil
		}
		m := image.Message{Data: append([]byte(nil), buf[:n]...)}
		if h.Namelen > 2 {
			m.From = append([]byte(nil), from[:h.Namelen]...)
		}
		if err := s.passed(k, &m, control[:h.Controllen]); err != nil {
			return err
		}
		list := k.rec.Messages
		if last := len(list) - 1; stream && last >= 0 && len(m.Files) == 0 && len(list[last].Files) == 0 {
			list[last].Data = append(list[last].Data, m.Data...)
			continue
		}
		k.rec.Messages = append(list, m)
	}
}

// passed saves the descriptors that come with a message. To look at the message
// has given them to this program.
func (s *saver) passed(k *savedSocket, m *image.Message, control []byte) error {
	if len(control) == 0 {
		return nil
	}
	list, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return fmt.Errorf("queue of a socket: %w", err)
	}
	for i := range list {
		if list[i].Header.Level != unix.SOL_SOCKET || list[i].Header.Type != unix.SCM_RIGHTS {
			continue
		}
		fds, err := unix.ParseUnixRights(&list[i])
		if err != nil {
			return fmt.Errorf("queue of a socket: %w", err)
		}
		s.kept = append(s.kept, fds...)
		for _, fd := range fds {
			d := &openDescriptor{process: k.d.process, pid: os.Getpid(), pidfd: -1, number: fd, own: -1}
			id, err := s.descriptor(d)
			if err != nil {
				return fmt.Errorf("a descriptor that was passed on: %w", err)
			}
			if f := s.img.File(id); f.Kind == image.PidFD || f.Kind == image.TTY {
				s.refuseFile(k.d, "a "+f.Path+" is on its way in a message in its queue", "try again when it is read")
			}
			m.Files = append(m.Files, id)
		}
	}
	return nil
}

// stageSocket makes a socket, and with some others at once.
func (rs *restarter) stageSocket(f *image.File) error {
	rec := rs.img.Socket(f.Object)
	switch rec.Family {
	case unix.AF_UNIX:
		return rs.stageUnix(f, rec)
	case unix.AF_INET, unix.AF_INET6:
		return rs.stageInet(f, rec)
	case unix.AF_NETLINK:
		return rs.stageNetlink(f, rec)
	}
	return fmt.Errorf("%w: a socket of family %d", image.ErrInvalid, rec.Family)
}

// newSocket makes a socket with the options that it shall have.
func (rs *restarter) newSocket(f *image.File, rec *image.Socket) (int, error) {
	kind := rec.Type
	if f != nil {
		kind |= socketFlags(f.Flags&unix.O_NONBLOCK | rs.cloexec(f))
	}
	fd, err := rs.root.do(sysSocket, rec.Family, kind, rec.Protocol)
	if rec.Protocol == unix.IPPROTO_MPTCP && (errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ENOPROTOOPT)) {
		// A kernel without it, or where it is off: as the program itself does.
		fd, err = rs.root.do(sysSocket, rec.Family, kind, unix.IPPROTO_TCP)
	}
	if err != nil {
		return 0, fmt.Errorf("socket: %w", err)
	}
	return int(fd), rs.setOptions(int(fd), rec, false)
}

// socketFlags turns flags of open(2) into those of socket(2), which are the
// same on all of our machines.
func socketFlags(flags uint32) uint32 { return flags & (unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC) }

// setOptions sets the options of a socket, those that come late or the others.
func (rs *restarter) setOptions(fd int, rec *image.Socket, late bool) error {
	for _, o := range rec.Options {
		if len(o.Value) == 0 || isLate(o) != late {
			continue
		}
		_, err := rs.root.do(sysSetsockopt, fd, o.Level, o.Name, o.Value, len(o.Value))
		if errors.Is(err, unix.EPERM) {
			return &RefusedError{PID: rs.root.pid, Kind: "socket", Object: fmt.Sprintf("option %d of level %d", o.Name, o.Level),
				Reason: "to set it takes CAP_NET_ADMIN", Hint: "restart as root", Errno: unix.EPERM}
		}
		if err != nil {
			return fmt.Errorf("option %d of level %d: %w", o.Name, o.Level, err)
		}
	}
	return nil
}

func isLate(o image.SockOpt) bool {
	for i := range socketOptions {
		if k := &socketOptions[i]; k.level == o.Level && k.name == o.Name {
			return k.late
		}
	}
	return false
}

// finishSocket gives a socket what waits in it, and what must come last.
func (rs *restarter) finishSocket(f *image.File) error {
	rec := rs.img.Socket(f.Object)
	var err error
	switch rec.Family {
	case unix.AF_UNIX:
		err = rs.finishUnix(f, rec)
	case unix.AF_INET, unix.AF_INET6:
		err = rs.finishInet(f, rec)
	}
	if err != nil {
		return err
	}
	if rec.Shutdown != 0 && rec.Peer != 0 {
		rs.shutdowns = append(rs.shutdowns, f)
	}
	return rs.setOptions(rs.files[f.ID], rec, true)
}

// shutDown ends the directions of connections that had ended, once everything
// that was on its way is there.
func (rs *restarter) shutDown() error {
	for _, f := range rs.shutdowns {
		how := int(rs.img.Socket(f.Object).Shutdown) - 1 // SHUT_RD, SHUT_WR, SHUT_RDWR
		if _, err := rs.root.do(sysShutdown, rs.files[f.ID], how); err != nil && !errors.Is(err, unix.ENOTCONN) {
			return rs.fileError(f, fmt.Errorf("shutdown: %w", err))
		}
	}
	return nil
}

// sendAtOnce is how much is put into the root process to be sent, in bytes.
const sendAtOnce = 32 << 10

// send makes the root process send a message from a socket, to an address or,
// if that is nil, to its peer.
func (rs *restarter) send(fd int, data, to []byte, files []uint32) error {
	var err error
	switch {
	case len(files) > 0:
		err = rs.sendFiles(fd, data, files)
	case len(data) > sendAtOnce:
		err = rs.sendLarge(fd, data, to)
	default:
		_, err = rs.sendSome(fd, data, to)
	}
	if err != nil {
		return fmt.Errorf("queue of a socket: %w", err)
	}
	return nil
}

// sendSome makes the root process send, and returns how much it has sent.
func (rs *restarter) sendSome(fd int, data, to []byte) (int, error) {
	address := any(0)
	if to != nil {
		address = to
	}
	n, err := rs.root.do(sysSendto, fd, data, len(data), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, address, len(to))
	return int(n), err
}

// sendStream sends bytes whose boundaries do not matter. What was in the queues
// of a connection can need more room when it is sent in other pieces.
func (rs *restarter) sendStream(fd int, data []byte) error {
	for grown := false; len(data) > 0; {
		piece := data
		if len(piece) > sendAtOnce {
			piece = piece[:sendAtOnce]
		}
		n, err := rs.sendSome(fd, piece, nil)
		if errors.Is(err, unix.EAGAIN) && !grown {
			grown = true
			if err := rs.growQueue(fd); err != nil {
				return fmt.Errorf("queue of a socket: %w", err)
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("queue of a socket: %w", err)
		}
		data = data[n:]
	}
	return nil
}

// growQueue doubles what may be on its way from a socket.
func (rs *restarter) growQueue(fd int) error {
	b := make(out, 4)
	size := make(out, 4)
	hostOrder.PutUint32(size, uint32(len(b)))
	if _, err := rs.root.do(sysGetsockopt, fd, unix.SOL_SOCKET, unix.SO_SNDBUF, b, size); err != nil {
		return err
	}
	_, err := rs.root.do(sysSetsockopt, fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, []byte(b), len(b))
	if errors.Is(err, unix.EPERM) {
		_, err = rs.root.do(sysSetsockopt, fd, unix.SOL_SOCKET, unix.SO_SNDBUF, []byte(b), len(b))
	}
	return err
}

// sendLarge makes the root process send a message that is too large for its
// scratch memory, from memory that is mapped for it. This program does not send
// it itself: whoever receives it may ask who did.
func (rs *restarter) sendLarge(fd int, data, to []byte) error {
	r := rs.root
	t := r.leader()
	page := uint64(os.Getpagesize())
	length := (uint64(len(data)) + page - 1) &^ (page - 1)
	at, err := r.space.take(length)
	if err != nil {
		return err
	}
	if _, err := t.mmap(at, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|mapFixedNoReplace, -1, 0); err != nil {
		return err
	}
	err = r.mem.write(at, data)
	if err == nil {
		address := any(0)
		if to != nil {
			address = to
		}
		_, err = r.do(sysSendto, fd, at, len(data), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, address, len(to))
	}
	if _, e := t.call(sysMunmap, at, length); err == nil {
		err = e
	}
	return err
}

// sendFiles sends a message with descriptors.
func (rs *restarter) sendFiles(fd int, data []byte, files []uint32) error {
	r := rs.root
	l := layoutOf(r.leader().abi)
	// In scratch memory: struct msghdr, struct iovec, struct cmsghdr with the
	// descriptors, and the data.
	const iovAt, controlAt, dataAt = 64, 128, 2048
	if len(data) > argsSize-dataAt || controlAt+l.word+8+4*len(files) > dataAt {
		return fmt.Errorf("a message of %d bytes with %d descriptors: %w", len(data), len(files), unix.EMSGSIZE)
	}
	b := make([]byte, dataAt+len(data))
	copy(b[dataAt:], data)
	l.putLong(b[iovAt:], 0, r.scratch+dataAt)
	l.putLong(b[iovAt:], 1, uint64(len(data)))
	header := l.word + 8 // cmsg_len, level, type
	l.putLong(b[controlAt:], 0, uint64(header+4*len(files)))
	l.order.PutUint32(b[controlAt+l.word:], unix.SOL_SOCKET)
	l.order.PutUint32(b[controlAt+l.word+4:], unix.SCM_RIGHTS)
	for i, id := range files {
		if err := rs.staged(id); err != nil {
			return err
		}
		l.order.PutUint32(b[controlAt+header+4*i:], uint32(rs.files[id]))
	}
	// msg_name, msg_namelen (padded), msg_iov, msg_iovlen, msg_control, msg_controllen
	l.putLong(b, 2, r.scratch+iovAt)
	l.putLong(b, 3, 1)
	l.putLong(b, 4, r.scratch+controlAt)
	l.putLong(b, 5, uint64(header+4*len(files)))
	if err := r.mem.write(r.scratch, b); err != nil {
		return err
	}
	_, err := r.leader().call(sysSendmsg, uint64(fd), r.scratch, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	return err
}

// fileOf gives the file record of a socket record.
func (rs *restarter) fileOf(socket uint32) *image.File {
	if rs.socketFiles == nil {
		rs.socketFiles = make(map[uint32]*image.File)
		for _, f := range rs.img.Files {
			if f.Kind == image.SocketFD {
				rs.socketFiles[f.Object] = f
			}
		}
	}
	return rs.socketFiles[socket]
}
