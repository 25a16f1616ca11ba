package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sort"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"cr/image"
	"cr/regset"
)

// CheckpointOptions say how to checkpoint. The zero value saves one process
// and lets it run on.
type CheckpointOptions struct {
	Tree bool // descendants too

	// Caller is the tid of a task that waits in a checkpoint call: in the image
	// the call has returned 0. If the caller is one of the tasks that are
	// saved, its result is written by Checkpoint, and *Answered is set.
	Caller   int
	Answered *bool

	call *notification // the call that Caller waits in, if it is known
	as   *authority    // of the caller; nil: this program's own

	Kill bool // end the processes once the image is whole
	Stop bool // leave the processes stopped, as by SIGSTOP

	// Whole is called when the image has been written, before the processes run
	// on or end. If it fails so does the checkpoint, and they run on.
	Whole func() error

	// Progress is called now and then with the bytes of memory that have been
	// written, and those that there are.
	Progress func(done, total uint64)

	Creator string // program and version, for the image's header
}

// Checkpoint saves a process to w, and returns the identifier of the
// checkpoint. Whatever happens, the process runs on as if nothing had been,
// unless the options say otherwise and the image is whole.
//
// Errors: unix.ESRCH if there is no such process, unix.EPERM if it may not be
// traced, RefusedErrors if it has something that cannot be saved, and those of
// w.
func Checkpoint(pid int, w io.Writer, o CheckpointOptions) (id uint64, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	st, err := readStat(pid)
	if err != nil {
		return 0, err
	}
	if st.kernelThread() {
		return 0, fmt.Errorf("pid %d is a kernel thread: %w", pid, unix.EPERM)
	}
	if s, err := readStatus(pid); err == nil && s.tracer != 0 {
		if conn := connectKeeper(s.tracer); conn >= 0 {
			defer unix.Close(conn)
			return checkpointByKeeper(conn, pid, w, o)
		}
	}
	if _, err := Features(); err != nil { // takes a while, which the tasks need not stand still for
		return 0, err
	}
	t := &tree{tasks: make(map[int]*task)}
	s := &saver{tree: t, options: o, img: new(image.Image), files: make(map[fileKey]uint32), owners: make(map[int][]*process),
		spaces: make(map[string]namespaceID)}
	if err = t.freeze(pid, o.Tree); err == nil {
		id, err = s.save(w)
		err = t.endedMeanwhile(err)
	}
	if err == nil && o.Whole != nil {
		err = o.Whole()
	}
	if e := s.leave(id, err); err == nil && e != nil {
		return 0, e
	}
	return id, err
}

// endedMeanwhile gives an error its reason where a frozen process has been killed
// all the same: what was read of it then may be anything.
func (tr *tree) endedMeanwhile(err error) error {
	if err == nil || errors.Is(err, unix.ESRCH) {
		return err
	}
	for _, p := range tr.processes {
		s, e := readStatus(p.pid)
		if !p.zombie && (e != nil || s.state == 'Z' || s.state == 'X') && p.status.state != 'Z' {
			return fmt.Errorf("pid %d has ended meanwhile: %w (%v)", p.pid, unix.ESRCH, err)
		}
	}
	return err
}

// saver makes an image of a frozen tree.
type saver struct {
	waiting  bool // the caller has been found waiting in its call
	tree     *tree
	options  CheckpointOptions
	img      *image.Image
	refused  RefusedErrors
	lastID   uint32
	files    map[fileKey]uint32
	sums     fileSums
	memory   []memoryPart
	whole    map[uint64]bool        // of the process at hand: memoryPart.whole
	online   []byte                 // processors of this machine
	sysv     map[*process][]sysvUse // that are to be read by a process
	ids      idMaps                 // of the user namespace of the tree
	owners   map[int][]*process     // see ownerOf
	noSlack  bool                   // /proc does not tell of the timer slack
	segments map[int32]segment      // of the tree's own IPC namespace
	spaces   map[string]namespaceID
	fileSaver
}

// newID gives the next id of an object of the image.
func (s *saver) newID() uint32 {
	s.lastID++
	return s.lastID
}

// refuse notes something that cannot be saved.
func (s *saver) refuse(p *process, kind, object, reason, hint string) {
	s.refused = append(s.refused, &RefusedError{PID: p.pid, Kind: kind, Object: object, Reason: reason, Hint: hint, Errno: unix.EOPNOTSUPP})
}

func (s *saver) save(w io.Writer) (id uint64, err error) {
	if err := s.header(); err != nil {
		return 0, err
	}
	if err := s.checkNamespaces(); err != nil {
		return 0, err
	}
	s.noteImage(w)
	defer s.closeFiles()
	defer s.sums.wait()
	if s.sums.off, err = s.watches(); err != nil {
		return 0, err
	}
	if err := s.findSysV(); err != nil {
		return 0, err
	}
	for _, p := range s.tree.processes {
		if err := s.process(p); err != nil {
			return 0, err
		}
	}
	s.checkSessions()
	if err := s.checkOwn(); err != nil {
		return 0, err
	}
	if err := s.checkSegments(); err != nil {
		return 0, err
	}
	if err := s.checkSemaphores(); err != nil {
		return 0, err
	}
	if err := s.finishFiles(); err != nil {
		return 0, err
	}
	if len(s.refused) > 0 {
		return 0, s.refused
	}
	for _, c := range s.img.CPUs {
		s.img.Header.Features |= c.State.Used
	}
	s.order()
	if err := s.findCommon(); err != nil {
		return 0, err
	}
	for _, m := range s.memory {
		s.img.Bytes += m.bytes()
	}
	s.img.Bytes += s.shmBytes()
	if err := s.sums.wait(); err != nil {
		return 0, err
	}
	wr, err := image.NewWriter(w, s.img)
	if err != nil {
		return 0, err
	}
	if err := s.pages(wr); err != nil {
		return 0, err
	}
	return s.img.Header.ID, wr.Close()
}

// order sorts records so that equal trees give equal images.
func (s *saver) order() {
	sort.Slice(s.img.Tasks, func(i, j int) bool { return s.img.Tasks[i].TID < s.img.Tasks[j].TID })
	sort.Slice(s.img.CPUs, func(i, j int) bool { return s.img.CPUs[i].TID < s.img.CPUs[j].TID })
}

func (s *saver) header() error {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return err
	}
	id, err := newIdentifier()
	if err != nil {
		return err
	}
	root := s.tree.processes[0]
	m, err := Features()
	if err != nil {
		return err
	}
	clocks, err := clocksOf(root.pid)
	if err != nil {
		return err
	}
	s.img.Header = image.Header{
		ABI:      hostABI,
		Machine:  unix.ByteSliceToString(uts.Machine[:]),
		Release:  unix.ByteSliceToString(uts.Release[:]),
		PageSize: uint32(os.Getpagesize()),
		ID:       id,
		Time:     time.Now().UnixNano(),
		Mono:     clocks.monotonic,
		Boottime: clocks.boottime,
		HWCAP:    m.HWCAP,
		HWCAP2:   m.HWCAP2,
		Creator:  s.options.Creator,
		Hostname: unix.ByteSliceToString(uts.Nodename[:]),
		Root:     last(root.status.nspid),
	}
	s.img.Header.Foreground = s.tree.foreground()
	return nil
}

// foreground is the process group of the tree that is in the foreground of the
// controlling terminal of the root process; 0 if there is none.
func (t *tree) foreground() uint32 {
	group := t.processes[0].stat.num(8)
	for _, p := range t.processes {
		if group != 0 && p.stat.num(5) == group {
			return last(p.status.nspgid)
		}
	}
	return 0
}

// newIdentifier makes an identifier that a 32-bit call can return: 1 to 2^31-1.
func newIdentifier() (uint64, error) {
	var b [4]byte
	for {
		// Go's own way to random numbers goes through the vdso, and crashes on
		// big endian ppc64 (Go 1.26 takes its function descriptors for code).
		if _, _, e := unix.Syscall(unix.SYS_GETRANDOM, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0); e != 0 {
			return 0, e
		}
		if id := binary.LittleEndian.Uint32(b[:]) >> 1; id != 0 {
			return uint64(id), nil
		}
	}
}

// leave puts the tasks back as they were and lets them run on, or does with
// them what the options say if the image is whole.
func (s *saver) leave(id uint64, err error) error {
	first := error(nil)
	note := func(e error) {
		if e != nil && first == nil {
			first = e
		}
	}
	if t := s.tree.tasks[s.options.Caller]; t != nil && s.waits(t) {
		result := int64(id)
		if err != nil {
			result = -int64(Errno(err))
		}
		t.arch.SetResult(t.abi, t.entry, result)
		note(t.setRegset(regset.PRSTATUS, t.entry))
		if s.options.Answered != nil {
			*s.options.Answered = true
		}
	}
	if err == nil && s.options.Kill {
		s.silence()
		note(s.tree.kill())
	}
	if err == nil && s.options.Stop {
		for _, p := range s.tree.processes {
			if !p.zombie {
				note(unix.Kill(p.pid, unix.SIGSTOP))
			}
		}
	}
	note(s.tree.thaw())
	return first
}

// waits reports whether the caller is still in its call. It has to be answered
// also if the checkpoint failed before it came to the caller: the stop has ended
// its wait, and it would make the call again and again.
func (s *saver) waits(caller *task) bool {
	if s.waiting {
		return true
	}
	if !s.tree.isStopped(caller) || s.options.call == nil || !caller.inCall(s.options.call) {
		return false
	}
	var err error
	if len(caller.entry) == 0 {
		caller.entry, err = caller.gprs()
	}
	return err == nil
}

// process saves a process. Its tasks are where they were when it returns.
func (s *saver) process(p *process) error {
	return firstError(s.parts(p), p.giveBack())
}

// parts saves what the tasks of a process share, then its tasks.
func (s *saver) parts(p *process) error {
	r := &image.Process{
		PID:  last(p.status.nstgid),
		PPID: parentPID(p),
		PGID: last(p.status.nspgid),
		SID:  last(p.status.nssid),
		Comm: p.status.name,
	}
	if cpu := keptCPU(p.pid); cpu != nil {
		r.Told = cpu.Allowed
	}
	s.img.Processes = append(s.img.Processes, r)
	if err := leadersEnded(p, r); err != nil {
		return err
	}
	if p.zombie {
		r.State = image.Zombie
		r.ExitStatus, r.ExitSignal = uint32(p.stat.num(52)), uint32(p.stat.num(38))
		return nil
	}
	if p.leader().jobStop {
		r.State = image.Stopped
	}
	if err := p.leaveVDSO(); err != nil {
		return err
	}
	if err := s.cpus(p); err != nil {
		return err
	}
	mem, err := openMemory(p.pid)
	if err != nil {
		return err
	}
	p.mem = mem
	for _, t := range p.tasks {
		if err := p.abortRseq(t); err != nil {
			return err
		}
	}
	if err := s.shared(p); err != nil {
		return err
	}
	// The kernel may merge the scratch memory with a mapping.
	if p.areas, err = readAreas(p.pid, true); err != nil {
		return err
	}
	if ok, err := s.mayMakeCalls(p); err != nil || !ok {
		return err
	}
	if err := p.borrow(p.leader()); err != nil {
		return err
	}
	for _, step := range []func(*process, *image.Process) error{
		s.ipcNamespace, s.mm, s.fs, s.sighand, s.signals, s.settings, s.descriptors, s.sysvObjects, s.namespaces, s.tasks,
	} {
		if err := step(p, r); err != nil {
			return err
		}
	}
	return nil
}

// parentPID is the pid of a process's parent in the process's own namespace; 0
// if the parent is not in it.
func parentPID(p *process) uint32 {
	parent, err := readStatus(p.status.ppid)
	if err != nil || len(parent.nspid) != len(p.status.nspid) {
		return 0
	}
	return last(parent.nspid)
}

// cpus saves the CPU state of the tasks of a process, as it was when they
// stopped.
func (s *saver) cpus(p *process) error {
	for _, t := range p.tasks {
		if err := t.note(); err != nil {
			return err
		}
		state, err := t.readCPU()
		if err != nil {
			return err
		}
		if err := t.refuseCPU(state); err != nil {
			return err
		}
		if t.tid == s.options.Caller {
			if call := s.options.call; call != nil && !t.inCall(call) {
				return fmt.Errorf("pid %d waits no longer: %w", t.tid, unix.EINTR)
			}
			s.waiting = true
			regs := append([]byte(nil), t.entry...)
			t.arch.SetResult(t.abi, regs, 0)
			state.Put(regset.PRSTATUS, regs)
		}
		if t.status, err = readStatus(t.tid); err != nil {
			return err
		}
		s.img.CPUs = append(s.img.CPUs, &image.CPU{TID: last(t.status.nspid), State: *state})
		t.cpu = &s.img.CPUs[len(s.img.CPUs)-1].State
	}
	return nil
}
