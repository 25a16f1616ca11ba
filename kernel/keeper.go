package kernel

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"cr/convert"
	"cr/image"
)

// keeper is the one thread of this program that traces tasks, where some are
// traced for good: those whose cpuid faults, and is answered by it. What may be
// done with a traced task is a matter of the thread that traces it, so all others
// leave their requests to this one, and get from it the stops of the tasks that
// they hold.
type keeper struct {
	tid   int
	calls chan func()
	stops chan os.Signal
	log   func(error)

	mu      sync.Mutex
	changed *sync.Cond // a queue is longer, or a task has gone
	tasks   map[int]*keptTask
	watched map[int]chan unix.WaitStatus // of children of this program, which cannot wait for them
}

// keptTask is a task that the keeper traces.
type keptTask struct {
	cpu    *convert.CPU // what cpuid tells it; nil: it is traced for whoever holds it only
	holder holder
	queue  []unix.WaitStatus // for who holds it
	gone   bool              // the last in the queue is how it ended
	pid    int               // of its process; 0 if nobody has asked yet
	segv   *image.Action     // of a process, for SIGSEGV; nil: not known

	// Since vfork: the tid of who waits for it to execute a program or to end, and
	// of whom it has last waited for; 0 if there is none.
	parent, child int
}

// holder says for whom the stops of a task are.
type holder int

const (
	parked  holder = iota // a new task, that its maker's tracer is to claim
	heldOut               // who has seized it
	served                // the keeper itself
)

// keptOptions are the options of ptrace for tasks that are served.
const keptOptions = freezeOptions | optTraceExec

// theKeeper is nil in a program that traces tasks only now and then.
var theKeeper *keeper

// KeepTasks lets this program trace tasks for good, by a thread of its own through
// which all that it does with traced tasks goes from then on. It is for the start
// of a program. Failures that are no caller's are told to log; nil is fine.
func KeepTasks(log func(error)) {
	k := &keeper{calls: make(chan func()), stops: make(chan os.Signal, 1), tasks: make(map[int]*keptTask),
		watched: make(map[int]chan unix.WaitStatus)}
	k.changed = sync.NewCond(&k.mu)
	k.log = func(err error) {
		if err != nil && log != nil {
			log(err)
		}
	}
	loudStops()
	signal.Notify(k.stops, unix.SIGCHLD)
	started := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		k.tid = unix.Gettid()
		close(started)
		for {
			select {
			case call := <-k.calls:
				call()
			case <-k.stops:
				k.collect()
			}
		}
	}()
	<-started
	theKeeper = k
	if err := k.listen(); err != nil {
		k.log(err)
	}
}

// keeperElsewhere is the keeper, for threads that are not it.
func keeperElsewhere() *keeper {
	if k := theKeeper; k != nil && unix.Gettid() != k.tid {
		return k
	}
	return nil
}

// do has the keeper do something.
func (k *keeper) do(what func()) {
	done := make(chan struct{})
	k.calls <- func() {
		defer close(done)
		what()
	}
	<-done
}

// request has the keeper make a request of ptrace. To seize and to detach are to
// take a task from the keeper and to give it back, if it is traced for good.
func (k *keeper) request(request, tid int, addr, data uintptr) (n uintptr, e unix.Errno) {
	k.do(func() {
		switch request {
		case unix.PTRACE_SEIZE:
			e = k.take(tid, data)
		case unix.PTRACE_DETACH:
			e = k.giveBack(tid, data)
		default:
			n, e = rawPtrace(request, tid, addr, data)
		}
	})
	return n, e
}

// find gives a task that is traced; nil if there is none. k.mu is held.
func (k *keeper) find(tid int) *keptTask {
	if t := k.tasks[tid]; t != nil && !t.gone {
		return t
	}
	return nil
}

// take begins to trace a task for another thread, or lets that have the stops of
// one which is traced already. It fails with EAGAIN for two tasks one of which waits
// for the other and cannot be stopped, so neither must be.
func (k *keeper) take(tid int, options uintptr) unix.Errno {
	k.mu.Lock()
	defer k.mu.Unlock()
	if t := k.find(tid); t != nil {
		if t.holder == heldOut {
			return unix.EPERM
		}
		if k.inVfork(tid, t) {
			return unix.EAGAIN
		}
		t.holder = heldOut
		return 0
	}
	if _, e := rawPtrace(unix.PTRACE_SEIZE, tid, 0, options); e != 0 && !k.newborn(tid, e) {
		return e
	}
	k.tasks[tid] = &keptTask{holder: heldOut}
	return 0
}

// newborn reports whether a task could not be seized because it is traced from
// its first moment on, of which the keeper is yet to hear.
func (k *keeper) newborn(tid int, e unix.Errno) bool {
	if e != unix.EPERM {
		return false
	}
	s, err := readStatus(tid)
	return err == nil && s.tracer == k.tid
}

// giveBack ends what take has begun. The task must be stopped. One that is traced
// for good is interrupted once more, so that it stops again if it is stopped by
// job control, and served from then on.
func (k *keeper) giveBack(tid int, deliver uintptr) unix.Errno {
	k.mu.Lock()
	t := k.find(tid)
	kept := t != nil && t.cpu != nil
	k.mu.Unlock()
	if !kept {
		_, e := rawPtrace(unix.PTRACE_DETACH, tid, 0, deliver)
		if e == 0 {
			k.forget(tid)
		}
		return e
	}
	for _, r := range []struct {
		request int
		data    uintptr
	}{{ptraceSetOptions, keptOptions}, {unix.PTRACE_INTERRUPT, 0}, {unix.PTRACE_CONT, deliver}} {
		if _, e := rawPtrace(r.request, tid, 0, r.data); e != 0 {
			return e
		}
	}
	k.serveFromNow(tid)
	k.sweep()
	return 0
}

func (k *keeper) forget(tid int) {
	k.mu.Lock()
	delete(k.tasks, tid)
	k.mu.Unlock()
}

// serveFromNow makes a task one that is served, beginning with the stops that
// nobody has asked for.
func (k *keeper) serveFromNow(tid int) {
	k.mu.Lock()
	t := k.tasks[tid]
	if t == nil {
		k.mu.Unlock()
		return
	}
	queue := t.queue
	t.queue, t.holder = nil, served
	if t.gone {
		delete(k.tasks, tid)
	}
	k.mu.Unlock()
	for _, ws := range queue {
		k.event(tid, ws)
	}
}

// sweep serves tasks that nobody will claim, as nobody holds one.
func (k *keeper) sweep() {
	var left []int
	k.mu.Lock()
	for tid, t := range k.tasks {
		if t.holder == heldOut && !t.gone {
			k.mu.Unlock()
			return
		}
		if t.holder == parked && t.cpu != nil {
			left = append(left, tid)
		}
	}
	k.mu.Unlock()
	for _, tid := range left {
		k.serveFromNow(tid)
	}
}

// adopt begins to serve a task.
func (k *keeper) adopt(tid int, cpu *convert.CPU) (err error) {
	k.do(func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.find(tid) != nil {
			return
		}
		_, e := rawPtrace(unix.PTRACE_SEIZE, tid, 0, keptOptions)
		switch {
		case e == 0:
			k.tasks[tid] = &keptTask{cpu: cpu, holder: served}
		case !k.newborn(tid, e):
			err = seizeError(tid, e)
		}
	})
	return err
}

// keepFor makes tasks that this program holds ones that are served when they
// have been given back, and so what they make.
func (k *keeper) keepFor(tid int, cpu *convert.CPU) {
	k.do(func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if t := k.find(tid); t != nil {
			t.cpu = cpu
			if t.segv == nil {
				t.segv = new(image.Action)
			}
		}
	})
}

// keptCPU is what cpuid tells a task; nil if it is the CPU itself that does.
func keptCPU(tid int) *convert.CPU {
	if theKeeper == nil {
		return nil
	}
	theKeeper.mu.Lock()
	defer theKeeper.mu.Unlock()
	if t := theKeeper.find(tid); t != nil {
		return t.cpu
	}
	return nil
}

// wait waits for the next stop, or the end, of a task that is held. It fails with
// ECHILD for one that is not.
func (k *keeper) wait(tid int, nohang bool) (ws unix.WaitStatus, stopped bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		t := k.tasks[tid]
		switch {
		case t == nil, t.holder == served:
			return 0, false, unix.ECHILD
		case len(t.queue) > 0:
			ws, t.queue = t.queue[0], t.queue[1:]
			if t.gone && len(t.queue) == 0 {
				delete(k.tasks, tid)
			}
			return ws, true, nil
		case nohang:
			return 0, false, nil
		}
		k.changed.Wait()
	}
}

// collect takes all stops that there are.
func (k *keeper) collect() {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD|unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid == 0 {
			return
		}
		k.event(pid, ws)
	}
}

// event is a stop, or the end, of a task.
func (k *keeper) event(tid int, ws unix.WaitStatus) {
	if ws.Exited() || ws.Signaled() {
		k.ended(tid, ws)
		return
	}
	k.mu.Lock()
	t := k.find(tid)
	if t == nil {
		t = &keptTask{}
		k.tasks[tid] = t
	}
	k.mu.Unlock()
	switch stopEvent(ws) {
	case unix.PTRACE_EVENT_FORK, unix.PTRACE_EVENT_VFORK, unix.PTRACE_EVENT_CLONE:
		k.born(tid, t, stopEvent(ws) == unix.PTRACE_EVENT_VFORK)
	case unix.PTRACE_EVENT_EXEC:
		k.renamed(tid)
		k.begin(tid, t)
		return
	}
	if sig := ws.StopSignal(); stopEvent(ws) == 0 && sig == unix.SIGSEGV && t.cpu != nil && k.answer(tid, t) {
		k.resume(tid, unix.PTRACE_CONT, 0)
		return
	}
	k.mu.Lock()
	if t.holder != served {
		t.queue = append(t.queue, ws)
		k.changed.Broadcast()
		k.mu.Unlock()
		return
	}
	if stopEvent(ws) == eventStop && ws.StopSignal() != unix.SIGTRAP {
		k.tellStop(tid, ws)
	}
	k.mu.Unlock()
	switch sig := ws.StopSignal(); {
	case stopEvent(ws) == eventStop && sig != unix.SIGTRAP:
		k.resume(tid, unix.PTRACE_LISTEN, 0) // it stays stopped until SIGCONT
	case stopEvent(ws) != 0 || sig == syscallStop:
		k.resume(tid, unix.PTRACE_CONT, 0)
	default:
		k.resume(tid, unix.PTRACE_CONT, uintptr(sig))
	}
}

// resume lets a task go on. One that has been killed needs no help.
func (k *keeper) resume(tid, request int, deliver uintptr) {
	if _, e := rawPtrace(request, tid, 0, deliver); e != 0 && e != unix.ESRCH {
		k.log(fmt.Errorf("resume pid %d: %w", tid, e))
	}
}

// message is what comes with an event of a task: the tid of another, 0 if it is
// gone.
func message(tid int) int {
	var child uintptr
	if _, e := rawPtrace(unix.PTRACE_GETEVENTMSG, tid, 0, uintptr(unsafe.Pointer(&child))); e != 0 {
		return 0
	}
	return int(child)
}

// born takes note of a task that another has made: it is served if that one is.
func (k *keeper) born(tid int, parent *keptTask, vfork bool) {
	tgid, child := k.process(tid, parent), message(tid)
	k.mu.Lock()
	t := k.find(child)
	if t == nil {
		t = &keptTask{}
		k.tasks[child] = t
	}
	t.cpu = parent.cpu
	if vfork {
		t.parent, parent.child = tid, child
	}
	if p := k.tasks[tgid]; p != nil {
		t.segv = p.segv
	}
	serve := parent.holder == served && t.holder == parked
	k.mu.Unlock()
	if serve {
		k.serveFromNow(child)
	}
}

// process is the pid of a task's process; 0 if it is gone.
func (k *keeper) process(tid int, t *keptTask) int {
	if t.pid == 0 {
		if s, err := readStatus(tid); err == nil {
			t.pid = s.tgid
		}
	}
	return t.pid
}

// watch gives the stops for job control, and then the end, of a process that is a
// child of this program: who traces one gets what its parent would get.
func (k *keeper) watch(pid int) <-chan unix.WaitStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	const stops = 16 // more than that at a time are as good as one
	c := make(chan unix.WaitStatus, stops)
	k.watched[pid] = c
	return c
}

// tellStop tells of the stop of a process that is watched. k.mu is held.
func (k *keeper) tellStop(pid int, ws unix.WaitStatus) {
	select {
	case k.watched[pid] <- ws & 0xffff:
	default:
	}
}

// tellEnd tells of its end. k.mu is held.
func (k *keeper) tellEnd(pid int, ws unix.WaitStatus) {
	if c := k.watched[pid]; c != nil {
		go func() { c <- ws }()
	}
}

// ended takes note of the end of a task.
func (k *keeper) ended(tid int, ws unix.WaitStatus) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tellEnd(tid, ws)
	t := k.find(tid)
	switch {
	case t == nil:
	case t.holder == served:
		delete(k.tasks, tid)
	default:
		t.gone, t.queue = true, append(t.queue, ws)
	}
	k.changed.Broadcast()
}

// inVfork reports whether a task waits for another, since it has called vfork, or
// another for it. k.mu is held.
func (k *keeper) inVfork(tid int, t *keptTask) bool {
	child := k.find(t.child)
	return t.parent != 0 || child != nil && child.parent == tid
}

// renamed takes note of a thread that leads its process by execve now: it has the
// leader's tid, and its own is gone.
func (k *keeper) renamed(leader int) {
	former := message(leader)
	if former == leader || former == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	was, is := k.find(former), k.find(leader)
	if was == nil || is == nil {
		return
	}
	if is.cpu == nil && is.holder == parked { // it was not traced
		is.cpu = was.cpu
		if was.holder == served {
			is.holder = served
		}
	}
	if was.holder == served {
		delete(k.tasks, former)
		return
	}
	was.gone, was.queue = true, append(was.queue, 0)
	k.changed.Broadcast()
}

// begin changes a program that is about to begin, and lets it.
func (k *keeper) begin(tid int, kept *keptTask) {
	k.mu.Lock()
	cpu := kept.cpu
	kept.parent = 0
	k.mu.Unlock()
	if cpu == nil {
		k.resume(tid, unix.PTRACE_CONT, 0)
		return
	}
	segv := new(image.Action)
	if s, err := readStatus(tid); err == nil && s.sigIgn>>(unix.SIGSEGV-1)&1 != 0 {
		segv.Handler = sigIgnore
	}
	k.mu.Lock()
	kept.pid, kept.segv = tid, segv
	k.mu.Unlock()
	t := &task{tid: tid, pid: tid, stopped: true}
	n := newcomer{cpu: cpu, faults: true}
	switch err := n.begin(t); {
	case errors.Is(err, errGone):
		k.ended(tid, 0)
		return
	case err != nil && !errors.Is(err, unix.ESRCH):
		k.log(fmt.Errorf("pid %d executes a program that sees all of the CPU's features: %w", tid, err))
	}
	// A stop that somebody waits for may have been taken for another.
	k.resume(tid, unix.PTRACE_INTERRUPT, 0)
	k.resume(tid, unix.PTRACE_CONT, 0)
}
