// Package imagetest makes images for tests: valid ones that hold every kind of
// record.
package imagetest

import (
	"bytes"
	"fmt"

	"cr/image"
	"cr/regset"
)

// ABIs are all that this project knows.
var ABIs = []regset.ABI{regset.I386, regset.X86_64, regset.PPC, regset.PPC64, regset.PPC64LE}

// PageSize is that of the images, in bytes.
const PageSize = 4096

// Identifiers in the images.
const (
	Root   = 100 // a process of two tasks
	Thread = 101
	Child  = 102 // a process of one task
	Dead   = 103 // a zombie child of the root
)

// Addresses in the images' address spaces.
const (
	Text  = 0x10000000
	Heap  = 0x10010000
	Shm   = 0x20000000
	Vdso  = 0x30000000
	Stack = 0x7ffe0000
)

// prstatus is the size of the general registers in bytes.
var prstatus = map[regset.ABI]int{
	regset.I386: 68, regset.X86_64: 216, regset.PPC: 192, regset.PPC64: 384, regset.PPC64LE: 384,
}

// prfpreg is the size of the floating point registers in bytes.
var prfpreg = map[regset.ABI]int{
	regset.I386: 108, regset.X86_64: 512, regset.PPC: 264, regset.PPC64: 264, regset.PPC64LE: 264,
}

// pattern is n bytes that differ from those of another seed.
func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)*7 + seed
	}
	return b
}

// Siginfo is a siginfo_t of a signal that kill(2) sent.
func Siginfo(abi regset.ABI, sig uint32) []byte {
	b := make([]byte, 128)
	abi.Order().PutUint32(b, sig)
	return b
}

// Image is an image with every kind of record but no page: a root with a
// thread, a child and a zombie.
func Image(abi regset.ABI) *image.Image {
	m := &image.Image{
		Header: image.Header{
			ABI: abi, Machine: abi.String(), Release: "6.12.95", PageSize: PageSize, ID: 7,
			Time: 1700000000e9, Mono: 5e9, Boottime: 6e9, Features: 1, HWCAP: 2, HWCAP2: 4,
			Creator: "cr test", Hostname: "box", Root: Root, Foreground: Root,
		},
		MMs: []*image.MM{mm(abi, 1), mm(abi, 2)},
		FSs: []*image.FS{{ID: 1, Cwd: "/tmp", Root: "/", Umask: 0o22}},
		Tables: []*image.Files{{ID: 1, FDs: []image.FD{
			{Number: 0, File: 2}, {Number: 1, File: 3, CloExec: true}, {Number: 5, File: 4}, {Number: 7, File: 5},
			{Number: 8, File: 6}, {Number: 9, File: 7}, {Number: 10, File: 8}, {Number: 11, File: 9}, {Number: 12, File: 10},
			{Number: 13, File: 11}, {Number: 14, File: 12}, {Number: 15, File: 13},
		}, Locks: []image.Lock{{Kind: image.POSIX, Type: 1, FD: 1, Start: 4, Len: 8}}}},
		Files: []*image.File{
			{ID: 1, Kind: image.Regular, Path: "/bin/job", Mode: 0o100755, Dev: 1, Ino: 10, Size: 9000, Mtime: 1e18},
			{ID: 2, Kind: image.CharDevice, Path: "/dev/null", Flags: 2, Mode: 0o20666, Rdev: 0x103},
			{ID: 3, Kind: image.Regular, Path: "/tmp/out", Flags: 1, Pos: 12, Mode: 0o100600, Dev: 1, Ino: 11, Size: 12, Mtime: 1e18,
				Locks: []image.Lock{{Kind: image.OFDLock, Type: 1, Len: 4}}},
			{ID: 4, Kind: image.PipeEnd, Path: "pipe:[77]", Mode: 0o10600, Object: 1},
			{ID: 5, Kind: image.MemFD, Path: "/memfd:scratch (deleted)", Flags: 2, Mode: 0o100600, Size: PageSize, Object: 2},
			{ID: 6, Kind: image.EventFD, Path: "anon_inode:[eventfd]", Flags: 2, Event: image.EventState{Count: 3}},
			{ID: 7, Kind: image.TimerFD, Path: "anon_inode:[timerfd]", Flags: 2, Timer: image.TimerState{Clock: 1, Interval: 1e9, Remaining: 1e8}},
			{ID: 8, Kind: image.SignalFD, Path: "anon_inode:[signalfd]", Flags: 2, Sigmask: 2},
			{ID: 9, Kind: image.PidFD, Path: "anon_inode:[pidfd]", Flags: 2, PID: Root},
			{ID: 10, Kind: image.SocketFD, Path: "socket:[5]", Flags: 2, Object: 1},
			{ID: 11, Kind: image.EpollFD, Path: "anon_inode:[eventpoll]", Flags: 2, Object: 1},
			{ID: 12, Kind: image.InotifyFD, Path: "anon_inode:inotify", Object: 1},
			{ID: 14, Kind: image.SocketFD, Path: "socket:[6]", Flags: 2, Object: 2},
			{ID: 13, Kind: image.PtyMaster, Path: "/dev/ptmx", Flags: 2, Mode: 0o20666, Object: 1},
		},
		Sockets: []*image.Socket{
			{ID: 1, Family: 1, Type: 1, State: image.Connected, Peer: 2, Messages: []image.Message{{Data: []byte("queued")}}},
			{ID: 2, Family: 1, Type: 1, State: image.Connected, Peer: 1},
		},
		Epolls:    []*image.Epoll{{ID: 1, Targets: []image.EpollTarget{{Number: 12, File: 10, Events: 1, Data: 12}}}},
		Inotifies: []*image.Inotify{{ID: 1, Watches: []image.Watch{{WD: 1, Mask: 2, Path: "/tmp"}, {WD: 4, Mask: 2, Path: "/"}}}},
		Ptys:      []*image.Pty{{ID: 1, Number: 3, CC: make([]byte, 19), Rows: 24, Cols: 80}},
		Pipes:     []*image.Pipe{{ID: 1, Capacity: 65536, Data: []byte("in flight")}},
		Shms: []*image.Shm{
			{ID: 1, Size: 4 * PageSize, Mode: 0o600},
			{ID: 2, Size: PageSize, MemFD: true, Name: "scratch", Seals: 1, Mode: 0o600},
			{ID: 3, Size: PageSize, Mode: 0o100600, Path: "/tmp/gone"},
			{ID: 4, Size: PageSize, Mode: 0o600, Segment: image.Segment{Is: true, Key: 77, Number: 3, UID: 1000}},
		},
		Seccomps: []*image.Seccomp{{ID: 1, Program: []byte{6, 0, 0, 0, 0, 0, 0xff, 0x7f}}},
		Queues: []*image.Queue{{ID: 1, IPC: image.IPC{Key: 78, Number: 32769, Mode: 0o600, UID: 1000, GID: 100, Changed: 1.7e9}, Limit: 16384,
			Messages: []image.QueueMessage{{Type: 3, Data: []byte("first")}, {Type: 1}}}},
		Semaphores: []*image.Semaphores{{ID: 1, IPC: image.IPC{Number: 2, Mode: 0o640, UID: 1000, GID: 100, Changed: 1.7e9}, Values: []uint32{0, 5}}},
		Namespaces: []*image.Namespaces{{Own: image.NewUTS | image.NewIPC | image.NewNet | image.NewUser | image.NewMount, LoopbackUp: true,
			UIDs: []image.IDRange{{Inside: 0, Outside: 1000, Count: 1}}, GIDs: []image.IDRange{{Inside: 0, Outside: 100, Count: 1}},
			Mounts:   []image.Mount{{Type: "tmpfs", Source: "none", Target: "/mnt", Options: "rw,nosuid,relatime", Super: "rw,size=64k,mode=700,inode64"}},
			Hostname: "inside", Domainname: "(none)",
			Sysctls: []image.Sysctl{{Name: "kernel/msgmax", Value: "8192"}, {Name: "kernel/sem", Value: "32000 1024000000 500 32000"}},
			MQueues: []image.MQueueName{{Name: "jobs", Mode: 0o600, UID: 1000, GID: 100, MaxMessages: 10, MessageSize: 8192}}}},
		Shares: []*image.Shares{{MM: 2, List: []image.Share{{From: 1, Addr: Heap + 3*PageSize, Len: PageSize}}}},
		Bytes:  1 << 20,
	}
	for i := uint32(1); i <= 2; i++ {
		m.Sighands = append(m.Sighands, &image.Sighand{ID: i, Actions: make([]image.Action, 64)})
	}
	m.Sighands[0].Actions[1] = image.Action{Handler: Text, Flags: 0x14000000, Restorer: Text + 16, Mask: 2}
	m.Processes = []*image.Process{
		process(Root, 1, 1), process(Child, Root, 2),
		{PID: Dead, PPID: Root, PGID: Root, SID: Root, State: image.Zombie, ExitStatus: 0x300, ExitSignal: 17, Comm: "dead"},
	}
	m.Processes[0].Timers = []image.Timer{{ID: 0, Notify: 4, Signal: 34, Value: 9, TID: Thread, Interval: 1e9, Remaining: 5e8}}
	m.Processes[0].Pending = [][]byte{Siginfo(abi, 10)}
	for i, t := range [][2]uint32{{Root, Root}, {Thread, Root}, {Child, Child}} {
		m.Tasks = append(m.Tasks, task(t[0], t[1]))
		m.CPUs = append(m.CPUs, &image.CPU{TID: t[0], State: regset.State{ABI: abi, Used: 1, Sets: []regset.Set{
			{Note: regset.PRSTATUS, Data: pattern(prstatus[abi], byte(i))},
			{Note: regset.PRFPREG, Data: pattern(prfpreg[abi], byte(i)+100)},
		}}})
	}
	m.Tasks[1].Comm = "worker"
	m.Tasks[1].Filters = []uint32{1, 1}
	m.Tasks[1].Settings = []image.Setting{{Option: 33, Value: 1}}
	m.Tasks[1].Dispatch = image.Dispatch{Mode: 1, Selector: Heap}
	m.Tasks[1].MemPolicy = image.MemPolicy{Mode: 3, Nodes: []byte{1}}
	m.Tasks[1].Pending = [][]byte{Siginfo(abi, 12), Siginfo(abi, 34)}
	m.Header.Tasks = uint32(len(m.Tasks))
	return m
}

func process(pid, parent, object uint32) *image.Process {
	p := &image.Process{
		PID: pid, PPID: parent, PGID: Root, SID: Root, ExitSignal: 17, Comm: fmt.Sprint("job-", pid),
		MM: object, Files: 1, FS: 1, Sighand: object, Dumpable: 1, Limits: make([]image.Limit, 16),
	}
	for i := range p.Limits {
		p.Limits[i] = image.Limit{Cur: 1 << 20, Max: ^uint64(0)}
	}
	return p
}

func task(tid, pid uint32) *image.Task {
	return &image.Task{
		TID: tid, PID: pid, Comm: fmt.Sprint("job-", pid), Sigmask: 4,
		Creds: image.Creds{
			UID: 1000, EUID: 1000, SUID: 1000, FSUID: 1000, GID: 100, EGID: 100, SGID: 100, FSGID: 100,
			Groups: []uint32{4, 24},
		},
		Sched: image.Sched{Affinity: []byte{3, 0, 0, 0}}, TimerSlack: 50000,
	}
}

func mm(abi regset.ABI, id uint32) *image.MM {
	m := &image.MM{
		ID: id, StartCode: Text, EndCode: Text + 0x1800, StartData: Heap, EndData: Heap + 0x100,
		StartBrk: Heap, Brk: Heap + 0x3800, StartStack: Stack + 0x800, ArgStart: Stack + 0x900, ArgEnd: Stack + 0x910,
		EnvStart: Stack + 0x910, EnvEnd: Stack + 0x920, Exe: 1, Dumpable: 1,
		Auxv: make([]byte, 4*abi.WordSize()), VDSO: Page(77),
		Policies: []image.AreaPolicy{{Start: Heap, Policy: image.MemPolicy{Mode: 2, Nodes: []byte{1}}}},
		VMAs: []image.VMA{
			{Start: Text, End: Text + 0x2000, Prot: 5, Kind: image.FileVMA, File: 1, Name: "/bin/job"},
			{Start: Heap, End: Heap + 0x4000, Prot: 3, Kind: image.Anon, Name: "[heap]"},
			{Start: Shm, End: Shm + 0x4000, Prot: 3, Kind: image.ShmVMA, File: 1, Flags: image.VMAMayShare, Name: "/dev/zero (deleted)"},
			{Start: Vdso - 0x4000, End: Vdso, Prot: 1, Kind: image.VVAR, Name: "[vvar]"},
			{Start: Vdso, End: Vdso + 0x1000, Prot: 5, Kind: image.VDSO, Name: "[vdso]"},
			{Start: Stack, End: Stack + 0x2000, Prot: 3, Kind: image.Anon, Flags: image.VMAGrowsDown, Name: "[stack]"},
		},
	}
	// One entry, AT_PAGESZ, before the AT_NULL at the end.
	word := func(i int, v uint64) {
		if abi.WordSize() == 8 {
			abi.Order().PutUint64(m.Auxv[8*i:], v)
		} else {
			abi.Order().PutUint32(m.Auxv[4*i:], uint32(v))
		}
	}
	word(0, 6)
	word(1, PageSize)
	return m
}

// Page is the contents of one page of memory.
func Page(seed byte) []byte { return pattern(PageSize, seed) }

// Bytes is an image as a stream, with a few pages of each address space and of
// the shared memory: two of the heap, one of the stack, one of shared memory.
func Bytes(m *image.Image) []byte {
	var b bytes.Buffer
	w, err := image.NewWriter(&b, m)
	for i, a := range m.MMs {
		if err == nil {
			s := byte(10 * i)
			data := append(append(Page(s), Page(s+1)...), Page(s+2)...)
			err = w.Pages(a.ID, false, []image.Run{{Addr: Heap, Len: 2 * PageSize}, {Addr: Stack + PageSize, Len: PageSize}}, data)
		}
	}
	if err == nil && len(m.Shms) > 0 {
		err = w.Pages(m.Shms[0].ID, true, []image.Run{{Addr: PageSize, Len: PageSize}}, Page(99))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err)
	}
	return b.Bytes()
}

// Shared is an image as a stream, of two address spaces: the first has pages 0 to
// 3 of the heap, the second the same but for the second, and both the first page
// of the program.
func Shared(abi regset.ABI) []byte {
	m := Image(abi)
	m.Shares[0].List = []image.Share{{From: 1, Addr: Text, Len: PageSize}, {From: 1, Addr: Heap, Len: PageSize},
		{From: 1, Addr: Heap + 2*PageSize, Len: 2 * PageSize}}
	var b bytes.Buffer
	w, err := image.NewWriter(&b, m)
	for _, p := range []struct {
		owner uint32
		runs  []image.Run
		data  [][]byte
	}{
		{1, []image.Run{{Addr: Text, Len: PageSize}, {Addr: Heap, Len: PageSize}, {Addr: Heap + 2*PageSize, Len: 2 * PageSize}},
			[][]byte{Page(9), Page(0), Page(2), Page(3)}},
		{1, []image.Run{{Addr: Heap + PageSize, Len: PageSize}}, [][]byte{Page(1)}},
		{2, []image.Run{{Addr: Heap + PageSize, Len: PageSize}}, [][]byte{Page(11)}},
	} {
		if err == nil {
			err = w.Pages(p.owner, false, p.runs, bytes.Join(p.data, nil))
		}
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err)
	}
	return b.Bytes()
}
