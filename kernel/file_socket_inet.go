package kernel

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"cr/image"
)

// States of a TCP socket (include/net/tcp_states.h).
const (
	tcpEstablished = 1
	tcpFinWait1    = 4
	tcpFinWait2    = 5
	tcpClose       = 7
	tcpCloseWait   = 8
	tcpListen      = 10
)

// saveInet saves of a TCP or UDP socket what does not depend on others.
func saveInet(s *saver, k *savedSocket, own int) error {
	rec := k.rec
	switch rec.Type {
	case unix.SOCK_DGRAM:
		if rec.Protocol != unix.IPPROTO_UDP && rec.Protocol != unix.IPPROTO_UDPLITE {
			s.refuseFile(k.d, fmt.Sprintf("a datagram socket of protocol %d", rec.Protocol), "close it first")
			return nil
		}
		return s.peekQueue(k, own)
	case unix.SOCK_STREAM:
	default:
		s.refuseFile(k.d, "a raw socket", "close it first")
		return nil
	}
	if rec.Protocol != unix.IPPROTO_TCP && rec.Protocol != unix.IPPROTO_MPTCP {
		s.refuseFile(k.d, fmt.Sprintf("a stream socket of protocol %d", rec.Protocol), "close it first")
		return nil
	}
	info, err := unix.GetsockoptTCPInfo(own, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return fmt.Errorf("state of a TCP socket: %w", err)
	}
	if rec.Protocol == unix.IPPROTO_MPTCP && info.State != tcpListen && info.State != tcpClose {
		s.refuseFile(k.d, "a connection of Multipath TCP, which cannot be told where to go on", "close it first, or let the program use plain TCP")
		return nil
	}
	switch info.State {
	case tcpListen:
		rec.State, rec.Backlog = image.Listening, info.Sacked
		k.waiting = int(info.Unacked)
		if k.waiting > 0 {
			s.refuseFile(k.d, fmt.Sprintf("%d connections wait to be accepted", k.waiting), "try again when they are accepted")
		}
		return nil
	case tcpClose:
		rec.State, rec.PeerName = image.Unconnected, nil
		return nil
	case tcpEstablished, tcpCloseWait:
		rec.State = image.Connected
	case tcpFinWait1, tcpFinWait2:
		rec.State, rec.Shutdown = image.Connected, 2
	default:
		s.refuseFile(k.d, "a TCP connection that is being made or ended", "try again")
		return nil
	}
	rec.TCP.MSS = info.Snd_mss
	return s.receiveQueue(k, own)
}

// receiveQueue saves what a TCP socket has received and not read.
func (s *saver) receiveQueue(k *savedSocket, own int) error {
	n, err := unix.IoctlGetInt(own, unix.TIOCINQ)
	if err != nil {
		return fmt.Errorf("queue of a TCP socket: %w", err)
	}
	if n == 0 {
		return nil
	}
	// An end of the connection counts as a byte.
	b := make([]byte, n)
	got, _, err := unix.Recvfrom(own, b, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if errors.Is(err, unix.EAGAIN) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("queue of a TCP socket: %w", err)
	}
	if got > 0 {
		k.rec.Messages = []image.Message{{Data: b[:got]}}
	}
	return nil
}

// finishInet finds the other end of a connection.
func (s *saver) finishInet(k *savedSocket) error {
	rec := k.rec
	if rec.State != image.Connected || rec.Type != unix.SOCK_STREAM {
		return nil
	}
	own, err := s.ownAgain(k.d)
	if err != nil {
		return err
	}
	if k.d.pidfd >= 0 {
		defer unix.Close(own)
	}
	peer := s.otherEnd(k)
	if peer == nil {
		return s.tcpOutside(k, own)
	}
	rec.Peer = peer.rec.ID
	left, err := delivered(own)
	if err != nil {
		return err
	}
	if left == 0 {
		return s.receiveAgain(peer)
	}
	if err := s.repairState(k, own); err != nil {
		s.refuseFile(k.d, fmt.Sprintf("%d bytes that it sent are not received yet, and to save them takes CAP_NET_ADMIN", left),
			"try again, or checkpoint as root")
		return nil
	}
	return s.receiveAgain(peer)
}

// receiveAgain saves the queue of a socket once more: what was on its way has
// come.
func (s *saver) receiveAgain(k *savedSocket) error {
	own, err := s.ownAgain(k.d)
	if err != nil {
		return err
	}
	if k.d.pidfd >= 0 {
		defer unix.Close(own)
	}
	k.rec.Messages = nil
	return s.receiveQueue(k, own)
}

// otherEnd finds the socket of the tree that a socket is connected to.
func (s *saver) otherEnd(k *savedSocket) *savedSocket {
	if s.inetPeers == nil {
		s.inetPeers = make(map[[2]string]*savedSocket)
		for _, o := range s.socketList {
			if o.rec.State == image.Connected && o.rec.Type == unix.SOCK_STREAM && o.rec.Family != unix.AF_UNIX {
				s.inetPeers[[2]string{addressOf(o.rec.Name), addressOf(o.rec.PeerName)}] = o
			}
		}
	}
	return s.inetPeers[[2]string{addressOf(k.rec.PeerName), addressOf(k.rec.Name)}]
}

// addressOf is the address and port of a struct sockaddr_in or _in6; an IPv4
// address is the same in both.
func addressOf(b []byte) string {
	ip, port := splitAddress(b)
	return net.JoinHostPort(ip.String(), strconv.Itoa(port))
}

func splitAddress(b []byte) (net.IP, int) {
	switch {
	case len(b) >= 8 && hostOrder.Uint16(b) == unix.AF_INET:
		return net.IP(b[4:8]), int(b[2])<<8 | int(b[3])
	case len(b) >= 24 && hostOrder.Uint16(b) == unix.AF_INET6:
		return net.IP(b[8:24]), int(b[2])<<8 | int(b[3])
	}
	return nil, 0
}

// delivered waits until the kernel has delivered what a socket of a connection
// within this machine has sent, or cannot, and returns how many bytes are left.
// Acknowledgements can take a moment.
func delivered(own int) (left int, err error) {
	const pause, patience = 5 * time.Millisecond, 60
	for i := 0; ; i++ {
		if left, err = unix.IoctlGetInt(own, unix.TIOCOUTQ); err != nil {
			return 0, fmt.Errorf("queue of a TCP socket: %w", err)
		}
		if left == 0 || i == patience {
			return left, nil
		}
		time.Sleep(pause)
	}
}

// tcpOutside saves a connection to a process outside, if the kernel lets it be
// taken apart and put together again.
func (s *saver) tcpOutside(k *savedSocket, own int) error {
	err := s.repairState(k, own)
	if err == nil {
		k.rec.External = true
		return nil
	}
	what := fmt.Sprintf("a TCP connection from %s to %s outside", addressOf(k.rec.Name), addressOf(k.rec.PeerName))
	if errors.Is(err, unix.EPERM) {
		what += ", which takes CAP_NET_ADMIN to save"
	} else {
		what += fmt.Sprintf(" (%v)", err)
	}
	s.outside(k, what)
	return nil
}

// Options of TCP_REPAIR (include/uapi/linux/tcp.h).
const (
	tcpRepairOff   = -1 // without a window probe
	tcpRepairOn    = 1
	tcpRecvQueue   = 1
	tcpSendQueue   = 2
	tcpRepairWin   = 29
	tcpTimestamp   = 24
	tcpiTimestamps = 1
	tcpiSack       = 2
	tcpiWscale     = 4
)

// repairState saves a connection by TCP_REPAIR.
func (s *saver) repairState(k *savedSocket, own int) (err error) {
	set := func(name, v int) error { return unix.SetsockoptInt(own, unix.IPPROTO_TCP, name, v) }
	get := func(name int) (uint32, error) {
		v, err := unix.GetsockoptInt(own, unix.IPPROTO_TCP, name)
		return uint32(v), err
	}
	info, err := unix.GetsockoptTCPInfo(own, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return err
	}
	if info.State != tcpEstablished && info.State != tcpCloseWait {
		return errors.New("it is being ended")
	}
	t := &k.rec.TCP
	if err := set(unix.TCP_REPAIR, tcpRepairOn); err != nil {
		return err
	}
	defer func() {
		if e := set(unix.TCP_REPAIR, tcpRepairOff); err == nil {
			err = e
		}
	}()
	if err := set(unix.TCP_REPAIR_QUEUE, tcpRecvQueue); err != nil {
		return err
	}
	if t.RecvSeq, err = get(unix.TCP_QUEUE_SEQ); err != nil {
		return err
	}
	if err := set(unix.TCP_REPAIR_QUEUE, tcpSendQueue); err != nil {
		return err
	}
	if t.SendSeq, err = get(unix.TCP_QUEUE_SEQ); err != nil {
		return err
	}
	out, err := unix.IoctlGetInt(own, unix.TIOCOUTQ)
	if err != nil {
		return err
	}
	unsent, err := unix.IoctlGetInt(own, siocoutqnsd)
	if err != nil {
		return err
	}
	if t.SendQueue = nil; out > 0 {
		t.SendQueue = make([]byte, out)
		n, _, err := unix.Recvfrom(own, t.SendQueue, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if err != nil {
			return err
		}
		if n != out {
			return errors.New("its queue cannot be read as a whole")
		}
	}
	t.Unsent = uint32(unsent)
	t.Options = uint32(info.Options)
	t.SendScale, t.RecvScale = wscale(info)
	if t.MSS, err = get(unix.TCP_MAXSEG); err != nil {
		return err
	}
	if t.Timestamp, err = get(tcpTimestamp); err != nil {
		return err
	}
	b, ok := getOption(own, unix.IPPROTO_TCP, tcpRepairWin, 20)
	if !ok || len(b) < 20 {
		return errors.New("its window cannot be read")
	}
	for i := range t.Window {
		t.Window[i] = hostOrder.Uint32(b[4*i:])
	}
	t.Repair = true
	return nil
}

// siocoutqnsd is SIOCOUTQNSD: bytes that were not sent.
const siocoutqnsd = 0x894b

// wscale reads the window scales, a byte of bit fields that Go has no names for.
func wscale(info *unix.TCPInfo) (send, recv uint32) {
	b := (*[8]byte)(unsafe.Pointer(info))[6]
	if hostBigEndian {
		return uint32(b >> 4), uint32(b & 15)
	}
	return uint32(b & 15), uint32(b >> 4)
}

// silence prepares connections for the end of the processes. One to the
// outside ends without a word, so that the other end goes on waiting; one
// within the tree ends at once, so that its addresses are free for a restart.
func (s *saver) silence() {
	for _, k := range s.socketList {
		rec := k.rec
		if rec.Type != unix.SOCK_STREAM || rec.Family == unix.AF_UNIX || rec.State != image.Connected {
			continue
		}
		own, err := s.ownAgain(k.d)
		if err != nil {
			continue // the connection ends as others do
		}
		if rec.Peer != 0 {
			_ = unix.SetsockoptLinger(own, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		} else {
			_ = unix.SetsockoptInt(own, unix.IPPROTO_TCP, unix.TCP_REPAIR, tcpRepairOn)
		}
		if k.d.pidfd >= 0 {
			unix.Close(own)
		}
	}
}

// stageInet makes a TCP or UDP socket. Two that are connected to each other are
// made together.
func (rs *restarter) stageInet(f *image.File, rec *image.Socket) error {
	switch {
	case rec.Type == unix.SOCK_STREAM && rec.State == image.Connected && rec.Peer != 0:
		return rs.stageTCP(f, rec)
	case rec.Type == unix.SOCK_STREAM && rec.State == image.Connected:
		return rs.stageRepaired(f, rec)
	}
	fd, err := rs.newSocket(f, rec)
	if err != nil {
		return err
	}
	rs.files[f.ID] = fd
	if _, port := splitAddress(rec.Name); port != 0 {
		if err := rs.bindInet(fd, rec, rec.State == image.Listening); err != nil {
			return err
		}
	}
	switch rec.State {
	case image.Listening:
		if _, err := rs.root.do(sysListen, fd, rec.Backlog); err != nil {
			return fmt.Errorf("listen: %w", inetInUse(err, rec))
		}
	case image.Connected:
		if _, err := rs.root.do(sysConnect, fd, rec.PeerName, len(rec.PeerName)); err != nil {
			return fmt.Errorf("connect to %s: %w", addressOf(rec.PeerName), err)
		}
	}
	return nil
}

// bindInet gives a socket its address. With reuse, connections of the past that
// the kernel still remembers are not in the way.
func (rs *restarter) bindInet(fd int, rec *image.Socket, reuse bool) error {
	r := rs.root
	option := func(on uint32) error {
		b := make([]byte, 4)
		hostOrder.PutUint32(b, on)
		_, err := r.do(sysSetsockopt, fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, b, len(b))
		return err
	}
	had := false
	for _, o := range rec.Options {
		had = had || o.Level == unix.SOL_SOCKET && o.Name == unix.SO_REUSEADDR
	}
	if reuse && !had {
		if err := option(1); err != nil {
			return err
		}
	}
	if _, err := r.do(sysBind, fd, rec.Name, len(rec.Name)); err != nil {
		return fmt.Errorf("bind to %s: %w", addressOf(rec.Name), inetInUse(err, rec))
	}
	if reuse && !had {
		return option(0)
	}
	return nil
}

// inetInUse says what it means that an address is in use.
func inetInUse(err error, rec *image.Socket) error {
	if !errors.Is(err, unix.EADDRINUSE) {
		return err
	}
	return &RefusedError{Kind: "socket", Object: addressOf(rec.Name), Reason: "the address is in use",
		Hint: "perhaps the program that was checkpointed still runs", Errno: unix.EADDRINUSE}
}

// stageTCP makes the two ends of a connection within the tree: by a connection
// between the same addresses.
func (rs *restarter) stageTCP(f *image.File, rec *image.Socket) error {
	r := rs.root
	server, client := rec, rs.img.Socket(rec.Peer)
	if rs.inetListener(server) == nil && rs.inetListener(client) != nil {
		server, client = client, server
	}
	serverFile, clientFile := rs.fileOf(server.ID), rs.fileOf(client.ID)
	if serverFile == nil || clientFile == nil {
		return fmt.Errorf("%w: socket %d or %d is no open file", image.ErrInvalid, server.ID, client.ID)
	}
	var listener int
	if l := rs.inetListener(server); l != nil {
		if err := rs.staged(l.ID); err != nil {
			return err
		}
		listener = rs.files[l.ID]
	} else {
		kind := &image.Socket{Family: server.Family, Type: server.Type, Protocol: server.Protocol, Name: server.Name,
			Options: server.Options} // a connection inherits them
		fd, err := rs.newSocket(nil, kind)
		if err != nil {
			return err
		}
		if err := rs.bindInet(fd, kind, true); err != nil {
			return err
		}
		if _, err := r.do(sysListen, fd, 1); err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		defer func() { rs.helper(fd) }()
		listener = fd
	}
	a, err := rs.connectTCP(clientFile, client, server)
	if err != nil {
		return err
	}
	rs.files[clientFile.ID] = a
	b, err := rs.acceptFrom(listener, client, socketFlags(serverFile.Flags&unix.O_NONBLOCK|rs.cloexec(serverFile)))
	if err != nil {
		return err
	}
	rs.files[serverFile.ID] = b
	if err := rs.setOptions(b, server, false); err != nil {
		return err
	}
	return rs.statusFlags(a, clientFile)
}

// acceptFrom takes the connection of a client. Others may come to a listening
// socket, too: they are turned away.
func (rs *restarter) acceptFrom(listener int, client *image.Socket, flags uint32) (int, error) {
	for {
		from, size := make(out, 128), make(out, 4)
		hostOrder.PutUint32(size, uint32(len(from)))
		fd, err := rs.root.do(sysAccept4, listener, from, size, flags)
		if err != nil {
			return 0, fmt.Errorf("accept: %w", err)
		}
		if addressOf(from) == addressOf(client.Name) {
			return int(fd), nil
		}
		if _, err := rs.root.do(sysClose, fd); err != nil {
			return 0, err
		}
	}
}

// connectTCP makes the client's end of a connection. A connection of the past
// between the same addresses can be in the way for a second.
func (rs *restarter) connectTCP(f *image.File, client, server *image.Socket) (int, error) {
	const pause, patience = 100 * time.Millisecond, 20
	for i := 0; ; i++ {
		fd, err := rs.newSocket(nil, client)
		if err != nil {
			return 0, err
		}
		if err := rs.bindInet(fd, client, true); err != nil {
			return 0, err
		}
		if _, err = rs.root.do(sysConnect, fd, server.Name, len(server.Name)); err == nil {
			return fd, nil
		}
		if !errors.Is(err, unix.EADDRNOTAVAIL) || i == patience {
			return 0, fmt.Errorf("connect %s to %s: %w", addressOf(client.Name), addressOf(server.Name), err)
		}
		if _, err := rs.root.do(sysClose, fd); err != nil {
			return 0, err
		}
		time.Sleep(pause)
	}
}

// inetListener gives the listening socket of the tree from which the socket of
// a connection can have come, nil if there is none.
func (rs *restarter) inetListener(rec *image.Socket) *image.File {
	ip, port := splitAddress(rec.Name)
	for _, s := range rs.listening() {
		if s.Type != unix.SOCK_STREAM || s.Family == unix.AF_UNIX {
			continue
		}
		on, p := splitAddress(s.Name)
		if p == port && (on.IsUnspecified() || on.Equal(ip)) && (s.Family == rec.Family) {
			return rs.fileOf(s.ID)
		}
	}
	return nil
}

// finishInet sends again what was on its way within the tree.
func (rs *restarter) finishInet(f *image.File, rec *image.Socket) error {
	if rec.Type == unix.SOCK_DGRAM {
		return rs.resendDatagrams(rec)
	}
	if rec.Type != unix.SOCK_STREAM || rec.State != image.Connected || rec.Peer == 0 {
		return nil
	}
	from := rs.fileOf(rec.Peer)
	for _, m := range rec.Messages {
		if err := rs.sendStream(rs.files[from.ID], m.Data); err != nil {
			return err
		}
	}
	return rs.sendStream(rs.files[from.ID], rs.img.Socket(rec.Peer).TCP.SendQueue)
}

// stageRepaired makes a connection to the outside again, by TCP_REPAIR.
func (rs *restarter) stageRepaired(f *image.File, rec *image.Socket) error {
	t := &rec.TCP
	if !t.Repair {
		return fmt.Errorf("%w: a TCP connection without its state", image.ErrInvalid)
	}
	r := rs.root
	fd, err := rs.newSocket(f, rec)
	if err != nil {
		return err
	}
	rs.files[f.ID] = fd
	set := func(name uint32, v int32) error {
		b := make([]byte, 4)
		hostOrder.PutUint32(b, uint32(v))
		_, err := r.do(sysSetsockopt, fd, unix.IPPROTO_TCP, name, b, len(b))
		return err
	}
	if err := set(unix.TCP_REPAIR, tcpRepairOn); err != nil {
		if errors.Is(err, unix.EPERM) {
			return &RefusedError{PID: r.pid, Kind: "socket", Object: addressOf(rec.Name),
				Reason: "to make the connection to " + addressOf(rec.PeerName) + " again takes CAP_NET_ADMIN", Hint: "restart as root", Errno: unix.EPERM}
		}
		return err
	}
	received := uint32(0)
	for _, m := range rec.Messages {
		received += uint32(len(m.Data))
	}
	for _, q := range []struct{ queue, seq uint32 }{
		{tcpRecvQueue, t.RecvSeq - received}, {tcpSendQueue, t.SendSeq - uint32(len(t.SendQueue))},
	} {
		if err := set(unix.TCP_REPAIR_QUEUE, int32(q.queue)); err != nil {
			return err
		}
		if err := set(unix.TCP_QUEUE_SEQ, int32(q.seq)); err != nil {
			return err
		}
	}
	if _, err := r.do(sysBind, fd, rec.Name, len(rec.Name)); err != nil {
		return fmt.Errorf("bind to %s: %w", addressOf(rec.Name), inetInUse(err, rec))
	}
	if _, err := r.do(sysConnect, fd, rec.PeerName, len(rec.PeerName)); err != nil {
		return fmt.Errorf("connection from %s to %s: %w", addressOf(rec.Name), addressOf(rec.PeerName), inetInUse(err, rec))
	}
	if err := rs.repairOptions(fd, t); err != nil {
		return err
	}
	return rs.repairQueues(fd, rec, set)
}

// repairOptions sets what the two ends of a connection had agreed on.
func (rs *restarter) repairOptions(fd int, t *image.TCPState) error {
	const mss, window, sack, timestamps = 2, 3, 4, 8 // TCPOPT_*
	var b []byte
	add := func(code, value uint32) {
		var o [8]byte
		hostOrder.PutUint32(o[:], code)
		hostOrder.PutUint32(o[4:], value)
		b = append(b, o[:]...)
	}
	add(mss, t.MSS)
	if t.Options&tcpiWscale != 0 {
		add(window, t.SendScale|t.RecvScale<<16)
	}
	if t.Options&tcpiSack != 0 {
		add(sack, 0)
	}
	if t.Options&tcpiTimestamps != 0 {
		add(timestamps, 0)
	}
	if _, err := rs.root.do(sysSetsockopt, fd, unix.IPPROTO_TCP, unix.TCP_REPAIR_OPTIONS, b, len(b)); err != nil {
		return fmt.Errorf("options of a connection: %w", err)
	}
	if t.Options&tcpiTimestamps == 0 {
		return nil
	}
	v := make([]byte, 4)
	hostOrder.PutUint32(v, t.Timestamp)
	_, err := rs.root.do(sysSetsockopt, fd, unix.IPPROTO_TCP, tcpTimestamp, v, len(v))
	return err
}

// repairQueues fills the queues of a connection, and lets it live.
func (rs *restarter) repairQueues(fd int, rec *image.Socket, set func(uint32, int32) error) error {
	t := &rec.TCP
	if err := set(unix.TCP_REPAIR_QUEUE, tcpRecvQueue); err != nil {
		return err
	}
	for _, m := range rec.Messages {
		if err := rs.sendStream(fd, m.Data); err != nil {
			return err
		}
	}
	if err := set(unix.TCP_REPAIR_QUEUE, tcpSendQueue); err != nil {
		return err
	}
	sent := t.SendQueue[:len(t.SendQueue)-int(t.Unsent)]
	if err := rs.sendStream(fd, sent); err != nil {
		return err
	}
	b := make([]byte, 20)
	for i, v := range t.Window {
		hostOrder.PutUint32(b[4*i:], v)
	}
	if _, err := rs.root.do(sysSetsockopt, fd, unix.IPPROTO_TCP, tcpRepairWin, b, len(b)); err != nil {
		return fmt.Errorf("window of a connection: %w", err)
	}
	unsent := t.SendQueue[len(sent):]
	rs.afterwards = append(rs.afterwards, func() error {
		// From here on the other end hears of it.
		if err := set(unix.TCP_REPAIR, 0); err != nil {
			return err
		}
		return rs.sendStream(fd, unsent)
	})
	return nil
}
