package image

import "fmt"

// fileObject is the tag of the record that an open file of a kind refers to.
var fileObject = map[FileKind]Tag{
	PipeEnd: TagPipe, EpollFD: TagEpoll, InotifyFD: TagInotify, PtyMaster: TagPty, PtyTerminal: TagPty, SocketFD: TagSocket,
}

// badFile says what is wrong with a field that files of all kinds have, "" if
// nothing is.
func (v *validator) badFile(f *File) string {
	if f.Kind >= fileUnknown {
		return fmt.Sprintf("kind %d", f.Kind)
	}
	if f.OwnerType > 2 || f.Owner < 0 {
		return fmt.Sprintf("owner %d of type %d", f.Owner, f.OwnerType)
	}
	for i := range f.Locks {
		l := &f.Locks[i]
		if l.Kind == POSIX {
			return "a lock of a process"
		}
		if reason := l.bad(); reason != "" {
			return reason
		}
	}
	return ""
}

// bad says what is wrong with a lock, "" if nothing is.
func (l *Lock) bad() string {
	switch {
	case l.Kind >= lockUnknown:
		return fmt.Sprintf("kind %d of lock", l.Kind)
	case l.Type > 1:
		return fmt.Sprintf("type %d of lock", l.Type)
	case l.Start >= 1<<63 || l.Len >= 1<<63 || l.Start+l.Len > 1<<63:
		return fmt.Sprintf("a lock on %d bytes at %d", l.Len, l.Start)
	}
	return ""
}

// deleted checks a file whose name is gone.
func (v *validator) deleted(f *File) error {
	s := v.m.Shm(f.Object)
	if s == nil || s.Path == "" {
		return invalid(TagFile, f.ID, "shm %d is missing, or not of a file", f.Object)
	}
	if f.Pos < 0 {
		return invalid(TagFile, f.ID, "position %d", f.Pos)
	}
	return nil
}

// anonymous checks a file that has no path and refers to no record.
func (v *validator) anonymous(f *File) error {
	switch {
	case f.Object != 0:
		return invalid(TagFile, f.ID, "it refers to object %d", f.Object)
	case f.Kind == TimerFD && (f.Timer.Interval < 0 || f.Timer.Remaining < 0):
		return invalid(TagFile, f.ID, "its time is negative")
	case f.Kind == EventFD && f.Event.Count == ^uint64(0):
		return invalid(TagFile, f.ID, "its count is too large")
	case f.Kind == PidFD && v.m.Process(f.PID) == nil:
		return invalid(TagFile, f.ID, "process %d is missing", f.PID)
	}
	return nil
}

// afUnix is AF_UNIX.
const afUnix = 1

// maxSockaddr is the size of struct sockaddr_storage in bytes.
const maxSockaddr = 128

// fileObjects checks the records that open files refer to.
func (v *validator) fileObjects() error {
	v.sockets = make(map[uint32]bool)
	for _, f := range v.m.Files {
		if f.Kind != SocketFD {
			continue
		}
		if v.sockets[f.Object] {
			return invalid(TagFile, f.ID, "socket %d is another open file too", f.Object)
		}
		v.sockets[f.Object] = true
	}
	for _, s := range v.m.Sockets {
		if err := v.socket(s); err != nil {
			return err
		}
	}
	for _, e := range v.m.Epolls {
		for _, t := range e.Targets {
			if t.Number >= maxFD {
				return invalid(TagEpoll, e.ID, "descriptor %d is out of range", t.Number)
			}
			if err := v.refer(TagEpoll, e.ID, TagFile, t.File); err != nil {
				return err
			}
		}
	}
	for _, i := range v.m.Inotifies {
		last := uint32(0)
		for _, w := range i.Watches {
			if w.WD <= last || w.WD > 1<<31-1 {
				return invalid(TagInotify, i.ID, "watch %d is out of range or order", w.WD)
			}
			if last = w.WD; w.Path == "" || w.Path[0] != '/' || hasNUL(w.Path) {
				return invalid(TagInotify, i.ID, "%q is no path", w.Path)
			}
		}
	}
	for _, p := range v.m.Ptys {
		if p.Rows > 0xffff || p.Cols > 0xffff || p.Xpixel > 0xffff || p.Ypixel > 0xffff {
			return invalid(TagPty, p.ID, "%d rows, %d columns", p.Rows, p.Cols)
		}
		if p.Session > maxPID || p.Foreground > maxPID {
			return invalid(TagPty, p.ID, "session %d, process group %d", p.Session, p.Foreground)
		}
	}
	return nil
}

func (v *validator) socket(s *Socket) error {
	bad := func(format string, args ...any) error { return invalid(TagSocket, s.ID, format, args...) }
	switch {
	case s.State >= socketUnknown:
		return bad("state %d", s.State)
	case s.Shutdown > 3:
		return bad("shutdown %d", s.Shutdown)
	case len(s.Name) > maxSockaddr || len(s.PeerName) > maxSockaddr:
		return bad("an address of more than %d bytes", maxSockaddr)
	case hasNUL(s.Dir) || s.Dir != "" && s.Dir[0] != '/':
		return bad("%q is no path", s.Dir)
	case uint64(s.TCP.Unsent) > uint64(len(s.TCP.SendQueue)):
		return bad("%d bytes of %d not sent", s.TCP.Unsent, len(s.TCP.SendQueue))
	}
	if s.Peer != 0 {
		p := v.m.Socket(s.Peer)
		if p == nil || !v.sockets[s.Peer] || p.Type != s.Type || (p.Family == afUnix) != (s.Family == afUnix) {
			return bad("peer %d is missing, or of another kind", s.Peer)
		}
	}
	for _, id := range s.Pending {
		if !v.sockets[id] {
			return bad("socket %d, which waits, is missing", id)
		}
	}
	for _, m := range s.Messages {
		if len(m.From) > maxSockaddr {
			return bad("an address of more than %d bytes", maxSockaddr)
		}
		for _, id := range m.Files {
			if err := v.refer(TagSocket, s.ID, TagFile, id); err != nil {
				return err
			}
		}
		if m.Sender != 0 && !v.sockets[m.Sender] {
			return bad("sender %d is missing", m.Sender)
		}
	}
	return nil
}
