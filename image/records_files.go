package image

// Lock is a lock on a file: of an open file (flock(2), open file description
// locks of fcntl(2), leases), or in a table of descriptors (POSIX record locks).
type Lock struct {
	Kind  uint8
	Type  uint32 // F_RDLCK, F_WRLCK, as fcntl(2) of the header's ABI has it
	FD    uint32 // of a POSIX lock: a descriptor of the table that leads to the file
	Start uint64 // offset in bytes
	Len   uint64 // bytes; 0: to the end of the file, wherever that is
}

// Kinds of locks.
const (
	Flock   uint8 = iota // flock(2)
	OFDLock              // F_OFD_SETLK
	Lease                // F_SETLEASE
	POSIX                // F_SETLK

	lockUnknown // the lowest kind without a meaning
)

func (l *Lock) fields(c *coder) {
	c.u8(&l.Kind)
	c.u32(&l.Type)
	c.u32(&l.FD)
	c.u64(&l.Start)
	c.u64(&l.Len)
}

// locks is a list of locks.
func (c *coder) locks(p *[]Lock) {
	n := c.count(len(*p), 25)
	if !c.writing && n > 0 {
		*p = make([]Lock, n)
	}
	for i := range *p {
		(*p)[i].fields(c)
	}
}

// EventState is the state of an eventfd (eventfd(2)).
type EventState struct {
	Count     uint64
	Semaphore bool
}

// TimerState is the state of a timerfd (timerfd_create(2)). Times are in
// nanoseconds.
type TimerState struct {
	Clock     int32
	Flags     uint32 // TFD_TIMER_*
	Ticks     uint64 // expirations that were not read
	Interval  int64
	Remaining int64 // until it expires; 0 if it is not armed
}

func (t *TimerState) fields(c *coder) {
	c.i32(&t.Clock)
	c.u32(&t.Flags)
	c.u64(&t.Ticks)
	c.i64(&t.Interval)
	c.i64(&t.Remaining)
}

// State of a socket.
const (
	Unconnected uint8 = iota
	Listening
	Connected

	socketUnknown // the lowest state without a meaning
)

// Socket is a socket: the object of one open file. Addresses are struct
// sockaddr as the kernel of the header's ABI has it, empty for none.
type Socket struct {
	ID                     uint32
	Family, Type, Protocol uint32
	State                  uint8
	Shutdown               uint32 // 1: nothing more to read, 2: nothing more to write
	Name, PeerName         []byte
	Peer                   uint32   // socket record of the other end; 0 if it has gone or is outside
	Backlog                uint32   // of a listening socket
	Pending                []uint32 // socket records of clients that wait to be accepted, first come first
	Options                []SockOpt
	Messages               []Message // what waits to be read

	// Of a UNIX socket with a path: the directory that a relative one begins
	// at, st_mode of the file, and whether the path leads to another file or
	// to none.
	Dir  string
	Mode uint32
	Gone bool

	External bool // connected to a socket outside of the tree
	TCP      TCPState
}

func (*Socket) tag() Tag { return TagSocket }

func (s *Socket) fields(c *coder) {
	c.u32(&s.ID)
	c.u32(&s.Family)
	c.u32(&s.Type)
	c.u32(&s.Protocol)
	c.u8(&s.State)
	c.u32(&s.Shutdown)
	c.bytes(&s.Name)
	c.bytes(&s.PeerName)
	c.u32(&s.Peer)
	c.u32(&s.Backlog)
	c.u32s(&s.Pending)
	n := c.count(len(s.Options), 12)
	if !c.writing && n > 0 {
		s.Options = make([]SockOpt, n)
	}
	for i := range s.Options {
		o := &s.Options[i]
		c.u32(&o.Level)
		c.u32(&o.Name)
		c.bytes(&o.Value)
	}
	n = c.count(len(s.Messages), 16)
	if !c.writing && n > 0 {
		s.Messages = make([]Message, n)
	}
	for i := range s.Messages {
		m := &s.Messages[i]
		c.bytes(&m.Data)
		c.bytes(&m.From)
		c.u32s(&m.Files)
		c.u32(&m.Sender)
	}
	c.str(&s.Dir)
	c.u32(&s.Mode)
	c.flag(&s.Gone)
	c.flag(&s.External)
	s.TCP.fields(c)
}

// SockOpt is an option of a socket (setsockopt(2)), numbers and value as the
// header's ABI has them.
type SockOpt struct {
	Level, Name uint32
	Value       []byte
}

// Message is one message in the queue of a socket; all there is in the queue of
// a stream, but for what comes with descriptors.
type Message struct {
	Data   []byte
	From   []byte   // address of the sender
	Files  []uint32 // file records of descriptors that come with it (SCM_RIGHTS)
	Sender uint32   // socket record of the sender; 0 if it has gone or is not known
}

// TCPState is what TCP_REPAIR tells of a connection (tcp(7),
// include/uapi/linux/tcp.h).
type TCPState struct {
	Repair           bool // the fields below were saved
	SendSeq, RecvSeq uint32
	SendQueue        []byte // sent but not acknowledged, and then not sent
	Unsent           uint32 // bytes at the end of it that were not sent
	MSS              uint32
	SendScale        uint32
	RecvScale        uint32
	Options          uint32    // TCPI_OPT_*
	Timestamp        uint32    // TCP_TIMESTAMP
	Window           [5]uint32 // struct tcp_repair_window
}

func (t *TCPState) fields(c *coder) {
	c.flag(&t.Repair)
	c.u32(&t.SendSeq)
	c.u32(&t.RecvSeq)
	c.bytes(&t.SendQueue)
	c.u32(&t.Unsent)
	c.u32(&t.MSS)
	c.u32(&t.SendScale)
	c.u32(&t.RecvScale)
	c.u32(&t.Options)
	c.u32(&t.Timestamp)
	for i := range t.Window {
		c.u32(&t.Window[i])
	}
}

// Epoll is the interest list of an epoll descriptor (epoll(7)).
type Epoll struct {
	ID      uint32
	Targets []EpollTarget
}

// EpollTarget is one registration: the number of the descriptor when it was
// registered, and the open file that it referred to.
type EpollTarget struct {
	Number uint32
	File   uint32
	Events uint32 // EPOLL*
	Data   uint64
}

func (*Epoll) tag() Tag { return TagEpoll }

func (e *Epoll) fields(c *coder) {
	c.u32(&e.ID)
	n := c.count(len(e.Targets), 20)
	if !c.writing && n > 0 {
		e.Targets = make([]EpollTarget, n)
	}
	for i := range e.Targets {
		t := &e.Targets[i]
		c.u32(&t.Number)
		c.u32(&t.File)
		c.u32(&t.Events)
		c.u64(&t.Data)
	}
}

// Inotify is the list of watches of an inotify descriptor (inotify(7)).
type Inotify struct {
	ID      uint32
	Watches []Watch
}

// Watch is one watch of an inotify descriptor.
type Watch struct {
	WD   uint32
	Mask uint32 // IN_*
	Path string
}

func (*Inotify) tag() Tag { return TagInotify }

func (i *Inotify) fields(c *coder) {
	c.u32(&i.ID)
	n := c.count(len(i.Watches), 12)
	if !c.writing && n > 0 {
		i.Watches = make([]Watch, n)
	}
	for j := range i.Watches {
		w := &i.Watches[j]
		c.u32(&w.WD)
		c.u32(&w.Mask)
		c.str(&w.Path)
	}
}

// Pty is a pseudoterminal (pty(7)) whose master the tree holds.
type Pty struct {
	ID     uint32
	Number uint32 // N of /dev/pts/N

	// struct termios of the terminal; flags are numbers of the header's ABI.
	Iflag, Oflag, Cflag, Lflag uint32
	Line                       uint8
	CC                         []byte
	Ispeed, Ospeed             uint32

	Rows, Cols, Xpixel, Ypixel uint32
	Packet                     bool   // TIOCPKT
	Locked                     bool   // TIOCSPTLCK
	Closed                     bool   // the terminal was open, and is not any more
	Session                    uint32 // session whose controlling terminal it is; 0
	Foreground                 uint32 // its process group in the foreground; 0
	Input                      []byte // written to the master, and not read
	Output                     []byte // written to the terminal, and not read from the master
}

func (*Pty) tag() Tag { return TagPty }

func (p *Pty) fields(c *coder) {
	c.u32(&p.ID)
	c.u32(&p.Number)
	c.u32(&p.Iflag)
	c.u32(&p.Oflag)
	c.u32(&p.Cflag)
	c.u32(&p.Lflag)
	c.u8(&p.Line)
	c.bytes(&p.CC)
	c.u32(&p.Ispeed)
	c.u32(&p.Ospeed)
	c.u32(&p.Rows)
	c.u32(&p.Cols)
	c.u32(&p.Xpixel)
	c.u32(&p.Ypixel)
	c.flag(&p.Packet)
	c.flag(&p.Locked)
	c.flag(&p.Closed)
	c.u32(&p.Session)
	c.u32(&p.Foreground)
	c.bytes(&p.Input)
	c.bytes(&p.Output)
}
