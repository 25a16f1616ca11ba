package kernel

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"cr/regset"
)

// A task that has called vfork(2) waits, and cannot be stopped, until its child
// has executed a program or ended. Mostly that is a matter of microseconds: the
// two are left alone until it is over.

// vforkPatience is how long a freeze waits for it.
const vforkPatience = 3 * time.Second

// errVfork says that a task is about to wait for its child.
var errVfork = errors.New("the task waits for a child made by vfork")

// inVfork reports whether a task waits for a child made by vfork.
func inVfork(tid int) bool {
	b, err := readProc(tid, "syscall")
	if err != nil {
		return false
	}
	f := strings.Fields(string(b))
	number, err := strconv.Atoi(f[0])
	if err != nil {
		return false // it runs
	}
	for _, abi := range []regset.ABI{hostABI, narrowABI(hostABI)} {
		for _, nr := range []sysno{sysVfork, sysClone, sysClone3} {
			if number == nr.number(abi) {
				return true
			}
		}
	}
	return false
}

// narrowABI is that of 32-bit tasks on a kernel.
func narrowABI(abi regset.ABI) regset.ABI {
	switch abi {
	case regset.X86_64:
		return regset.I386
	case regset.PPC64:
		return regset.PPC
	}
	return abi
}

// leftAlone lists those tasks of processes that wait for a child made by vfork,
// and the processes that are their children.
func (t *tree) leftAlone(pids []int) (map[int]bool, error) {
	list := make(map[int]bool)
	for _, pid := range pids {
		tids, err := threads(pid)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, tid := range tids {
			if _, known := t.tasks[tid]; known {
				continue
			}
			s, err := readStatus(tid)
			if err != nil || s.state != 'D' || !inVfork(tid) {
				continue
			}
			list[tid] = true
			b, err := readFile(procPath(pid, "task/"+strconv.Itoa(tid)+"/children"))
			if err != nil {
				continue
			}
			for _, f := range strings.Fields(string(b)) {
				if child, err := strconv.Atoi(f); err == nil {
					list[child] = true
				}
			}
		}
	}
	return list, nil
}

// letVfork lets a task that is about to wait for its child run on, and the
// child.
func (t *tree) letVfork(parent *task, born []int) error {
	parent.stopped = true
	delete(t.tasks, parent.tid)
	for _, tid := range born {
		delete(t.tasks, tid) // it may have been found before its parent has told of it
		if err := letGo(tid); err != nil {
			return firstError(err, parent.detach())
		}
	}
	return parent.detach()
}

// letGo detaches from a task that was traced from its first moment on.
func letGo(tid int) error {
	c := &task{tid: tid, pid: tid}
	if _, err := new(tree).awaitStop(c); err != nil {
		if errors.Is(err, errGone) {
			return nil
		}
		return err
	}
	return c.detach()
}

// vforkRefused is the error for tasks that wait too long.
func vforkRefused(alone map[int]bool) error {
	for tid := range alone {
		if s, err := readStatus(tid); err == nil && s.state == 'D' {
			return &RefusedError{PID: tid, Kind: "task", Errno: unix.EBUSY,
				Reason: "it waits for a child made by vfork to execute a program or to end, and cannot be stopped meanwhile",
				Hint:   "try again"}
		}
	}
	return fmt.Errorf("%w for too long: %v", errVfork, unix.EBUSY)
}
