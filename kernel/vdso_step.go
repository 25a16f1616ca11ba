package kernel

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"cr/regset"
)

// How often, and how long at first and at most, a task is let run to leave a
// function of the vdso.
const (
	maxRunsOn  = 100
	firstRunOn = 20 * time.Microsecond
	lastRunOn  = 5 * time.Millisecond
)

// leaveVDSO lets those stopped tasks of a process run on that are in a function
// of the vdso which reads data of the kernel, to the end of it: on another kernel
// it would read other data in the middle. The same goes for tasks on their way
// back from a kernel side that was killed.
func (p *process) leaveVDSO() error {
	var code *vdso
	var functions map[string]vdsoFunction
	for _, t := range p.tasks {
		regs, err := t.gprs()
		if err != nil {
			return err
		}
		if t.arch == nil {
			continue
		}
		if code == nil {
			if code, err = p.readVDSO(); err != nil {
				return err
			}
			if code == nil {
				return nil
			}
			if functions, err = vdsoFunctions(code.content); err != nil {
				return err
			}
		}
		end := code.start + uint64(len(code.content))
		returns := func(pc uint64) bool { return pc >= code.start+code.segments && pc < end }
		if _, _, in := t.arch.Syscall(t.abi, regs); in && !returns(t.arch.PC(t.abi, regs)) {
			continue
		}
		reads := func(pc uint64) bool {
			if pc < code.start || pc >= end {
				return false
			}
			for name, f := range functions {
				if at := pc - code.start; at >= f.at && at < f.at+f.size {
					return readsKernelData(name)
				}
			}
			return true // a function that has no name
		}
		if err := t.runOnWhile(reads, returns); err != nil {
			return err
		}
	}
	return nil
}

// runOnWhile lets a stopped task run on as long as its program counter is where
// in says, but into no system call unless it is where free says. The task is not
// stepped: a tracer that is killed in the middle of a step leaves a SIGTRAP.
func (t *task) runOnWhile(in, free func(pc uint64) bool) error {
	wait := firstRunOn
	for i := 0; i < maxRunsOn; i++ {
		regs, err := t.gprs()
		if err != nil {
			return err
		}
		if !in(t.arch.PC(t.abi, regs)) {
			return nil
		}
		if err := t.runOn(wait, free); err != nil {
			return err
		}
		if wait < lastRunOn {
			wait += wait / 2
		}
	}
	return nil
}

// runOn lets a stopped task run for a while. It stops before a system call.
func (t *task) runOn(d time.Duration, free func(pc uint64) bool) error {
	resume := func(request int, sig uintptr) error {
		if err := ptrace(request, t.tid, 0, sig); err != nil {
			return fmt.Errorf("resume pid %d: %w", t.tid, err)
		}
		return nil
	}
	if err := resume(unix.PTRACE_SYSCALL, 0); err != nil {
		return err
	}
	time.Sleep(d)
	if err := interrupt(t.tid); err != nil {
		return fmt.Errorf("stop pid %d: %w", t.tid, err)
	}
	for {
		ws, err := waitTask(t.tid)
		if err != nil {
			t.stopped = false
			return err
		}
		if stopEvent(ws) == eventStop {
			return nil
		}
		// Any other stop takes the place of the one that was asked for.
		if err := interrupt(t.tid); err != nil {
			return fmt.Errorf("stop pid %d: %w", t.tid, err)
		}
		switch {
		case stopEvent(ws) != 0:
			err = resume(unix.PTRACE_SYSCALL, 0)
		case ws.StopSignal() == syscallStop:
			var regs []byte
			if regs, err = t.gprs(); err != nil {
				return err
			}
			if free(t.arch.PC(t.abi, regs)) {
				err = resume(unix.PTRACE_SYSCALL, 0)
				break
			}
			return t.notYet(regs)
		default:
			err = resume(unix.PTRACE_SYSCALL, uintptr(ws.StopSignal()))
		}
		if err != nil {
			return err
		}
	}
}

// notYet takes a task that has entered a system call back to before it. It has
// been interrupted.
func (t *task) notYet(regs []byte) error {
	back := append([]byte(nil), regs...)
	t.arch.Unenter(t.abi, back)
	skip := append([]byte(nil), back...)
	t.arch.Skip(t.abi, skip)
	if err := t.setRegset(regset.PRSTATUS, skip); err != nil {
		return err
	}
	if err := t.toStop(); err != nil {
		return err
	}
	return t.setRegset(regset.PRSTATUS, back)
}
