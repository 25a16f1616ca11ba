package kernel

import (
	"errors"
	"fmt"
	"io"
	"runtime"

	"golang.org/x/sys/unix"

	"cr/convert"
	"cr/image"
	"cr/regset"
)

// RestartOptions say how to restart. The zero value restarts what the image
// holds, with new pids.
type RestartOptions struct {
	ID uint64 // the checkpoint that the image must be of; 0: any

	call *notification // the call that the task waits in, if it is known
	as   *authority    // of the caller, by which its files are written to; nil: this program's own

	// Force restarts even where files differ from what they were.
	Force bool

	// KeepPIDs gives processes and threads the pids that they had.
	KeepPIDs bool

	// Progress is called now and then with the bytes of memory that have been
	// read, and those that there are.
	Progress func(done, total uint64)

	// Warn is called, before anything else is done, for each reason why programs
	// may fail later (convert.Warnings), and for what they see from now on.
	Warn func(reason error)
}

// A reborn is a process that is being made from an image.
type reborn struct {
	*process
	rec       *image.Process
	mm        *image.MM
	space     space
	old       []area // mappings before anything was staged
	vmas      []stagedVMA
	vdso      vdsoPlan
	insn      uint64         // in the trampoline
	room      uint64         // size of the scratch memory with the trampoline, and with the undo list of a caller
	exe       int            // descriptor of the program file in the task; -1
	cwd       int            // descriptor of the working directory
	root      int            // descriptor of the root directory; 0 if it stays
	settings  []procFile     // what is to be written to its files of /proc
	others    []*task        // threads that the process had before
	fds       []int          // descriptors that are open at the start
	limits    []image.Limit  // at the start
	late      map[uint32]int // as restarter.files, of files that were made when all processes were
	sigchld   bool           // SIGCHLD was pending before
	displaced *displaced     // an open file of the caller that is elsewhere for now
	keys      uint32         // protection keys that were allocated for it
	borrowed  bool           // its memory is that of another process, which comes before it
	madeBy    *reborn        // the process in whose session it was made; nil for the root
	apart     []*reborn      // threads that have descriptors or a working directory for themselves
}

// restarter makes processes from an image.
type restarter struct {
	options    RestartOptions
	img        *image.Image
	rd         *image.Reader
	machine    *regset.Machine
	states     map[uint32]*regset.State // by tid, as this machine takes them
	root       *reborn
	list       []*reborn // parents first
	tree       *tree
	files      map[uint32]int // descriptors of staged open files, by record
	base       int            // above all descriptors that the tree has
	shms       map[uint32]uint64
	done       uint64
	securebits uint32            // of the process that all are made from
	segments   []int32           // System V shared memory that was made
	doomed     []int32           // that goes with its last mapping
	sysv       []madeSysV        // message queues and semaphores that were made
	mqueues    map[string]bool   // POSIX message queues that were made, by name
	mayUndo    bool              // the caller can undo by itself what is staged in it
	ownProcess bool              // the root process is of our making, not a caller
	hasInit    bool              // all are in a pid namespace of our making
	keys       uint32            // protection keys that the caller has allocated; 0 if the machine has none
	led        map[uint32]uint32 // process groups and sessions whose leaders have ended, and their numbers now
	ids        idMaps            // of the user namespace that was made for them
	oneUser    bool              // the processes are in a user namespace of cr's making, with one user
	ownUsers   bool              // they are in another user namespace than the first
	otherUsers bool              // or in another one than this program
	backs      []func() error    // what puts back what is changed for now
	room       memoryRoom        // in the control groups of the processes
	pins       *pins             // nil: nothing is kept on a processor
	tells      bool              // the keeper of this program answers cpuid for some of them
	fileRestarter
	commonRestarter
}

// readImage reads the metadata of an image and checks all that can be checked
// without a task.
func readImage(r io.Reader, o RestartOptions) (*restarter, error) {
	img, rd, err := image.Read(r)
	if err != nil {
		return nil, err
	}
	if o.ID != 0 && img.Header.ID != o.ID {
		return nil, fmt.Errorf("the image is of checkpoint %d, not %d: %w", img.Header.ID, o.ID, unix.EINVAL)
	}
	m, err := Features()
	if err != nil {
		return nil, err
	}
	states, err := convert.Fit(m, img)
	if err != nil {
		return nil, err
	}
	if o.Warn != nil {
		for _, w := range convert.Warnings(m, img) {
			o.Warn(w)
		}
	}
	return &restarter{options: o, img: img, rd: rd, machine: m, states: states,
		files: make(map[uint32]int), shms: make(map[uint32]uint64)}, nil
}

// RestartInto makes the process of task tid, which waits in a restart call,
// into the image that is read from r. If that fails the process is as it was,
// and if answered is set, the call has been given its result -errno; otherwise
// that is still to be done.
func RestartInto(tid int, r io.Reader, o RestartOptions) (answered bool, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	stream, err := newSpool(r)
	if err != nil {
		return false, err
	}
	defer stream.stop()
	rs, err := readImage(stream, o)
	if err != nil {
		return false, err
	}
	s, err := readStatus(tid)
	if err != nil {
		return false, err
	}
	if err := rs.planCPUID(); err != nil {
		return false, err
	}
	if err := rs.noneOfItsOwn(tid); err != nil {
		return false, err
	}
	if rs.tree, err = freeze(s.tgid, false); err != nil {
		return false, err
	}
	p := rs.tree.processes[0]
	var caller *task
	for _, t := range p.tasks {
		if t.tid == tid {
			caller = t
		}
	}
	if caller == nil || o.call != nil && !caller.inCall(o.call) {
		return true, firstError(rs.tree.thaw(), fmt.Errorf("pid %d waits no longer: %w", tid, unix.EINTR))
	}
	for _, t := range p.tasks {
		if err := t.note(); err != nil {
			rs.tree.thaw()
			return false, err
		}
	}
	err = rs.restartCaller(p, stream)
	if err != nil && !errors.Is(err, errKilled) {
		caller.live = append([]byte(nil), caller.entry...)
		caller.arch.SetResult(caller.abi, caller.live, -int64(Errno(err)))
		caller.rewound = false
		if e := p.giveBack(); e != nil {
			err = fmt.Errorf("%w: %v", errKilled, firstError(fmt.Errorf("%v\n%v", err, e), rs.tree.kill()))
		}
		for _, t := range p.tasks {
			if t.home != nil {
				continue
			}
			if e := t.release(); e != nil {
				err = fmt.Errorf("%w\n%v", err, e)
			}
		}
	}
	_ = rs.tree.setOptions(0) // a task may be gone, which thaw finds out
	if e := rs.tree.thaw(); err == nil {
		err = e
	}
	return true, err
}

// restartCaller makes a held process, or what it becomes by executing a stub,
// into the image.
func (rs *restarter) restartCaller(p *process, stream *spool) error {
	if err := p.apart(); err != nil {
		return err
	}
	kind, err := rs.rootKind()
	if err != nil {
		return err
	}
	own, err := p.kind()
	if err != nil {
		return err
	}
	rs.mayUndo = true
	if kind == own && !alwaysStub {
		stream.stop()
		return rs.restart(p)
	}
	second, err := rs.changeKind(p, kind, stream)
	if err != nil {
		return err
	}
	err = second.restart(p)
	if err != nil && !errors.Is(err, errKilled) {
		err = fmt.Errorf("%w: %v", errKilled, firstError(err, second.tree.kill()))
	}
	return err
}

// bind has tasks of a caller die if this program is killed, as nothing half made
// may run on, and prepares them for calls.
func (rs *restarter) bind(tasks []*task) error {
	if err := rs.tree.setOptions(optExitKill); err != nil {
		return err
	}
	for _, t := range tasks {
		if err := t.holdDispatch(); err != nil {
			return err
		}
		if err := t.setSigmask(t.callMask()); err != nil {
			return err
		}
	}
	return nil
}

// alwaysStub, set by tests only, has the process execute a stub even if it is of
// the image's kind.
var alwaysStub bool

// errKilled says that a restart failed after the point of no return, and that
// the process has been killed.
var errKilled = errors.New("the restart failed half way: the process was killed")

// restart makes a held process, and children that it makes, into the image.
// Until stage and fill have succeeded, nothing of the process has changed that
// undo cannot put back.
func (rs *restarter) restart(p *process) error {
	rs.pin(p.leader())
	defer rs.unpinSelf()
	if err := rs.stage(p); err != nil {
		return rs.undo(err)
	}
	if err := rs.fill(); err != nil {
		return rs.undo(err)
	}
	if err := rs.noWayBack(); err != nil {
		return rs.undo(err)
	}
	if err := rs.setWatchdog(); err != nil {
		return rs.undo(err)
	}
	if err := rs.commit(); err != nil {
		return rs.abandon(err)
	}
	return nil
}

// setWatchdog makes sure that all processes end if this program does while it lets
// them go. A single one does anyway, and those of a pid namespace with its init.
func (rs *restarter) setWatchdog() (err error) {
	if len(rs.list) < 2 || rs.hasInit {
		return nil
	}
	var pids []int
	for _, r := range rs.list {
		pids = append(pids, r.pid)
	}
	rs.tree.watchdog, err = newWatchdog(pids)
	return err
}

// stage prepares all that can fail: descriptors, children, threads, mappings.
func (rs *restarter) stage(p *process) error {
	rec := rs.img.Process(rs.img.Header.Root)
	if rec == nil || rec.State == image.Zombie {
		return fmt.Errorf("%w: no root process", image.ErrInvalid)
	}
	if err := rs.adopt(p, rec); err != nil {
		return err
	}
	if err := rs.mayBecome(p); err != nil {
		return err
	}
	var err error
	if rs.room, err = roomOf(p.pid); err != nil {
		return err
	}
	const ofTask = 32 << 10 // its stack in the kernel, and page tables
	if err := rs.room.take(uint64(len(rs.img.Tasks)) * ofTask); err != nil {
		return err
	}
	if err := rs.mayHaveFilters(p); err != nil {
		return err
	}
	if err := rs.mayHaveKeys(); err != nil {
		return err
	}
	if err := rs.trySettings(); err != nil {
		return err
	}
	if err := rs.stageFiles(); err != nil {
		return err
	}
	if err := rs.stageShms(); err != nil {
		return err
	}
	if err := rs.stageSysV(); err != nil {
		return err
	}
	if err := rs.stageCommon(); err != nil {
		return err
	}
	if err := rs.stageChildren(rs.root); err != nil {
		return err
	}
	if err := rs.stageGroups(); err != nil {
		return err
	}
	for _, r := range rs.list {
		if r.mm == nil {
			continue // it shall end
		}
		for _, step := range []func(*reborn) error{
			rs.stagePlaces, ofOwner(rs.stageKeys), ofOwner(rs.stageMemory), rs.stageThreads,
		} {
			if err := step(r); err != nil {
				return err
			}
		}
	}
	if err := rs.removeSegments(rs.doomed); err != nil {
		return err
	}
	if err := rs.stageLate(); err != nil {
		return err
	}
	return rs.checkNumbers()
}

// adopt prepares a held process to be made into the root process of the image.
func (rs *restarter) adopt(p *process, rec *image.Process) error {
	if p.leader().tid != p.pid {
		return &RefusedError{PID: p.pid, Kind: "process", Reason: "its first thread has exited", Errno: unix.EBUSY}
	}
	r := &reborn{process: p, rec: rec, mm: rs.img.MM(rec.MM), exe: -1, cwd: -1, others: p.tasks[1:]}
	p.tasks = p.tasks[:1:1]
	rs.list, rs.root = append(rs.list, r), r
	var err error
	if p.mem.f == nil {
		if p.mem, err = openMemory(p.pid); err != nil {
			return err
		}
	}
	if r.sigchld, err = sigchldPending(p.pid); err != nil {
		return err
	}
	if r.fds, err = descriptors(p.pid); err != nil {
		return err
	}
	areas, err := readAreas(p.pid, false)
	if err != nil {
		return err
	}
	for _, a := range areas {
		if a.name == "[vsyscall]" {
			continue // outside of what a process can map
		}
		r.old = append(r.old, a)
		r.space.busy = r.space.busy.add(span{a.start, a.end})
	}
	// What lies outside of the final mappings is inherited by all processes.
	for _, mm := range rs.img.MMs {
		for i := range mm.VMAs {
			v := &mm.VMAs[i]
			if v.End > 1<<32 && p.leader().abi.WordSize() == 4 {
				continue // it has to execute a stub first
			}
			r.space.busy = r.space.busy.add(span{v.Start, v.End})
		}
	}
	r.room = 2 * scratchSize
	if rs.mayUndo {
		if home, err := rs.enterHome(r); home || err != nil {
			return err
		}
		if err := rs.bind(append([]*task{r.leader()}, r.others...)); err != nil {
			return err
		}
	}
	if err := r.enterFor(); err != nil {
		return err
	}
	return rs.startLists(r)
}

// startLists lets the root process, and all that it makes, work off lists of
// calls. Not a caller: its own signals wait for it, whatever they are.
func (rs *restarter) startLists(r *reborn) error {
	t := r.leader()
	if !rs.ownProcess || !hasLists(t.abi) {
		return nil
	}
	sig := rs.freeSignal()
	if sig == 0 {
		return nil
	}
	a := &assembler{layout: layoutOf(t.abi)}
	a.code(t.arch.SyscallInsn(t.abi)...)
	start, end := a.callCode(t.abi)
	a.trap(t.abi) // says that the marker did not come
	if err := r.mem.write(r.insn, a.b); err != nil {
		return err
	}
	t.marker = marker{sig, last(r.status.nstgid), last(r.status.nspid)}
	if err := t.setSigmask(t.callMask()); err != nil {
		return err
	}
	err := t.sendMarker()
	if isErrno(err) { // a security module does not let it
		t.marker = marker{}
		return t.setSigmask(allSignals)
	}
	t.list = &callList{r.mem, r.scratch + argsSize, r.insn + start, r.insn + end}
	return err
}

// freeSignal is a signal that nobody sends to the processes while they are made:
// none that is pending in the image, or that one of its timers sends. 0 if there is
// none.
func (rs *restarter) freeSignal() unix.Signal {
	used := make(map[unix.Signal]bool)
	note := func(pending [][]byte) {
		for _, info := range pending {
			used[unix.Signal(rs.img.Header.ABI.Order().Uint32(info))] = true
		}
	}
	for _, p := range rs.img.Processes {
		note(p.Pending)
		for _, t := range p.Timers {
			used[unix.Signal(t.Signal)] = true
		}
	}
	for _, t := range rs.img.Tasks {
		note(t.Pending)
	}
	for _, sig := range []unix.Signal{unix.SIGSTKFLT, unix.SIGPWR, unix.SIGXFSZ} {
		if !used[sig] {
			return sig
		}
	}
	return 0
}

// endLists has the tasks of a process make one call after the other again.
func (r *reborn) endLists() {
	for _, t := range r.tasks {
		t.list = nil
	}
}

// enterFor does for a restart what enter does for a checkpoint: memory for
// arguments at an address that no mapping of the image has, and behind it a
// trampoline, a page with a system call instruction that stays until the end.
func (r *reborn) enterFor() error {
	insn, err := r.findInsn()
	if err != nil {
		return err
	}
	for _, t := range r.tasks {
		t.insn = insn
	}
	addr, err := r.takeScratch(2 * scratchSize)
	if err != nil {
		return err
	}
	t := r.leader()
	flags := uint32(unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | mapFixedNoReplace)
	if _, err := t.mmap(addr, scratchSize, unix.PROT_READ|unix.PROT_WRITE, flags, -1, 0); err != nil {
		return err
	}
	r.scratch = addr
	if _, err := t.mmap(addr+scratchSize, scratchSize, unix.PROT_READ|unix.PROT_EXEC, flags, -1, 0); err != nil {
		return err
	}
	r.insn = addr + scratchSize
	if err := r.mem.write(r.insn, t.arch.SyscallInsn(t.abi)); err != nil {
		return err
	}
	for _, t := range r.tasks {
		t.insn = r.insn
	}
	return nil
}

// takeScratch finds room for what a task makes calls with to the end. Once it has
// ADDR_LIMIT_3GB in its personality, a 32-bit task can unmap nothing above.
func (r *reborn) takeScratch(size uint64) (uint64, error) {
	if r.leader().abi.WordSize() == 4 {
		if at, err := r.space.takeBelow(lowEnd, size, nil); err == nil {
			return at, nil
		}
	}
	return r.space.take(size)
}

// mapFixedNoReplace is MAP_FIXED_NOREPLACE, the same on all of our machines.
const mapFixedNoReplace = 0x100000

// fill reads the memory of the image into what is staged, to the end of the
// image.
func (rs *restarter) fill() error {
	for {
		p, err := rs.next()
		if errors.Is(err, io.EOF) {
			return rs.sealShms()
		}
		if err != nil {
			return err
		}
		at := uint64(0)
		for _, run := range p.Runs {
			if err := rs.fillRun(p, run, p.Data[at:at+run.Len]); err != nil {
				return err
			}
			at += run.Len
		}
		rs.progress(at)
	}
}

// next gives the next piece of memory.
func (rs *restarter) next() (*image.Pages, error) {
	if p := rs.ahead; p != nil {
		rs.ahead = nil
		return p, nil
	}
	return rs.rd.Next()
}

// progress notes that so many bytes of memory more have been read.
func (rs *restarter) progress(n uint64) {
	if rs.done += n; rs.options.Progress != nil {
		rs.options.Progress(rs.done, rs.img.Bytes)
	}
}

func (rs *restarter) fillRun(p *image.Pages, run image.Run, data []byte) error {
	if p.Shm {
		return rs.fillShm(p.Owner, run.Addr, data)
	}
	for _, r := range rs.list {
		if r.mm == nil || r.mm.ID != p.Owner {
			continue // another process, or a zombie
		}
		for len(data) > 0 {
			at, n, err := r.staged(run.Addr, uint64(len(data)))
			if err != nil {
				return err
			}
			if err := rs.fillAt(r, at, data[:n]); err != nil {
				return err
			}
			data = data[n:]
			run.Addr += n
		}
		return nil
	}
	return fmt.Errorf("%w: pages of a process that is not made", image.ErrInvalid)
}

// fillAt writes contents of memory to where it is staged.
func (rs *restarter) fillAt(r *reborn, at uint64, data []byte) error {
	if err := rs.room.take(uint64(len(data))); err != nil {
		return err
	}
	if err := r.mem.write(at, data); err != nil {
		return fmt.Errorf("process %d did not come up: %w", r.rec.PID, err)
	}
	return nil
}

// mayBecome checks by the process's own authority what commit will need:
// credentials, limits, root directory.
func (rs *restarter) mayBecome(p *process) error {
	bits, err := p.leader().call(sysPrctl, unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
	if err != nil {
		return err
	}
	rs.securebits = uint32(bits)
	if err := rs.readUsers(p.pid); err != nil {
		return err
	}
	now := rs.creds(p)
	for _, rec := range rs.img.Processes {
		if rec.State == image.Zombie {
			continue
		}
		for _, t := range rs.img.TasksOf(rec) {
			if err := rs.mayHaveIDs(p, &now, &t.Creds); err != nil {
				return err
			}
			if err := mayHaveCreds(p.pid, &now, &t.Creds, rs.securebits); err != nil {
				return err
			}
		}
		if err := rs.mayHaveLimits(p, rec); err != nil {
			return err
		}
		if err := rs.mayHaveRoot(p, rec, rec.FS); err != nil {
			return err
		}
		for _, t := range rs.img.TasksOf(rec) {
			if t.FS == 0 {
				continue
			}
			if err := rs.mayHaveRoot(p, rec, t.FS); err != nil {
				return err
			}
		}
	}
	return rs.mayQueue()
}
