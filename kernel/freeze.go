package kernel

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// process is a frozen process.
type process struct {
	pid     int // as this program sees it
	status  *status
	stat    stat
	tasks   []*task // the leader first
	mem     memory
	areas   []area // as they were before scratch was mapped
	scratch uint64 // memory in the process for arguments of calls; 0 if there is none
	loan    loan   // the task that makes calls
	zombie  bool
	vdso    *vdso // once undoPlace has asked
	marked  bool  // its tasks can send themselves the marker
	mute    bool  // they cannot

	// The parent, if it has the same descriptors, working directory, memory,
	// signal actions.
	filesOf, fsOf, mmOf, sighandOf *process
}

func (p *process) leader() *task { return p.tasks[0] }

// tree is a set of frozen processes, parents before their children.
type tree struct {
	processes []*process
	tasks     map[int]*task // by tid
	options   uintptr       // of ptrace, beyond freezeOptions
	watchdog  *watchdog     // of processes that are restarted; nil if they need none
}

// freezeOptions: every thread and child that a task makes before it stops is
// traced from its first moment on, so none gets away.
const freezeOptions = optTraceSysGood | optTraceClone | optTraceFork | optTraceVfork

// freeze stops all tasks of a process, and with descendants those of its
// children and their children. It ends when a pass over /proc finds no task
// that it has not stopped.
func freeze(root int, descendants bool) (*tree, error) {
	return freezeWith(root, descendants, 0)
}

// freezeWith is freeze with further options of ptrace.
func freezeWith(root int, descendants bool, options uintptr) (*tree, error) {
	t := &tree{tasks: make(map[int]*task), options: options}
	if err := t.freeze(root, descendants); err != nil {
		t.thaw()
		return nil, err
	}
	return t, nil
}

func (t *tree) freeze(root int, descendants bool) error {
	began := time.Now()
	for {
		pids, err := members(root, descendants)
		if err != nil {
			return err
		}
		alone, err := t.leftAlone(pids)
		if err != nil {
			return err
		}
		fresh, err := t.seizeAll(pids, root, alone)
		if err != nil {
			return err
		}
		if len(fresh) == 0 && len(alone) == 0 {
			return t.group(pids, root)
		}
		if len(alone) > 0 {
			if time.Since(began) > vforkPatience {
				return vforkRefused(alone)
			}
			time.Sleep(time.Millisecond)
		}
		for len(fresh) > 0 {
			next := fresh[0]
			fresh = fresh[1:]
			if t.tasks[next.tid] != next {
				continue // it has been let go
			}
			born, err := t.awaitStop(next)
			if errors.Is(err, errGone) {
				delete(t.tasks, next.tid)
				continue
			}
			if errors.Is(err, errVfork) {
				if err := t.letVfork(next, born[len(born)-1:]); err != nil {
					return err
				}
				born, err = born[:len(born)-1], nil
			}
			if err != nil {
				return err
			}
			for _, tid := range born {
				if _, known := t.tasks[tid]; !known {
					c := &task{tid: tid}
					t.tasks[tid] = c
					fresh = append(fresh, c)
				}
			}
		}
	}
}

// members lists a process and, if asked for, its descendants, parents first.
func members(root int, descendants bool) ([]int, error) {
	list := []int{root}
	if !descendants {
		return list, nil
	}
	for i := 0; i < len(list); i++ {
		c, err := children(list[i])
		if errors.Is(err, unix.ESRCH) && list[i] != root {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, c...)
	}
	return list, nil
}

// seizeAll begins to trace and to stop those tasks that are not traced yet, but
// for some.
func (t *tree) seizeAll(pids []int, root int, alone map[int]bool) (fresh []*task, err error) {
	for _, pid := range pids {
		if pid == os.Getpid() {
			return fresh, &RefusedError{PID: root, Kind: "process", Errno: unix.EBUSY,
				Reason: fmt.Sprintf("its descendant %d is the one that saves it", pid),
				Hint:   "do so from outside of it, or save it without its descendants"}
		}
		tids, err := threads(pid)
		if errors.Is(err, unix.ESRCH) && pid != root {
			continue
		}
		if err != nil {
			return fresh, err
		}
		for _, tid := range tids {
			if _, known := t.tasks[tid]; known || alone[tid] {
				continue
			}
			s, err := readStatus(tid)
			if errors.Is(err, unix.ESRCH) || err == nil && (s.state == 'Z' || s.state == 'X') {
				continue
			}
			if err != nil {
				return fresh, err
			}
			err = seize(tid, freezeOptions|t.options)
			if errors.Is(err, unix.ESRCH) {
				continue
			}
			if errors.Is(err, unix.EAGAIN) {
				alone[tid] = true // it has called vfork since
				continue
			}
			if err != nil {
				return fresh, err
			}
			c := &task{tid: tid}
			t.tasks[tid] = c
			fresh = append(fresh, c)
			if err := interrupt(tid); err != nil && !errors.Is(err, unix.ESRCH) {
				return fresh, fmt.Errorf("stop pid %d: %w", tid, err)
			}
		}
	}
	return fresh, nil
}

// awaitStop waits until a task has stopped, outside of any system call that it
// might have been in. It returns the tids of the tasks that it has made
// meanwhile: they are traced, and will stop too. If the last of them was made by
// vfork, the error is errVfork.
func (t *tree) awaitStop(c *task) (born []int, err error) {
	for {
		ws, err := waitTask(c.tid)
		if err != nil {
			return born, err
		}
		deliver := uintptr(0)
		// Any other stop takes the place of the one that was asked for.
		if stopEvent(ws) != eventStop {
			if err := interrupt(c.tid); err != nil && !errors.Is(err, unix.ESRCH) {
				return born, fmt.Errorf("stop pid %d: %w", c.tid, err)
			}
		}
		switch event := stopEvent(ws); event {
		case eventStop:
			c.stopped = true
			if ws.StopSignal() != unix.SIGTRAP {
				c.jobStop = true
			}
			return born, nil
		case 0:
			// A signal came first: it is delivered, the stop is still to come.
			deliver = uintptr(ws.StopSignal())
		default:
			var child uintptr
			if err := ptrace(unix.PTRACE_GETEVENTMSG, c.tid, 0, uintptr(unsafe.Pointer(&child))); err == nil {
				born = append(born, int(child))
				if event == unix.PTRACE_EVENT_VFORK {
					return born, errVfork
				}
			}
		}
		if err := ptrace(unix.PTRACE_CONT, c.tid, 0, deliver); err != nil && !errors.Is(err, unix.ESRCH) {
			return born, fmt.Errorf("resume pid %d: %w", c.tid, err)
		}
	}
}

// group sorts the stopped tasks into processes.
func (t *tree) group(pids []int, root int) error {
	for _, pid := range pids {
		s, err := readStatus(pid)
		if errors.Is(err, unix.ESRCH) && pid != root {
			continue
		}
		if err != nil {
			return err
		}
		p := &process{pid: pid, status: s, zombie: s.state == 'Z'}
		if p.stat, err = readStat(pid); err != nil {
			return err
		}
		if p.zombie && pid == root {
			return fmt.Errorf("pid %d has exited: %w", pid, unix.ESRCH)
		}
		tids, err := threads(pid)
		if err != nil {
			return err
		}
		for _, tid := range tids {
			if c := t.tasks[tid]; c != nil {
				c.pid = pid
				p.tasks = append(p.tasks, c)
			}
		}
		if len(p.tasks) == 0 && !p.zombie {
			return fmt.Errorf("pid %d: %w", pid, errGone)
		}
		for i, c := range p.tasks {
			if c.tid == pid {
				p.tasks[0], p.tasks[i] = p.tasks[i], p.tasks[0]
			}
		}
		t.processes = append(t.processes, p)
	}
	// Children of a fork that the tree does not include were traced by the
	// options; let them go.
	for tid, c := range t.tasks {
		if c.pid == 0 {
			delete(t.tasks, tid)
			if err := c.detach(); err != nil {
				return err
			}
		}
	}
	return nil
}

// thaw lets all tasks run on.
func (t *tree) thaw() error {
	var first error
	for _, c := range t.tasks {
		if !t.isStopped(c) {
			continue // only a stopped task can be detached from
		}
		if err := c.detach(); err != nil && first == nil {
			first = err
		}
	}
	t.watchdog.dismiss()
	t.watchdog = nil
	t.reap()
	for _, p := range t.processes {
		if p.mem.f != nil {
			p.mem.close()
		}
	}
	return first
}

// isStopped waits for a task to stop that was seized. It is false for one that
// has gone.
func (t *tree) isStopped(c *task) bool {
	if c.stopped {
		return true
	}
	born, err := t.awaitStop(c)
	for _, tid := range born {
		if _, known := t.tasks[tid]; !known {
			_ = letGo(tid) // it may have ended
		}
	}
	c.stopped = err == nil || errors.Is(err, errVfork)
	return c.stopped
}

// reap waits for tasks that were killed while they were traced, by themselves
// even: the first to run on may end the process. Until their tracer has waited
// for them nobody else is told of their end. A leader comes after its threads;
// one that is a child of this program is left to whoever waits for children. The
// init of a pid namespace comes last, as it does not end before all others in
// there have.
func (t *tree) reap() {
	for _, inits := range []bool{false, true} {
		for _, leaders := range []bool{false, true} {
			for _, c := range t.tasks {
				if !c.killed {
					continue
				}
				s, err := readStatus(c.tid)
				if err != nil || (s.tgid == c.tid) != leaders || (last(s.nstgid) == 1) != inits || leaders && s.ppid == os.Getpid() {
					continue
				}
				for err == nil {
					_, err = waitTask(c.tid)
				}
			}
		}
	}
}

// setOptions changes the options of ptrace of all tasks, beyond freezeOptions.
// Tasks that they make have the same.
func (t *tree) setOptions(options uintptr) error {
	t.options = options
	for _, c := range t.tasks {
		if err := ptrace(ptraceSetOptions, c.tid, 0, freezeOptions|options); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("pid %d: set options of ptrace: %w", c.tid, err)
		}
	}
	return nil
}

// kill ends all processes of the tree.
func (t *tree) kill() error {
	var first error
	for _, p := range t.processes {
		if p.zombie {
			continue
		}
		if err := unix.Kill(p.pid, syscall.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) && first == nil {
			first = fmt.Errorf("kill pid %d: %w", p.pid, err)
		}
	}
	return first
}
