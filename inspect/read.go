package inspect

import (
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"cr/cpu"
	"cr/image"
	"cr/regset"
)

// Options say what a Report shall have beyond the summary.
type Options struct {
	Regs, Maps bool
	Places     bool   // which parts of mappings are saved, for Report.HTML
	PID        uint32 // leave all other processes out; 0 for none

	// HexLen bytes from HexAddr, of the process PID or the root.
	HexAddr, HexLen uint64
}

// Read reads an image to its end and tells what it holds. It fails with the
// errors of image.Read; the report is not valid then.
func Read(r io.Reader, o Options) (*Report, error) {
	in := &counter{r: r}
	m, rd, err := image.Read(in)
	if err != nil {
		return nil, err
	}
	pid := o.PID
	if pid == 0 {
		pid = m.Header.Root
	}
	p := m.Process(pid)
	if p == nil {
		return nil, fmt.Errorf("there is no process %d in the image", pid)
	}
	rep := &Report{Version: Version}
	if o.HexLen > 0 {
		if rep.hex, err = newDump(m, p, o.HexAddr, o.HexLen); err != nil {
			return nil, err
		}
	}
	s := newSaved(m)
	if o.Places {
		s.places = newPlaces(m)
	}
	err = rd.Each(func(piece *image.Pages) error {
		s.add(piece)
		if rep.hex != nil {
			rep.hex.add(piece)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.order()
	b := &builder{m: m, o: o, saved: s}
	rep.Image = b.image(in.n)
	rep.SharedMemory = b.shared()
	rep.Pipes = b.pipes()
	rep.Sockets = b.sockets()
	rep.Objects = b.objects()
	rep.Namespaces = b.namespaces()
	rep.Processes = b.processes()
	return rep, nil
}

// counter counts the bytes of a stream.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// builder makes the parts of a report.
type builder struct {
	m     *image.Image
	o     Options
	saved *saved
}

func (b *builder) image(size int64) Image {
	h := &b.m.Header
	return Image{
		ID: h.ID, ABI: h.ABI.String(), Release: h.Release, Hostname: h.Hostname, Creator: h.Creator,
		Time: time.Unix(0, h.Time).UTC(), PageSize: h.PageSize, Features: features(h.ABI, h.Features),
		Root: h.Root, Processes: len(b.m.Processes), Tasks: len(b.m.Tasks), Size: size, Saved: b.saved.total,
	}
}

func features(abi regset.ABI, m regset.Mask) []string {
	return append([]string{}, regset.Names(cpu.For(abi), m)...)
}

func (b *builder) shared() []Shared {
	list := []Shared{}
	for _, s := range b.m.Shms {
		one := Shared{ID: s.ID, Size: s.Size, Saved: b.saved.shm[s.ID], MemFD: s.Name, Path: s.Path}
		if s.Segment.Is {
			number := s.Segment.Number
			one.Segment = &number
		}
		list = append(list, one)
	}
	return list
}

func (b *builder) pipes() []Pipe {
	list := []Pipe{}
	for _, p := range b.m.Pipes {
		list = append(list, Pipe{p.ID, p.Capacity, len(p.Data), p.External})
	}
	return list
}

// processes walks the tree from its root.
func (b *builder) processes() []Process {
	children := make(map[uint32][]*image.Process)
	for _, p := range b.m.Processes {
		if p.PID != b.m.Header.Root {
			children[p.PPID] = append(children[p.PPID], p)
		}
	}
	tasks := make(map[uint32][]*image.Task)
	for _, t := range b.m.Tasks {
		tasks[t.PID] = append(tasks[t.PID], t)
	}
	list := []Process{}
	for todo := []*image.Process{b.m.Process(b.m.Header.Root)}; len(todo) > 0; {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		c := children[p.PID]
		sort.Slice(c, func(i, j int) bool { return c[i].PID > c[j].PID })
		todo = append(todo, c...)
		if b.o.PID == 0 || b.o.PID == p.PID {
			list = append(list, b.process(p, tasks[p.PID]))
		}
	}
	return list
}

var states = []string{image.Running: "running", image.Stopped: "stopped", image.Zombie: "zombie"}

func (b *builder) process(p *image.Process, tasks []*image.Task) Process {
	r := Process{
		PID: p.PID, PPID: p.PPID, PGID: p.PGID, SID: p.SID, State: states[p.State], ExitStatus: p.ExitStatus,
		Comm: p.Comm, MM: p.MM, Files: p.Files, Tasks: []Task{}, Memory: []Memory{}, Maps: []Map{}, Descriptors: []Descriptor{},
	}
	if p.State == image.Zombie {
		return r
	}
	mm, fs, table := b.m.MM(p.MM), b.m.FS(p.FS), b.m.Table(p.Files)
	if f := b.m.File(mm.Exe); f != nil {
		r.Exe = f.Path
	}
	r.Cwd, r.Root = fs.Cwd, fs.Root
	sort.Slice(tasks, func(i, j int) bool {
		a, z := tasks[i], tasks[j]
		return a.TID == p.PID && z.TID != p.PID || z.TID != p.PID && a.TID < z.TID
	})
	r.UID, r.GID = tasks[0].Creds.UID, tasks[0].Creds.GID
	for _, t := range tasks {
		r.Tasks = append(r.Tasks, b.task(t))
	}
	r.Memory, r.Shared = b.memory(mm), b.saved.again[mm.ID]
	if b.o.Maps {
		for i := range mm.VMAs {
			r.Maps = append(r.Maps, b.mapping(mm, i))
		}
	}
	r.Descriptors = b.table(table)
	return r
}

// table lists the descriptors of a table, lowest first.
func (b *builder) table(t *image.Files) []Descriptor {
	list := []Descriptor{}
	for _, fd := range t.FDs {
		list = append(list, b.descriptor(fd))
	}
	sort.Slice(list, func(i, j int) bool { return list[i].FD < list[j].FD })
	return list
}

func (b *builder) task(t *image.Task) Task {
	s := &b.m.CPUOf(t.TID).State
	r := Task{TID: t.TID, Comm: t.Comm, ABI: s.ABI.String(), Features: features(s.ABI, s.Used), Sets: []Set{}}
	sets := Sets(s)
	for _, set := range sets {
		if regset.Note(set.Note) == regset.PRSTATUS && len(set.Regs) > 0 {
			a, regs := cpu.For(s.ABI), s.Find(regset.PRSTATUS)
			r.PC, r.SP = fmt.Sprintf("%#x", a.PC(s.ABI, regs)), fmt.Sprintf("%#x", a.SP(s.ABI, regs))
		}
	}
	if b.o.Regs {
		r.Sets = sets
	}
	if t.FS != 0 {
		fs := b.m.FS(t.FS)
		r.Cwd, r.Root = fs.Cwd, fs.Root
	}
	if t.Files != 0 {
		r.Descriptors = b.table(b.m.Table(t.Files))
	}
	return r
}

// Sets lists the register sets of a state with their registers by name.
func Sets(s *regset.State) []Set {
	known := make(map[regset.Note]regset.Desc)
	for _, d := range cpu.For(s.ABI).Table(s.ABI) {
		known[d.Note] = d
	}
	list := []Set{}
	for _, set := range s.Sets {
		r := Set{Note: uint32(set.Note), Name: fmt.Sprintf("note %#x", uint32(set.Note)), Bytes: len(set.Data), Regs: []Register{}}
		if d, ok := known[set.Note]; ok {
			r.Name = d.Name
			for _, reg := range d.Regs(s.ABI, set.Data) {
				r.Regs = append(r.Regs, Register{reg.Name, fmt.Sprintf("%x", reg.Value)})
			}
		}
		list = append(list, r)
	}
	return list
}

// kinds names what mappings are.
var kinds = []string{
	image.Anon: "anonymous", image.FileVMA: "file", image.ShmVMA: "shared memory",
	image.VDSO: "vdso", image.VVAR: "vdso data", image.Vsyscall: "vsyscall",
}

// kind is that of a mapping, with files told apart.
func kind(v *image.VMA) string {
	switch {
	case v.Kind == image.FileVMA && v.Flags&image.VMAMayShare != 0:
		return "shared file"
	case v.Kind == image.FileVMA:
		return "private file"
	}
	return kinds[v.Kind]
}

func (b *builder) memory(mm *image.MM) []Memory {
	list := []Memory{}
	at := make(map[string]int)
	for i := range mm.VMAs {
		v := &mm.VMAs[i]
		k := kind(v)
		if _, ok := at[k]; !ok {
			at[k] = len(list)
			list = append(list, Memory{Kind: k})
		}
		m := &list[at[k]]
		m.Mappings++
		m.Mapped += v.End - v.Start
		m.Saved += b.saved.of(mm, i)
	}
	return list
}

// vmFlags are the names of the flags of mappings, lowest bit first.
var vmFlags = []string{"lo", "gd", "dc", "dd", "hg", "nh", "mg", "wf", "sr", "rr", "nr", "ht", "ms", "lf"}

func (b *builder) mapping(mm *image.MM, i int) Map {
	v := &mm.VMAs[i]
	var flags []string
	for bit, name := range vmFlags {
		if v.Flags>>uint(bit)&1 != 0 {
			flags = append(flags, name)
		}
	}
	r := Map{
		Start: fmt.Sprintf("%#x", v.Start), End: fmt.Sprintf("%#x", v.End), Perms: perms(v), Kind: kind(v),
		Offset: v.Offset, Size: v.End - v.Start, Saved: b.saved.of(mm, i), Flags: strings.Join(flags, " "), Name: v.Name,
	}
	if b.saved.places != nil {
		r.start = v.Start
		r.source, r.held = b.saved.places.of(mm, v)
	}
	return r
}

// perms is the second column of /proc/PID/maps.
func perms(v *image.VMA) string {
	p := []byte("---p")
	for i, c := range []byte("rwx") {
		if v.Prot>>uint(i)&1 != 0 {
			p[i] = c
		}
	}
	if v.Flags&image.VMAMayShare != 0 {
		p[3] = 's'
	}
	return string(p)
}

var fileKinds = []string{
	image.Regular: "file", image.Directory: "directory", image.CharDevice: "device", image.FIFO: "fifo",
	image.PipeEnd: "pipe", image.TTY: "terminal", image.MemFD: "memfd",
	image.PathOnly: "path", image.EventFD: "eventfd", image.TimerFD: "timerfd", image.SignalFD: "signalfd",
	image.EpollFD: "epoll", image.InotifyFD: "inotify", image.PidFD: "pidfd", image.PtyMaster: "pty master",
	image.PtyTerminal: "terminal", image.SocketFD: "socket", image.MQueue: "mqueue",
}

func (b *builder) descriptor(fd image.FD) Descriptor {
	f := b.m.File(fd.File)
	return Descriptor{
		FD: fd.Number, File: f.ID, Kind: fileKinds[f.Kind], Access: access(f.Flags), Path: f.Path, Pos: f.Pos,
		CloExec: fd.CloExec, Object: f.Object,
	}
}

// access reads the access mode of open(2)'s flags, which is the same on all
// architectures.
func access(flags uint32) string { return []string{"r", "w", "rw", "-"}[flags&3] }
