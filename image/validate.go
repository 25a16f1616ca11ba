package image

import (
	"fmt"
	"strings"

	"cr/regset"
)

// Bounds that the kernel has too.
const (
	maxPID     = 4 << 20 // PID_MAX_LIMIT
	maxFD      = 1 << 20 // the default of fs.nr_open
	maxSignal  = 64      // _NSIG
	numLimits  = 16      // RLIM_NLIMITS
	maxComm    = 15      // TASK_COMM_LEN without its NUL
	maxGroups  = 65536   // NGROUPS_MAX
	sizeofInfo = 128     // SI_MAX_SIZE
)

// invalid is the error for a record that breaks a rule.
func invalid(t Tag, id uint32, format string, args ...any) error {
	return fmt.Errorf("%w: %s %d: %s", ErrInvalid, t, id, fmt.Sprintf(format, args...))
}

// Validate checks that the metadata holds together: every reference leads
// somewhere, nothing is there twice, ranges are ranges. docs/format.md lists
// the rules. Its errors name the record and wrap ErrInvalid.
//
// Whether a machine can take the registers, and whether a caller may have what
// the image asks for, is for others to check.
func (m *Image) Validate() error {
	m.index, m.sharing = [lastIndexed + 1]index{}, nil
	v := &validator{m: m, word: make(map[uint32]int)}
	for _, check := range []func() error{
		v.header, v.unique, v.tasks, v.cpus, v.processes, v.tree, v.mms, v.shares, v.objects, v.state, v.namespaces,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// validator is the state of one Validate.
type validator struct {
	m    *Image
	word map[uint32]int // word size of each MM's tasks

	sockets map[uint32]bool // those that are an open file
}

func (v *validator) header() error {
	h := &v.m.Header
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: header: %s", ErrInvalid, fmt.Sprintf(format, args...))
	}
	switch {
	case !h.ABI.Known():
		return bad("unknown ABI: %v", h.ABI)
	case h.PageSize < minPage || h.PageSize > 256<<10 || h.PageSize&(h.PageSize-1) != 0:
		return bad("page size %d", h.PageSize)
	case uint64(h.Tasks) != uint64(len(v.m.Tasks)):
		return bad("it counts %d tasks, there are %d", h.Tasks, len(v.m.Tasks))
	case hasNUL(h.Machine, h.Release, h.Creator, h.Hostname):
		return bad("a string holds a NUL")
	}
	return nil
}

// unique checks the identifiers of all records.
func (v *validator) unique() error {
	for t := TagProcess; t <= lastIndexed; t++ {
		n, idOf := v.m.ids(t)
		for i := 0; i < n; i++ {
			id := idOf(i)
			switch t {
			case TagProcess, TagTask, TagCPU:
				if id < 1 || id > maxPID {
					return invalid(t, id, "identifier out of range")
				}
			default:
				if id == 0 {
					return invalid(t, id, "identifier is 0")
				}
			}
			if v.m.find(t, id) != i {
				return invalid(t, id, "there are two of it")
			}
		}
	}
	return nil
}

// refer checks a reference to a record.
func (v *validator) refer(from Tag, id uint32, to Tag, ref uint32) error {
	if v.m.find(to, ref) < 0 {
		return invalid(from, id, "%s %d is missing", to, ref)
	}
	return nil
}

func (v *validator) tasks() error {
	for _, t := range v.m.Tasks {
		p := v.m.Process(t.PID)
		switch {
		case p == nil:
			return invalid(TagTask, t.TID, "process %d is missing", t.PID)
		case p.State == Zombie:
			return invalid(TagTask, t.TID, "process %d is a zombie", t.PID)
		case t.TID != t.PID && v.m.Process(t.TID) != nil:
			return invalid(TagTask, t.TID, "a process has the same identifier")
		case v.m.CPUOf(t.TID) == nil:
			return invalid(TagTask, t.TID, "its cpu record is missing")
		case hasNUL(t.Comm) || len(t.Comm) > maxComm:
			return invalid(TagTask, t.TID, "comm %q", t.Comm)
		case t.PDeathSig > maxSignal:
			return invalid(TagTask, t.TID, "parent death signal %d", t.PDeathSig)
		case t.Sched.Nice < -20 || t.Sched.Nice > 19:
			return invalid(TagTask, t.TID, "nice %d", t.Sched.Nice)
		case t.Sched.Priority > 99:
			return invalid(TagTask, t.TID, "priority %d", t.Sched.Priority)
		}
		if err := t.Creds.validate(t.TID); err != nil {
			return err
		}
		if err := v.pending(TagTask, t.TID, t.Pending); err != nil {
			return err
		}
	}
	return nil
}

// validate refuses ids of -1, which setresuid(2) and its kin take for "leave as
// it is": such an image would leave its reader's authority to the task.
func (p *Creds) validate(tid uint32) error {
	for _, id := range []uint32{p.UID, p.EUID, p.SUID, p.FSUID, p.GID, p.EGID, p.SGID, p.FSGID} {
		if id == ^uint32(0) {
			return invalid(TagTask, tid, "user or group id is -1")
		}
	}
	if len(p.Groups) > maxGroups {
		return invalid(TagTask, tid, "%d groups", len(p.Groups))
	}
	for _, id := range p.Groups {
		if id == ^uint32(0) {
			return invalid(TagTask, tid, "supplementary group is -1")
		}
	}
	return nil
}

// pending checks the siginfo of pending signals.
func (v *validator) pending(t Tag, id uint32, list [][]byte) error {
	for _, b := range list {
		if len(b) != sizeofInfo {
			return invalid(t, id, "siginfo of %d bytes", len(b))
		}
		if sig := v.m.Header.ABI.Order().Uint32(b); sig < 1 || sig > maxSignal {
			return invalid(t, id, "pending signal %d", sig)
		}
	}
	return nil
}

func (v *validator) cpus() error {
	h := v.m.Header.ABI
	for _, c := range v.m.CPUs {
		a := c.State.ABI
		if err := v.refer(TagCPU, c.TID, TagTask, c.TID); err != nil {
			return err
		}
		if !a.Known() || a.IsPPC() != h.IsPPC() || a.BigEndian != h.BigEndian || a.WordSize() > h.WordSize() {
			return invalid(TagCPU, c.TID, "a task of %v on a kernel of %v", a, h)
		}
		if !v.m.Header.Features.Has(c.State.Used) {
			return invalid(TagCPU, c.TID, "the header lacks features %#x", uint64(c.State.Used&^v.m.Header.Features))
		}
		seen := make(map[regset.Note]bool, len(c.State.Sets))
		for _, s := range c.State.Sets {
			if seen[s.Note] {
				return invalid(TagCPU, c.TID, "register set %#x is there twice", uint32(s.Note))
			}
			seen[s.Note] = true
		}
		if !seen[regset.PRSTATUS] {
			return invalid(TagCPU, c.TID, "the general registers are missing")
		}
		mm := v.m.Process(v.m.Task(c.TID).PID).MM
		if w := a.WordSize(); w > v.word[mm] {
			v.word[mm] = w
		}
	}
	return nil
}

func (v *validator) processes() error {
	leaders := make(map[uint32]uint32) // Sighand to MM
	for _, p := range v.m.Processes {
		if err := v.process(p); err != nil {
			return err
		}
		if p.State == Zombie {
			continue
		}
		if mm, ok := leaders[p.Sighand]; ok && mm != p.MM {
			return invalid(TagProcess, p.PID, "it shares sighand %d, but not memory", p.Sighand)
		}
		leaders[p.Sighand] = p.MM
	}
	return nil
}

func (v *validator) process(p *Process) error {
	bad := func(format string, args ...any) error { return invalid(TagProcess, p.PID, format, args...) }
	switch {
	case p.State > Zombie:
		return bad("state %d", p.State)
	case p.PPID > maxPID || p.PGID > maxPID || p.SID > maxPID:
		return bad("parent, group or session out of range")
	case v.isThread(p.PGID) || v.isThread(p.SID):
		return bad("group %d or session %d is a thread", p.PGID, p.SID)
	case p.ExitSignal > maxSignal:
		return bad("exit signal %d", p.ExitSignal)
	case hasNUL(p.Comm) || len(p.Comm) > maxComm:
		return bad("comm %q", p.Comm)
	case p.Dumpable > 2:
		return bad("dumpable is %d", p.Dumpable)
	case p.OOMScoreAdj < -1000 || p.OOMScoreAdj > 1000:
		return bad("oom_score_adj is %d", p.OOMScoreAdj)
	}
	if p.State == Zombie {
		if p.MM != 0 || p.Files != 0 || p.FS != 0 || p.Sighand != 0 {
			return bad("a zombie has memory, files or signal actions")
		}
		return nil
	}
	if v.m.find(TagTask, p.PID) < 0 {
		return bad("the task of its leader is missing")
	}
	for _, ref := range []struct {
		to Tag
		id uint32
	}{{TagMM, p.MM}, {TagFiles, p.Files}, {TagFS, p.FS}, {TagSighand, p.Sighand}} {
		if err := v.refer(TagProcess, p.PID, ref.to, ref.id); err != nil {
			return err
		}
	}
	if len(p.Limits) != numLimits {
		return bad("%d resource limits", len(p.Limits))
	}
	for i, l := range p.Limits {
		if l.Cur > l.Max {
			return bad("resource limit %d is above its maximum", i)
		}
	}
	for i, t := range p.Itimers {
		if t.Interval < 0 || t.Value < 0 {
			return bad("interval timer %d is negative", i)
		}
	}
	if err := v.timers(p); err != nil {
		return err
	}
	return v.pending(TagProcess, p.PID, p.Pending)
}

// isThread reports whether an identifier is that of a task that leads no
// process: no group or session can have it.
func (v *validator) isThread(id uint32) bool {
	t := v.m.Task(id)
	return t != nil && t.TID != t.PID
}

// How a POSIX timer notifies (sigevent(7)).
const (
	sigevNone     = 1
	sigevThread   = 2
	sigevThreadID = 4
)

func (v *validator) timers(p *Process) error {
	seen := make(map[uint32]bool, len(p.Timers))
	for _, t := range p.Timers {
		bad := func(format string, args ...any) error {
			return invalid(TagProcess, p.PID, "timer %d: %s", t.ID, fmt.Sprintf(format, args...))
		}
		switch {
		case seen[t.ID]:
			return bad("there are two of it")
		case t.Notify > sigevThreadID || t.Notify == sigevNone|sigevThread:
			return bad("notification %d", t.Notify)
		case t.Signal > maxSignal:
			return bad("signal %d", t.Signal)
		case t.Interval < 0 || t.Remaining < 0:
			return bad("its time is negative")
		}
		if t.Notify == sigevThreadID {
			if task := v.m.Task(t.TID); task == nil || task.PID != p.PID {
				return bad("task %d is none of its process", t.TID)
			}
		}
		seen[t.ID] = true
	}
	return nil
}

// tree checks that the processes are one tree, from the header's root down.
func (v *validator) tree() error {
	if group := v.m.Header.Foreground; group != 0 {
		found := false
		for _, p := range v.m.Processes {
			found = found || p.PGID == group
		}
		if !found {
			return fmt.Errorf("%w: header: no process is in group %d of the foreground", ErrInvalid, group)
		}
	}
	root := v.m.Process(v.m.Header.Root)
	if root == nil {
		return fmt.Errorf("%w: header: root process %d is missing", ErrInvalid, v.m.Header.Root)
	}
	if root.State == Zombie {
		return invalid(TagProcess, root.PID, "the root is a zombie")
	}
	if v.m.Process(root.PPID) != nil {
		return invalid(TagProcess, root.PID, "parent %d of the root is in the image", root.PPID)
	}
	children := make(map[uint32][]uint32, len(v.m.Processes))
	for _, p := range v.m.Processes {
		if p == root {
			continue
		}
		parent := v.m.Process(p.PPID)
		if parent == nil {
			return invalid(TagProcess, p.PID, "parent %d is missing", p.PPID)
		}
		if parent.State == Zombie {
			return invalid(TagProcess, p.PID, "parent %d is a zombie", p.PPID)
		}
		children[p.PPID] = append(children[p.PPID], p.PID)
	}
	reached := make(map[uint32]bool, len(v.m.Processes))
	for todo := []uint32{root.PID}; len(todo) > 0; {
		pid := todo[len(todo)-1]
		todo = append(todo[:len(todo)-1], children[pid]...)
		reached[pid] = true
	}
	for _, p := range v.m.Processes {
		if !reached[p.PID] {
			return invalid(TagProcess, p.PID, "it is its own ancestor, or a descendant of one that is")
		}
	}
	return nil
}

// objects checks what processes and mappings refer to.
func (v *validator) objects() error {
	for _, f := range v.m.FSs {
		if hasNUL(f.Cwd, f.Root) || !strings.HasPrefix(f.Cwd, "/") || !strings.HasPrefix(f.Root, "/") {
			return invalid(TagFS, f.ID, "working directory %q or root %q is no path", f.Cwd, f.Root)
		}
		if f.Umask > 0o777 {
			return invalid(TagFS, f.ID, "umask %#o", f.Umask)
		}
	}
	for _, s := range v.m.Sighands {
		if len(s.Actions) != maxSignal {
			return invalid(TagSighand, s.ID, "%d signal actions", len(s.Actions))
		}
	}
	for _, t := range v.m.Tables {
		seen := make(map[uint32]bool, len(t.FDs))
		for _, fd := range t.FDs {
			switch {
			case fd.Number >= maxFD:
				return invalid(TagFiles, t.ID, "descriptor %d is out of range", fd.Number)
			case seen[fd.Number]:
				return invalid(TagFiles, t.ID, "descriptor %d is there twice", fd.Number)
			case v.m.find(TagFile, fd.File) < 0:
				return invalid(TagFiles, t.ID, "file %d of descriptor %d is missing", fd.File, fd.Number)
			}
			seen[fd.Number] = true
		}
		for _, l := range t.Locks {
			if l.Kind != POSIX || !seen[l.FD] {
				return invalid(TagFiles, t.ID, "a lock of kind %d on descriptor %d", l.Kind, l.FD)
			}
			if reason := l.bad(); reason != "" {
				return invalid(TagFiles, t.ID, "%s", reason)
			}
		}
	}
	for _, f := range v.m.Files {
		if err := v.file(f); err != nil {
			return err
		}
	}
	for _, p := range v.m.Pipes {
		if uint64(len(p.Data)) > uint64(p.Capacity) {
			return invalid(TagPipe, p.ID, "%d bytes in a pipe that holds %d", len(p.Data), p.Capacity)
		}
	}
	for _, s := range v.m.Shms {
		if s.Size > 1<<62 {
			return invalid(TagShm, s.ID, "%d bytes large", s.Size)
		}
		if h := s.HugePage; h != 0 && (!s.MemFD || h&(h-1) != 0 || h > 1<<34 || h <= uint64(v.m.Header.PageSize) || s.Size&(h-1) != 0) {
			return invalid(TagShm, s.ID, "%d bytes of huge pages of %d bytes", s.Size, h)
		}
		if hasNUL(s.Name, s.Path) {
			return invalid(TagShm, s.ID, "its name holds a NUL")
		}
		if s.Path != "" && (s.MemFD || !strings.HasPrefix(s.Path, "/")) {
			return invalid(TagShm, s.ID, "%q is no path, or that of a memfd", s.Path)
		}
	}
	return v.fileObjects()
}

func (v *validator) file(f *File) error {
	if hasNUL(f.Path) {
		return invalid(TagFile, f.ID, "its path holds a NUL")
	}
	if f.Signal > maxSignal {
		return invalid(TagFile, f.ID, "signal %d", f.Signal)
	}
	if reason := v.badFile(f); reason != "" {
		return invalid(TagFile, f.ID, "%s", reason)
	}
	switch f.Kind {
	case Regular:
		if f.Gone {
			return v.deleted(f)
		}
	case Directory, CharDevice, TTY, PathOnly, MQueue:
	case FIFO:
		if f.Object != 0 {
			return v.refer(TagFile, f.ID, TagPipe, f.Object)
		}
		return nil
	case MemFD:
		s := v.m.Shm(f.Object)
		if s == nil || !s.MemFD {
			return invalid(TagFile, f.ID, "shm %d is missing, or no memfd", f.Object)
		}
		return nil
	default:
		if to, ok := fileObject[f.Kind]; ok {
			return v.refer(TagFile, f.ID, to, f.Object)
		}
		return v.anonymous(f)
	}
	if f.Object != 0 {
		return invalid(TagFile, f.ID, "it refers to object %d", f.Object)
	}
	if !strings.HasPrefix(f.Path, "/") {
		return invalid(TagFile, f.ID, "%q is no path", f.Path)
	}
	if f.Kind == Regular && (f.Size < 0 || f.Pos < 0) {
		return invalid(TagFile, f.ID, "size %d, position %d", f.Size, f.Pos)
	}
	return nil
}

func hasNUL(list ...string) bool {
	for _, s := range list {
		if strings.IndexByte(s, 0) >= 0 {
			return true
		}
	}
	return false
}
