package kernel

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// System V semaphores belong to their IPC namespace, but for what is to be
// undone when a process ends (SEM_UNDO). The kernel does not tell of it. It tells
// which process has last used a semaphore, and by kcmp(2) whether two processes
// have the same list of things to undo; one that has never made threads or used
// SEM_UNDO has none.

// checkSemaphores refuses processes that may have something to undo.
func (s *saver) checkSemaphores() error {
	if s.ownIPC() {
		return nil // see ipcNamespace
	}
	sets, err := readSysV("sem")
	if err != nil {
		return err
	}
	for id, set := range sets {
		use := sysvUse{sysvSet, id, set, nil}
		for n := int64(0); n < set["nsems"]; n++ {
			pid, err := use.semaphore(n, semGetPID)
			if err != nil {
				break // not for this program to read, or gone
			}
			p := s.tree.find(pid)
			if p == nil || p.zombie {
				continue
			}
			if _, err := s.nothingToUndo(p, id, n); err != nil {
				return err
			}
			break
		}
	}
	return nil
}

// nothingToUndo makes sure that a process which has used a semaphore of a set
// last has nothing to undo, and refuses it otherwise.
func (s *saver) nothingToUndo(p *process, set int32, n int64) (bool, error) {
	undoes, err := mayUndo(p)
	if err == nil && undoes {
		s.refuse(p, "semaphore", fmt.Sprintf("%d of set %d", n, set),
			"it has used it last, perhaps with SEM_UNDO, and the kernel does not tell what is to be undone",
			"remove the set, or run the program without SEM_UNDO")
	}
	return !undoes, err
}

// mayUndo reports whether a process has a list of things to undo, by comparing
// it with one that has none.
func mayUndo(p *process) (bool, error) {
	f, err := stubFile(stubKind{abi: hostABI})
	if err != nil {
		return false, err
	}
	defer f.Close()
	stub, err := os.StartProcess(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), []string{"cr-stub"}, new(os.ProcAttr))
	if err != nil {
		return false, fmt.Errorf("start the stub: %w", err)
	}
	defer func() {
		_ = stub.Kill()
		_, _ = stub.Wait()
	}()
	const kcmpSysvsem = 6
	c, err := kcmp(stub.Pid, p.leader().tid, kcmpSysvsem, 0, 0)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return true, nil
	}
	return c != 0, err
}
