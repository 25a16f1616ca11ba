package kernel

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cr/regset"
)

// FailCalls has fail decide, by the name of each call that a task is to be made
// to make, with which errno it fails instead; nil makes all calls.
func FailCalls(fail func(call string) unix.Errno) {
	failCall = nil
	if fail != nil {
		failCall = func(nr sysno) unix.Errno { return fail(nr.String()) }
	}
}

// HasLists reports whether tasks of this machine can work off lists of calls.
func HasLists() bool { return hasLists(hostABI) }

// AlwaysStub has callers execute a stub, as those of another word size must.
func AlwaysStub(on bool) { alwaysStub = on }

// ErrKilled is the error of a restart that failed after the point of no return.
var ErrKilled = errKilled

// TaskState is what ptrace tells of a task.
type TaskState struct {
	GPRs, FPRs []byte
	Sigmask    uint64
	Rseq       uint64 // address of struct rseq
	Pending    [2][][]byte
}

// ReadTask stops a task for a moment and reads its state. The thread must be
// locked.
func ReadTask(tid int) (*TaskState, error) {
	t, err := holdCaller(tid)
	if err != nil {
		return nil, err
	}
	var s TaskState
	regs, err := t.gprs()
	if err != nil {
		return nil, err
	}
	s.GPRs = append([]byte(nil), regs...)
	fprs, err := t.regset(regset.PRFPREG)
	if err != nil {
		return nil, err
	}
	s.FPRs = append([]byte(nil), fprs...)
	if s.Sigmask, err = t.sigmask(); err != nil {
		return nil, err
	}
	if s.Rseq, _, _, _, err = t.rseq(); err != nil {
		return nil, err
	}
	for i := range s.Pending {
		if s.Pending[i], err = t.pendingSignals(i == 1); err != nil {
			return nil, err
		}
	}
	return &s, t.detach()
}

// KilledInto restarts an image in a process by a kernel side that kills itself
// before a step; false says that it came to its end before.
// what is "into", or "into-stub" for a process that executes a stub first.
func KilledInto(t *testing.T, what string, at, pid int, image string) bool {
	t.Helper()
	return killedAt(t, what, at, pid, image)
}

// StepsInto counts the steps of that.
func StepsInto(t *testing.T, what string, pid int, image string) int {
	t.Helper()
	return stepsOf(t, what, pid, image)
}

// EveryStep is everyStepFor.
func EveryStep(t *testing.T, n int, most time.Duration, f func(at int)) {
	t.Helper()
	everyStepFor(t, n, most, f)
}
