package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"cr/image"
)

// saveUnix saves of a UNIX socket what does not depend on others.
func saveUnix(s *saver, k *savedSocket, own int) error {
	if err := s.listUnix(k.d.process); err != nil {
		return err
	}
	info := s.unix[uint32(k.d.st.Ino)]
	if info == nil {
		return fmt.Errorf("sock_diag does not know socket %d", k.d.st.Ino)
	}
	rec := k.rec
	rec.Shutdown = uint32(info.shutdown)
	if rec.State == image.Listening {
		rec.Backlog = info.backlog
	} else if info.hasPeer {
		rec.State = image.Connected
	}
	if name := unixPath(rec.Name); name != "" {
		s.unixFile(k, name, info)
	}
	if rec.State == image.Listening {
		return nil
	}
	return s.peekQueue(k, own)
}

// listUnix asks the kernel for the UNIX sockets of a process's network
// namespace, once.
func (s *saver) listUnix(p *process) error {
	ns, err := os.Readlink(procPath(p.pid, "ns/net"))
	if err != nil {
		return err
	}
	if s.unixOf[ns] {
		return nil
	}
	if s.unixOf == nil {
		s.unixOf, s.unix = make(map[string]bool), make(map[uint32]*unixInfo)
	}
	s.unixOf[ns] = true
	sock, err := p.netlinkSocket(netlinkSockDiag)
	if err != nil {
		return err
	}
	defer unix.Close(sock)
	list, err := unixSockets(sock)
	if err != nil {
		return err
	}
	for ino, info := range list {
		s.unix[ino] = info
	}
	return nil
}

// unixPath is the path of a UNIX socket's address, "" for one without or in the
// abstract namespace.
func unixPath(name []byte) string {
	if len(name) <= 2 || name[2] == 0 {
		return ""
	}
	p := name[2:]
	if i := bytes.IndexByte(p, 0); i >= 0 {
		p = p[:i]
	}
	return string(p)
}

// unixFile notes what there is to know of the file that a socket is bound to.
func (s *saver) unixFile(k *savedSocket, name string, info *unixInfo) {
	full := name
	if !path.IsAbs(name) {
		dir, err := os.Readlink(procPath(k.d.process.pid, "cwd"))
		if err == nil {
			k.rec.Dir, full = dir, path.Join(dir, name)
		}
	}
	var st unix.Stat_t
	if err := unix.Lstat(full, &st); err != nil || info.file != 0 && uint32(st.Ino) != info.file {
		k.rec.Gone = true
		if !path.IsAbs(name) && k.rec.State == image.Listening {
			s.refuseFile(k.d, "it is bound to the relative path "+name+", and where that begins is not known", "bind it to an absolute path")
		}
		return
	}
	k.rec.Mode = st.Mode
}

// finishUnix saves what a UNIX socket has to do with others.
func (s *saver) finishUnix(k *savedSocket) error {
	rec, info := k.rec, s.unix[uint32(k.d.st.Ino)]
	for _, ino := range info.waiting {
		client := s.sockets[uint64(ino)]
		if client == nil {
			s.refuseFile(k.d, "a connection from outside waits to be accepted", "try again when it is accepted")
			return nil
		}
		if client.rec.Shutdown != 0 || s.unsent(client) {
			s.refuseFile(k.d, "a connection that waits to be accepted has been written to", "try again when it is accepted")
			return nil
		}
		client.rec.State = image.Connected
		rec.Pending = append(rec.Pending, client.rec.ID)
	}
	if !info.hasPeer || info.peer == 0 {
		if rec.Type == unix.SOCK_DGRAM && info.hasPeer {
			rec.State = image.Unconnected // whom it was connected to has gone
		}
		return s.senders(k)
	}
	peer := s.sockets[uint64(info.peer)]
	switch {
	case peer != nil:
		rec.Peer = peer.rec.ID
		back := s.unix[uint32(peer.d.st.Ino)]
		if peer.rec.Name == nil && uint64(back.peer) != k.d.st.Ino {
			s.refuseFile(k.d, "it is connected to a socket without a name that is connected to another one", "close it first")
		}
	case rec.Type == unix.SOCK_DGRAM && unixPath(rec.PeerName) != "" || rec.Type == unix.SOCK_DGRAM && len(rec.PeerName) > 2:
		// It will be connected to whoever has that name then.
	default:
		s.outside(k, "a UNIX socket that is connected to a process outside")
	}
	return s.senders(k)
}

// unsent reports whether something that a socket has sent was not read.
func (s *saver) unsent(k *savedSocket) bool {
	own, err := s.ownAgain(k.d)
	if err != nil {
		return true
	}
	defer func() {
		if k.d.pidfd >= 0 {
			unix.Close(own)
		}
	}()
	n, err := unix.IoctlGetInt(own, unix.TIOCOUTQ)
	return err != nil || n > 0
}

// senders finds who sent the datagrams in a queue.
func (s *saver) senders(k *savedSocket) error {
	if k.rec.Type == unix.SOCK_STREAM || k.rec.Type == unix.SOCK_SEQPACKET {
		return nil
	}
	for i := range k.rec.Messages {
		m := &k.rec.Messages[i]
		if len(m.From) <= 2 {
			continue
		}
		for _, o := range s.socketList {
			if o.rec.Family == unix.AF_UNIX && o.rec.Type == k.rec.Type && bytes.Equal(o.rec.Name, m.From) {
				m.Sender = o.rec.ID
			}
		}
		if m.Sender == 0 {
			s.refuseFile(k.d, "a message in its queue is from a socket outside", "try again when it is read")
		}
	}
	return nil
}

// stageUnix makes a UNIX socket. Two that are connected are made together.
func (rs *restarter) stageUnix(f *image.File, rec *image.Socket) error {
	connected := rec.State == image.Connected && rec.Type != unix.SOCK_DGRAM && !rs.waits(rec)
	switch {
	case connected && rec.Peer == 0:
		return rs.stageWidow(f, rec)
	case connected:
		return rs.stageConnected(f, rec)
	case rec.Type == unix.SOCK_DGRAM && rec.Peer != 0 && rs.img.Socket(rec.Peer).Peer == rec.ID:
		if peer := rs.img.Socket(rec.Peer); len(rec.Name) <= 2 && len(peer.Name) <= 2 {
			return rs.stagePair(f, rec)
		}
	}
	fd, err := rs.newSocket(f, rec)
	if err != nil {
		return err
	}
	rs.files[f.ID] = fd
	if len(rec.Name) > 2 {
		if err := rs.bindUnix(fd, rec); err != nil {
			return err
		}
	}
	if rec.State == image.Listening {
		if _, err := rs.root.do(sysListen, fd, rec.Backlog); err != nil {
			return fmt.Errorf("listen: %w", err)
		}
	}
	return nil
}

// waits reports whether a socket waits to be accepted.
func (rs *restarter) waits(rec *image.Socket) bool {
	if rs.waiting == nil {
		rs.waiting = make(map[uint32]bool)
		for _, s := range rs.img.Sockets {
			for _, id := range s.Pending {
				rs.waiting[id] = true
			}
		}
	}
	return rs.waiting[rec.ID]
}

// socketpair makes two sockets that are connected to each other.
func (rs *restarter) socketpair(rec *image.Socket, flags uint32) (a, b int, err error) {
	fds := make(out, 8)
	if _, err := rs.root.do(sysSocketpair, rec.Family, rec.Type|socketFlags(flags), 0, fds); err != nil {
		return 0, 0, fmt.Errorf("socketpair: %w", err)
	}
	order := rs.root.leader().abi.Order()
	return int(order.Uint32(fds)), int(order.Uint32(fds[4:])), nil
}

// stagePair makes two sockets that are connected to each other and have no
// names.
func (rs *restarter) stagePair(f *image.File, rec *image.Socket) error {
	peer := rs.img.Socket(rec.Peer)
	other := rs.fileOf(peer.ID)
	if other == nil {
		return fmt.Errorf("%w: socket %d is no open file", image.ErrInvalid, peer.ID)
	}
	a, b, err := rs.socketpair(rec, 0)
	if err != nil {
		return err
	}
	for _, end := range []struct {
		fd  int
		f   *image.File
		rec *image.Socket
	}{{a, f, rec}, {b, other, peer}} {
		rs.files[end.f.ID] = end.fd
		if err := rs.statusFlags(end.fd, end.f); err != nil {
			return err
		}
		if err := rs.setOptions(end.fd, end.rec, false); err != nil {
			return err
		}
	}
	return nil
}

// statusFlags sets what a descriptor has not got from the call that made it.
func (rs *restarter) statusFlags(fd int, f *image.File) error {
	if f.Flags&unix.O_NONBLOCK != 0 {
		if _, err := rs.root.do(sysFcntl, fd, unix.F_SETFL, unix.O_RDWR|unix.O_NONBLOCK); err != nil {
			return err
		}
	}
	if rs.cloexec(f) != 0 {
		if _, err := rs.root.do(sysFcntl, fd, unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return err
		}
	}
	return nil
}

// stageWidow makes a socket whose other end has gone: what that had sent is
// still to be read.
func (rs *restarter) stageWidow(f *image.File, rec *image.Socket) error {
	fd, ghost, err := rs.socketpair(rec, 0)
	if err != nil {
		return err
	}
	rs.files[f.ID] = fd
	if err := rs.statusFlags(fd, f); err != nil {
		return err
	}
	if err := rs.setOptions(fd, rec, false); err != nil {
		return err
	}
	if err := rs.sendMessages(ghost, rec); err != nil {
		return err
	}
	_, err = rs.root.do(sysClose, ghost)
	return err
}

// stageConnected makes two stream sockets that are connected to each other: as
// a pair where neither has a name, and otherwise by a connection to the name.
func (rs *restarter) stageConnected(f *image.File, rec *image.Socket) error {
	peer := rs.img.Socket(rec.Peer)
	if len(rec.Name) <= 2 && len(peer.Name) <= 2 {
		return rs.stagePair(f, rec)
	}
	server, client := rec, peer
	if len(rec.Name) <= 2 || len(peer.Name) > 2 && rs.listener(peer) != nil {
		server, client = peer, rec
	}
	serverFile, clientFile := rs.fileOf(server.ID), rs.fileOf(client.ID)
	if serverFile == nil || clientFile == nil {
		return fmt.Errorf("%w: socket %d or %d is no open file", image.ErrInvalid, server.ID, client.ID)
	}
	listener, done, err := rs.listen(server)
	if err != nil {
		return err
	}
	a, err := rs.newSocket(clientFile, client)
	if err != nil {
		return err
	}
	rs.files[clientFile.ID] = a
	if len(client.Name) > 2 {
		if err := rs.bindUnix(a, client); err != nil {
			return err
		}
	}
	if err := rs.connectUnix(a, server); err != nil {
		return err
	}
	b, err := rs.root.do(sysAccept4, listener, 0, 0, socketFlags(serverFile.Flags&unix.O_NONBLOCK|rs.cloexec(serverFile)))
	if err != nil {
		return fmt.Errorf("accept: %w", err)
	}
	rs.files[serverFile.ID] = int(b)
	if err := rs.setOptions(int(b), server, false); err != nil {
		return err
	}
	return done()
}

// listener gives the listening socket of the tree that has the name of a
// socket, nil if there is none.
func (rs *restarter) listener(rec *image.Socket) *image.File {
	for _, s := range rs.listening() {
		if s.Family == rec.Family && s.Type == rec.Type && bytes.Equal(s.Name, rec.Name) {
			return rs.fileOf(s.ID)
		}
	}
	return nil
}

// listening lists the listening sockets of the tree.
func (rs *restarter) listening() []*image.Socket {
	if rs.listeners == nil {
		rs.listeners = []*image.Socket{}
		for _, s := range rs.img.Sockets {
			if s.State == image.Listening {
				rs.listeners = append(rs.listeners, s)
			}
		}
	}
	return rs.listeners
}

// listen gives a socket that listens at the name of another one: that of the
// tree that has it, or one that done closes again.
func (rs *restarter) listen(rec *image.Socket) (fd int, done func() error, err error) {
	if f := rs.listener(rec); f != nil {
		err := rs.staged(f.ID)
		return rs.files[f.ID], func() error { return nil }, err
	}
	kind := &image.Socket{Family: rec.Family, Type: rec.Type, Name: rec.Name, Dir: rec.Dir}
	if fd, err = rs.newSocket(nil, kind); err != nil {
		return 0, nil, err
	}
	if err := rs.bindUnix(fd, kind); err != nil {
		return 0, nil, err
	}
	if _, err := rs.root.do(sysListen, fd, 1); err != nil {
		return 0, nil, fmt.Errorf("listen: %w", err)
	}
	return fd, func() error {
		if _, err := rs.root.do(sysClose, fd); err != nil {
			return err
		}
		return rs.unlinkSocket(kind)
	}, nil
}

// inDir does something while the root process is in the directory at which a
// relative name begins.
func (rs *restarter) inDir(rec *image.Socket, do func() error) error {
	if rec.Dir == "" {
		return do()
	}
	r := rs.root
	back, err := r.openPath(".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	err = rs.forNow(func() error {
		if _, err := r.do(sysChdir, append([]byte(rec.Dir), 0)); err != nil {
			return fmt.Errorf("%s: %w", rec.Dir, err)
		}
		return nil
	}, do, func() error {
		_, err := r.do(sysFchdir, back)
		return err
	})
	if err != nil {
		return err // undo closes it
	}
	_, err = r.do(sysClose, back)
	return err
}

// bindUnix gives a socket its name. A file that a socket which nobody has any
// more has left there makes way.
func (rs *restarter) bindUnix(fd int, rec *image.Socket) error {
	r := rs.root
	name := unixPath(rec.Name)
	return rs.inDir(rec, func() error {
		b := &boundName{rec: rec}
		home := r.leader().home
		bind := func() error {
			if name != "" {
				// The file goes only if the call made it: its flags are the call's result.
				const flags = 2
				if err := home.will(flags, sysUnlinkat, atFdcwd, append([]byte(fromRoot(rec, name)), 0), 0); err != nil {
					return err
				}
			}
			_, err := r.do(sysBind, fd, rec.Name, len(rec.Name))
			if err == nil && name != "" {
				b.entry = home.newest()
			}
			return err
		}
		err := bind()
		inUse := &RefusedError{PID: r.pid, Kind: "socket", Object: unixName(rec.Name), Reason: "its name is in use",
			Hint: "perhaps the program that was checkpointed still runs", Errno: unix.EADDRINUSE}
		if errors.Is(err, unix.EADDRINUSE) {
			if name == "" {
				return inUse
			}
			if answers, err := rs.answers(rec); err != nil || answers {
				return firstError(err, inUse)
			}
			if err := rs.setAside(b); err != nil {
				return err
			}
			if err = bind(); errors.Is(err, unix.EADDRINUSE) {
				return inUse
			}
		}
		if err != nil {
			return fmt.Errorf("bind to %s: %w", unixName(rec.Name), err)
		}
		if name == "" {
			return nil
		}
		rs.noteBound(b)
		if mode := rec.Mode & 0o7777; mode != 0 {
			if _, err := r.do(sysFchmodat, atFdcwd, append([]byte(name), 0), mode); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	})
}

// unixName is a name for people.
func unixName(name []byte) string {
	if len(name) > 2 && name[2] == 0 {
		return "@" + string(name[3:])
	}
	return unixPath(name)
}

// answers reports whether a name leads to something else than a socket that
// nobody has any more.
func (rs *restarter) answers(rec *image.Socket) (bool, error) {
	r := rs.root
	fd, err := r.do(sysSocket, rec.Family, rec.Type|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	_, err = r.do(sysConnect, fd, rec.Name, len(rec.Name))
	if _, e := r.do(sysClose, fd); e != nil {
		return false, e
	}
	if errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM) {
		return false, err
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return true, nil
	}
	// A file that is no socket gives the same error.
	kind, _, err := r.kindOf(fromRoot(rec, unixPath(rec.Name)), unix.AT_SYMLINK_NOFOLLOW)
	return kind != unix.S_IFSOCK, err
}

// connectUnix connects a socket to the name of another one.
func (rs *restarter) connectUnix(fd int, to *image.Socket) error {
	return rs.inDir(to, func() error {
		if _, err := rs.root.do(sysConnect, fd, to.Name, len(to.Name)); err != nil {
			return fmt.Errorf("connect to %s: %w", unixName(to.Name), err)
		}
		return nil
	})
}

// finishUnix gives a UNIX socket what waits in it: messages, and connections.
func (rs *restarter) finishUnix(f *image.File, rec *image.Socket) error {
	for _, id := range rec.Pending {
		client := rs.fileOf(id)
		if client == nil {
			return fmt.Errorf("%w: socket %d is no open file", image.ErrInvalid, id)
		}
		if err := rs.staged(client.ID); err != nil {
			return err
		}
		if err := rs.connectUnix(rs.files[client.ID], rec); err != nil {
			return err
		}
	}
	if rec.Type == unix.SOCK_DGRAM {
		return rs.finishDatagrams(f, rec)
	}
	if rec.Peer == 0 {
		return nil // a widow has got its messages
	}
	if err := rs.sendMessages(rs.files[rs.fileOf(rec.Peer).ID], rec); err != nil {
		return err
	}
	return rs.unlinkGone(rec)
}

// sendMessages fills the queue of a socket from its other end.
func (rs *restarter) sendMessages(from int, rec *image.Socket) error {
	for _, m := range rec.Messages {
		err := error(nil)
		if rec.Type == unix.SOCK_STREAM && len(m.Files) == 0 {
			err = rs.sendStream(from, m.Data)
		} else {
			err = rs.send(from, m.Data, nil, m.Files)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unlinkGone removes the file of a listening socket that had none any more.
func (rs *restarter) unlinkGone(rec *image.Socket) error {
	if !rec.Gone {
		return nil
	}
	for _, b := range rs.bound {
		if b.rec == rec && b.made {
			return rs.unlinkSocket(rec)
		}
	}
	return nil
}

// finishDatagrams fills the queue of a datagram socket and connects it.
func (rs *restarter) finishDatagrams(f *image.File, rec *image.Socket) error {
	fd := rs.files[f.ID]
	for _, m := range rec.Messages {
		from, to := -1, rec.Name
		sender := m.Sender
		if sender == 0 && len(m.From) <= 2 && rec.Peer != 0 && rs.img.Socket(rec.Peer).Peer == rec.ID {
			sender = rec.Peer
		}
		if s := rs.img.Socket(sender); s != nil {
			o := rs.fileOf(sender)
			if err := rs.staged(o.ID); err != nil {
				return err
			}
			from = rs.files[o.ID]
			if s.Peer == rec.ID && len(rec.Name) <= 2 {
				to = nil
			}
		}
		made := from < 0
		if made {
			var err error
			if from, err = rs.newSocket(nil, &image.Socket{Family: rec.Family, Type: rec.Type}); err != nil {
				return err
			}
		}
		err := rs.inDir(rec, func() error { return rs.send(from, m.Data, to, m.Files) })
		if err != nil {
			return err
		}
		if made {
			if _, err := rs.root.do(sysClose, from); err != nil {
				return err
			}
		}
	}
	if err := rs.unlinkGone(rec); err != nil {
		return err
	}
	if rec.State != image.Connected {
		return nil
	}
	// Those of a pair are connected from the start.
	to := &image.Socket{Name: rec.PeerName}
	if peer := rs.img.Socket(rec.Peer); peer != nil {
		if len(peer.Name) <= 2 {
			return nil
		}
		to = peer
		if err := rs.staged(rs.fileOf(peer.ID).ID); err != nil {
			return err
		}
	}
	rs.afterwards = append(rs.afterwards, func() error { return rs.connectUnix(fd, to) })
	return nil
}
