package image

import (
	"math/bits"

	"cr/regset"
)

// Tag is the type of a record.
type Tag uint32

// Tags of records. They are never renumbered.
const (
	TagHeader     Tag = 1
	TagProcess    Tag = 2
	TagTask       Tag = 3
	TagCPU        Tag = 4
	TagMM         Tag = 5
	TagFS         Tag = 6
	TagSighand    Tag = 7
	TagFiles      Tag = 8
	TagFile       Tag = 9
	TagPipe       Tag = 10
	TagShm        Tag = 11
	TagSocket     Tag = 12
	TagEpoll      Tag = 13
	TagInotify    Tag = 14
	TagPty        Tag = 15
	TagSeccomp    Tag = 16
	TagQueue      Tag = 17
	TagSemaphores Tag = 18
	TagNamespaces Tag = 19
	TagShares     Tag = 20
	TagMemory     Tag = 32 // end of the metadata; runs and pages follow
	TagRuns       Tag = 33
	TagPages      Tag = 34
	TagTail       Tag = 35
)

// String is the name that docs/format.md has.
func (t Tag) String() string {
	if n, ok := tagNames[t]; ok {
		return n
	}
	return "record " + utoa(uint64(t))
}

func (t Tag) known() bool { return tagNames[t] != "" }

var tagNames = map[Tag]string{
	TagHeader: "header", TagProcess: "process", TagTask: "task", TagCPU: "cpu",
	TagMM: "mm", TagFS: "fs", TagSighand: "sighand", TagFiles: "files",
	TagFile: "file", TagPipe: "pipe", TagShm: "shm",
	TagSocket: "socket", TagEpoll: "epoll", TagInotify: "inotify", TagPty: "pty", TagSeccomp: "seccomp",
	TagQueue: "queue", TagSemaphores: "semaphores", TagNamespaces: "namespaces", TagShares: "shares", TagMemory: "memory",
	TagRuns: "runs", TagPages: "pages", TagTail: "tail",
}

// record is a structured record: it names its fields in their order.
type record interface {
	tag() Tag
	fields(*coder)
}

// Header says where an image comes from.
type Header struct {
	ABI      regset.ABI  // of the kernel that made it
	Machine  string      // uname -m
	Release  string      // uname -r
	PageSize uint32      // bytes
	ID       uint64      // identifier of the checkpoint, as the call returned it
	Time     int64       // CLOCK_REALTIME, nanoseconds
	Mono     int64       // CLOCK_MONOTONIC, nanoseconds
	Boottime int64       // CLOCK_BOOTTIME, nanoseconds
	Features regset.Mask // union of what the tasks use
	Tasks    uint32      // number of task records
	HWCAP    uint64      // the machine's AT_HWCAP, for people
	HWCAP2   uint64
	Creator  string // program and version that wrote it
	Hostname string
	Root     uint32 // pid of the root process, as its pid namespace has it

	// Foreground is the process group that was in the foreground of the
	// controlling terminal of the root process; 0 if there was none or it is
	// not in the image.
	Foreground uint32
}

func (*Header) tag() Tag { return TagHeader }

func (h *Header) fields(c *coder) {
	c.u16(&h.ABI.Machine)
	c.flag(&h.ABI.BigEndian)
	c.str(&h.Machine)
	c.str(&h.Release)
	c.u32(&h.PageSize)
	c.u64(&h.ID)
	c.i64(&h.Time)
	c.i64(&h.Mono)
	c.i64(&h.Boottime)
	c.u64((*uint64)(&h.Features))
	c.u32(&h.Tasks)
	c.u64(&h.HWCAP)
	c.u64(&h.HWCAP2)
	c.str(&h.Creator)
	c.str(&h.Hostname)
	c.u32(&h.Root)
	c.u32(&h.Foreground)
}

// State of a process.
const (
	Running uint8 = iota
	Stopped       // by a job control signal
	Zombie        // it has an exit status and nothing else
)

// Process is what the tasks of a thread group share. Identifiers of other
// objects (MM, Files, FS, Sighand) are those of records of these types.
type Process struct {
	PID, PPID, PGID, SID uint32
	State                uint8
	ExitStatus           uint32 // of a zombie, as wait(2) gives it
	ExitSignal           uint32
	Comm                 string // of the leader, for people

	MM, Files, FS, Sighand uint32

	Limits      []Limit   // indexed by RLIMIT_*
	Itimers     [3]Itimer // ITIMER_REAL, VIRTUAL, PROF
	Timers      []Timer   // POSIX timers
	Pending     [][]byte  // shared pending signals, siginfo_t in the kernel's layout
	Personality uint32
	Dumpable    uint32
	Subreaper   bool
	OOMScoreAdj int32
	CtlTTY      bool // has a controlling terminal
	Calls       bool // ran under an emulated kernel side

	CoreFilter uint32 // /proc/PID/coredump_filter
	Cgroup     string // /proc/PID/cgroup, for people

	// ELFv1 is that signal handlers are function descriptors: those of a 64-bit
	// powerpc program whose e_flags does not say ELFv2. Execve decides on it.
	ELFv1 bool

	// That the leaders of its process group and session have ended.
	GroupEnded, SessionEnded bool

	// Told is the CPU features that cpuid tells it of, if the kernel side answers
	// its cpuid instructions, which fault; 0: the CPU does.
	Told regset.Mask
}

func (*Process) tag() Tag { return TagProcess }

func (p *Process) fields(c *coder) {
	c.u32(&p.PID)
	c.u32(&p.PPID)
	c.u32(&p.PGID)
	c.u32(&p.SID)
	c.u8(&p.State)
	c.u32(&p.ExitStatus)
	c.u32(&p.ExitSignal)
	c.str(&p.Comm)
	c.u32(&p.MM)
	c.u32(&p.Files)
	c.u32(&p.FS)
	c.u32(&p.Sighand)
	n := c.count(len(p.Limits), 16)
	if !c.writing && n > 0 {
		p.Limits = make([]Limit, n)
	}
	for i := range p.Limits {
		c.u64(&p.Limits[i].Cur)
		c.u64(&p.Limits[i].Max)
	}
	for i := range p.Itimers {
		c.i64(&p.Itimers[i].Interval)
		c.i64(&p.Itimers[i].Value)
	}
	n = c.count(len(p.Timers), 44)
	if !c.writing && n > 0 {
		p.Timers = make([]Timer, n)
	}
	for i := range p.Timers {
		p.Timers[i].fields(c)
	}
	c.blobs(&p.Pending)
	c.u32(&p.Personality)
	c.u32(&p.Dumpable)
	c.flag(&p.Subreaper)
	c.i32(&p.OOMScoreAdj)
	c.flag(&p.CtlTTY)
	c.flag(&p.Calls)
	c.u32(&p.CoreFilter)
	c.str(&p.Cgroup)
	c.flag(&p.ELFv1)
	c.flag(&p.GroupEnded)
	c.flag(&p.SessionEnded)
	c.u64((*uint64)(&p.Told))
}

// Limit is a resource limit; ^0 is RLIM_INFINITY.
type Limit struct{ Cur, Max uint64 }

// Itimer is an interval timer, in microseconds.
type Itimer struct{ Interval, Value int64 }

// Timer is a POSIX timer (timer_create(2)). Times are in nanoseconds.
type Timer struct {
	ID        uint32
	Clock     int32
	Notify    uint32 // SIGEV_*
	Signal    uint32
	Value     uint64 // sigev_value
	TID       uint32 // of SIGEV_THREAD_ID
	Interval  int64
	Remaining int64 // until it expires; 0 if it is not armed
	Overrun   uint32
}

func (t *Timer) fields(c *coder) {
	c.u32(&t.ID)
	c.i32(&t.Clock)
	c.u32(&t.Notify)
	c.u32(&t.Signal)
	c.u64(&t.Value)
	c.u32(&t.TID)
	c.i64(&t.Interval)
	c.i64(&t.Remaining)
	c.u32(&t.Overrun)
}

// Task is one thread.
type Task struct {
	TID, PID uint32
	Comm     string

	Sigmask  uint64
	AltStack AltStack
	Pending  [][]byte // siginfo_t in the kernel's layout

	ClearTID   uint64 // set_tid_address(2)
	RobustList uint64
	RobustLen  uint64
	Rseq       Rseq

	Creds      Creds
	Sched      Sched
	PDeathSig  uint32
	TimerSlack uint64 // nanoseconds

	IOPrio    uint32 // ioprio_get(2)
	MemPolicy MemPolicy
	Settings  []Setting
	Dispatch  Dispatch
	Filters   []uint32 // seccomp records, the first installed first

	// Of a thread that has them for itself (unshare(2)); 0 for those of its
	// process.
	Files, FS uint32
}

func (*Task) tag() Tag { return TagTask }

func (t *Task) fields(c *coder) {
	c.u32(&t.TID)
	c.u32(&t.PID)
	c.str(&t.Comm)
	c.u64(&t.Sigmask)
	c.u64(&t.AltStack.SP)
	c.u32(&t.AltStack.Flags)
	c.u64(&t.AltStack.Size)
	c.blobs(&t.Pending)
	c.u64(&t.ClearTID)
	c.u64(&t.RobustList)
	c.u64(&t.RobustLen)
	c.u64(&t.Rseq.Ptr)
	c.u32(&t.Rseq.Size)
	c.u32(&t.Rseq.Signature)
	c.u32(&t.Rseq.Flags)
	t.Creds.fields(c)
	c.u32(&t.Sched.Policy)
	c.u32(&t.Sched.Priority)
	c.i32(&t.Sched.Nice)
	c.bytes(&t.Sched.Affinity)
	c.u32(&t.PDeathSig)
	c.u64(&t.TimerSlack)
	t.stateFields(c)
}

// AltStack is a task's alternate signal stack (sigaltstack(2)).
type AltStack struct {
	SP    uint64
	Flags uint32
	Size  uint64 // bytes
}

// Rseq is the registration of restartable sequences (rseq(2)); Ptr is 0 if
// there is none.
type Rseq struct {
	Ptr       uint64
	Size      uint32
	Signature uint32
	Flags     uint32
}

// Creds are the credentials of a task (credentials(7), capabilities(7)).
type Creds struct {
	UID, EUID, SUID, FSUID                               uint32
	GID, EGID, SGID, FSGID                               uint32
	Groups                                               []uint32
	Inheritable, Permitted, Effective, Bounding, Ambient uint64
	Securebits                                           uint32
	NoNewPrivs                                           bool
}

func (p *Creds) fields(c *coder) {
	for _, id := range []*uint32{&p.UID, &p.EUID, &p.SUID, &p.FSUID, &p.GID, &p.EGID, &p.SGID, &p.FSGID} {
		c.u32(id)
	}
	c.u32s(&p.Groups)
	for _, s := range []*uint64{&p.Inheritable, &p.Permitted, &p.Effective, &p.Bounding, &p.Ambient} {
		c.u64(s)
	}
	c.u32(&p.Securebits)
	c.flag(&p.NoNewPrivs)
}

// Sched is how a task is scheduled (sched(7)). Affinity is the mask of
// sched_getaffinity(2) as bytes, lowest processors first.
type Sched struct {
	Policy   uint32
	Priority uint32
	Nice     int32
	Affinity []byte

	Flags                     uint64 // SCHED_FLAG_*
	Runtime, Deadline, Period uint64 // nanoseconds
}

// CPU is the CPU state of one task.
type CPU struct {
	TID   uint32
	State regset.State
}

func (*CPU) tag() Tag { return TagCPU }

func (p *CPU) fields(c *coder) {
	c.u64((*uint64)(&p.State.Used))
	c.u32(&p.TID)
	c.u16(&p.State.ABI.Machine)
	c.flag(&p.State.ABI.BigEndian)
	n := c.count(len(p.State.Sets), 8)
	if !c.writing && n > 0 {
		p.State.Sets = make([]regset.Set, n)
	}
	for i := range p.State.Sets {
		s := &p.State.Sets[i]
		c.u32((*uint32)(&s.Note))
		c.bytes(&s.Data)
	}
}

// MM is an address space.
type MM struct {
	ID uint32

	// The fields of struct prctl_mm_map (PR_SET_MM_MAP), addresses in bytes.
	StartCode, EndCode, StartData, EndData uint64
	StartBrk, Brk, StartStack              uint64
	ArgStart, ArgEnd, EnvStart, EnvEnd     uint64
	Auxv                                   []byte
	Exe                                    uint32 // id of the file record of /proc/PID/exe; 0 if there is none

	THPDisable bool
	Dumpable   uint32

	VMAs []VMA

	// VDSO is the contents of the vdso, which is mapped executable code of the
	// kernel that made the image.
	VDSO []byte

	Future uint32 // VMALocked, VMALockOnFault: what mappings to come get (mlockall(2))
	Pkeys  uint32 // protection keys that are allocated: bit 0 is key 0

	Policies []AreaPolicy // of mappings, by address
}

func (*MM) tag() Tag { return TagMM }

func (m *MM) fields(c *coder) {
	c.u32(&m.ID)
	for _, a := range []*uint64{&m.StartCode, &m.EndCode, &m.StartData, &m.EndData, &m.StartBrk, &m.Brk,
		&m.StartStack, &m.ArgStart, &m.ArgEnd, &m.EnvStart, &m.EnvEnd} {
		c.u64(a)
	}
	c.bytes(&m.Auxv)
	c.u32(&m.Exe)
	c.flag(&m.THPDisable)
	c.u32(&m.Dumpable)
	n := c.count(len(m.VMAs), 44)
	if !c.writing && n > 0 {
		m.VMAs = make([]VMA, n)
	}
	for i := range m.VMAs {
		m.VMAs[i].fields(c)
	}
	c.bytes(&m.VDSO)
	c.u32(&m.Future)
	c.u32(&m.Pkeys)
	n = c.count(len(m.Policies), 16)
	if !c.writing && n > 0 {
		m.Policies = make([]AreaPolicy, n)
	}
	for i := range m.Policies {
		p := &m.Policies[i]
		c.u64(&p.Start)
		c.u32(&p.Policy.Mode)
		c.bytes(&p.Policy.Nodes)
	}
}

// VMAKind says what a mapping is backed by.
type VMAKind uint8

// Kinds of mappings.
const (
	Anon     VMAKind = iota // private anonymous memory
	FileVMA                 // a file, private or shared; File is its record
	ShmVMA                  // shared anonymous memory; File is its shm record
	VDSO                    // [vdso]
	VVAR                    // [vvar] and its kin: data of the vdso, made by the kernel
	Vsyscall                // [vsyscall]: the same in every process, nothing to restore
)

// Advice bits of a VMA: what madvise(2), mlock(2) and their kin have set, as
// /proc/PID/smaps shows them in VmFlags.
const (
	VMALocked      uint32 = 1 << iota // lo
	VMAGrowsDown                      // gd
	VMADontFork                       // dc
	VMADontDump                       // dd
	VMAHugePage                       // hg
	VMANoHugePage                     // nh
	VMAMergeable                      // mg
	VMAWipeOnFork                     // wf
	VMASequential                     // sr
	VMARandom                         // rr
	VMANoReserve                      // nr
	VMAHugeTLB                        // ht
	VMAMayShare                       // ms: MAP_SHARED
	VMALockOnFault                    // lf

	vmaUnknown // the lowest bit without a meaning
)

// hugeShift is where the flags of a mapping with VMAHugeTLB have the size of its
// pages, as the exponent of 2: where those of mmap(2) have it (MAP_HUGE_SHIFT).
const hugeShift = 26

// HugePages are the flags of a mapping of huge pages of a size in bytes, a power
// of two.
func HugePages(size uint64) uint32 {
	return VMAHugeTLB | uint32(bits.TrailingZeros64(size))<<hugeShift
}

// HugePage is the size of the huge pages of a mapping in bytes; 0 if it has
// none.
func (v *VMA) HugePage() uint64 {
	if v.Flags&VMAHugeTLB == 0 {
		return 0
	}
	return 1 << (v.Flags >> hugeShift)
}

// VMA is one mapping: a line of /proc/PID/maps.
type VMA struct {
	Start, End uint64
	Prot       uint32 // PROT_*
	Kind       VMAKind
	Flags      uint32 // VMALocked...
	Offset     uint64 // into the file, in bytes
	File       uint32
	Pkey       uint32
	Name       string // as maps shows it
}

func (v *VMA) fields(c *coder) {
	c.u64(&v.Start)
	c.u64(&v.End)
	c.u32(&v.Prot)
	c.u8((*uint8)(&v.Kind))
	c.u32(&v.Flags)
	c.u64(&v.Offset)
	c.u32(&v.File)
	c.u32(&v.Pkey)
	c.str(&v.Name)
}

// FS is the file system state that clone(CLONE_FS) shares.
type FS struct {
	ID        uint32
	Cwd, Root string
	Umask     uint32
}

func (*FS) tag() Tag { return TagFS }

func (f *FS) fields(c *coder) {
	c.u32(&f.ID)
	c.str(&f.Cwd)
	c.str(&f.Root)
	c.u32(&f.Umask)
}

// Sighand is a table of signal actions. Actions[i] is that of signal i+1.
type Sighand struct {
	ID      uint32
	Actions []Action
}

// Action is a signal action (sigaction(2)), as the kernel has it.
type Action struct {
	Handler, Flags, Restorer, Mask uint64
}

func (*Sighand) tag() Tag { return TagSighand }

func (s *Sighand) fields(c *coder) {
	c.u32(&s.ID)
	n := c.count(len(s.Actions), 32)
	if !c.writing && n > 0 {
		s.Actions = make([]Action, n)
	}
	for i := range s.Actions {
		a := &s.Actions[i]
		c.u64(&a.Handler)
		c.u64(&a.Flags)
		c.u64(&a.Restorer)
		c.u64(&a.Mask)
	}
}

// Files is a table of descriptors.
type Files struct {
	ID    uint32
	FDs   []FD
	Locks []Lock // POSIX locks, which belong to the process
}

// FD is one descriptor: its number and the open file it refers to.
type FD struct {
	Number  uint32
	File    uint32
	CloExec bool
}

func (*Files) tag() Tag { return TagFiles }

func (f *Files) fields(c *coder) {
	c.u32(&f.ID)
	n := c.count(len(f.FDs), 9)
	if !c.writing && n > 0 {
		f.FDs = make([]FD, n)
	}
	for i := range f.FDs {
		c.u32(&f.FDs[i].Number)
		c.u32(&f.FDs[i].File)
		c.flag(&f.FDs[i].CloExec)
	}
	c.locks(&f.Locks)
}

// FileKind says what an open file is.
type FileKind uint8

// Kinds of open files.
const (
	Regular FileKind = iota
	Directory
	CharDevice // Rdev says which
	FIFO       // named
	PipeEnd    // Object is its pipe record
	TTY        // a terminal
	MemFD      // Object is its shm record
	PathOnly   // open with O_PATH, whatever it is
	EventFD
	TimerFD
	SignalFD
	EpollFD     // Object is its epoll record
	InotifyFD   // Object is its inotify record
	PidFD       // of process PID
	PtyMaster   // Object is its pty record
	PtyTerminal // the other side; Object is its pty record
	SocketFD    // Object is its socket record
	MQueue      // a POSIX message queue

	fileUnknown // the lowest kind without a meaning
)

// File is an open file (what the kernel calls a file: the object that a
// descriptor refers to), or a file that is mapped or executed.
type File struct {
	ID     uint32
	Kind   FileKind
	Path   string // as the root of its process sees it
	Flags  uint32 // open(2) flags, access mode included
	Pos    int64  // offset in bytes
	Mode   uint32 // st_mode
	Dev    uint64 // st_dev
	Ino    uint64
	Size   int64
	Mtime  int64 // nanoseconds
	Rdev   uint64
	Object uint32
	Owner  int32  // F_GETOWN_EX: pid, tid or process group; 0 for none
	Signal uint32 // F_GETSIG
	Data   []byte // for kinds to come
	Gone   bool   // the path is deleted; Object is a shm record with the contents
	Sum    uint32 // CRC-32C of the contents of a mapped file; 0 if it was not made

	OwnerType uint32 // F_OWNER_*: what Owner is
	Locks     []Lock // those of the open file
	Event     EventState
	Timer     TimerState
	Sigmask   uint64 // of a signalfd
	PID       uint32 // of a pidfd
}

func (*File) tag() Tag { return TagFile }

func (f *File) fields(c *coder) {
	c.u32(&f.ID)
	c.u8((*uint8)(&f.Kind))
	c.str(&f.Path)
	c.u32(&f.Flags)
	c.i64(&f.Pos)
	c.u32(&f.Mode)
	c.u64(&f.Dev)
	c.u64(&f.Ino)
	c.i64(&f.Size)
	c.i64(&f.Mtime)
	c.u64(&f.Rdev)
	c.u32(&f.Object)
	c.i32(&f.Owner)
	c.u32(&f.Signal)
	c.bytes(&f.Data)
	c.flag(&f.Gone)
	c.u32(&f.Sum)
	c.u32(&f.OwnerType)
	c.locks(&f.Locks)
	c.u64(&f.Event.Count)
	c.flag(&f.Event.Semaphore)
	f.Timer.fields(c)
	c.u64(&f.Sigmask)
	c.u32(&f.PID)
}

// Pipe is a pipe: what its two ends share.
type Pipe struct {
	ID       uint32
	Capacity uint32 // F_GETPIPE_SZ, bytes
	Data     []byte
	External bool // an end of it lies outside the tree
}

func (*Pipe) tag() Tag { return TagPipe }

func (p *Pipe) fields(c *coder) {
	c.u32(&p.ID)
	c.u32(&p.Capacity)
	c.bytes(&p.Data)
	c.flag(&p.External)
}

// Shm is memory that several address spaces can share: anonymous shared
// memory, a memfd, or a file whose name is gone. Its pages are addressed by
// offset.
type Shm struct {
	ID    uint32
	Size  uint64
	MemFD bool
	Name  string // of a memfd
	Seals uint32 // F_GET_SEALS
	Mode  uint32
	Path  string // of a file: the path that it had

	Segment Segment

	HugePage uint64 // size of its pages in bytes, if it is of huge pages: a memfd
}

func (*Shm) tag() Tag { return TagShm }

func (s *Shm) fields(c *coder) {
	c.u32(&s.ID)
	c.u64(&s.Size)
	c.flag(&s.MemFD)
	c.str(&s.Name)
	c.u32(&s.Seals)
	c.u32(&s.Mode)
	c.str(&s.Path)
	s.Segment.fields(c)
	c.u64(&s.HugePage)
}

// Run is a range of memory, page aligned: Addr is an address in an MM or an
// offset in a Shm, Len is in bytes.
type Run struct{ Addr, Len uint64 }

// Runs says which memory the pages record behind it holds, in order.
type runs struct {
	Owner uint32 // id of the MM or Shm
	Shm   bool
	List  []Run
}

func (*runs) tag() Tag { return TagRuns }

func (r *runs) fields(c *coder) {
	c.u32(&r.Owner)
	c.flag(&r.Shm)
	n := c.count(len(r.List), 16)
	if !c.writing && n > 0 {
		r.List = make([]Run, n)
	}
	for i := range r.List {
		c.u64(&r.List[i].Addr)
		c.u64(&r.List[i].Len)
	}
}

// memory ends the metadata.
type memory struct{ Pages uint64 } // how many bytes of pages follow, at most

func (*memory) tag() Tag          { return TagMemory }
func (m *memory) fields(c *coder) { c.u64(&m.Pages) }

// tail ends the image.
type tail struct {
	Records uint64 // how many records came before
	Sum     uint32 // CRC-32C over the first 28 bytes of their heads
}

func (*tail) tag() Tag { return TagTail }

func (t *tail) fields(c *coder) {
	c.u64(&t.Records)
	c.u32(&t.Sum)
}
