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
	var code area
	var functions map[string]vdsoFunction
	var end uint64 // of the ELF image
	for _, t := range p.tasks {
		regs, err := t.gprs()
		if err != nil {
			return err
		}
		if t.arch == nil {
			continue
		}
		if functions == nil {
			if code, functions, end, err = p.vdso(); err != nil {
				return err
			}
		}
		returns := func(pc uint64) bool { return pc >= code.start+end && pc < code.end }
		if _, _, in := t.arch.Syscall(t.abi, regs); in && !returns(t.arch.PC(t.abi, regs)) {
			continue
		}
		reads := func(pc uint64) bool {
			if pc < code.start || pc >= code.end {
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

// vdso finds the kernel's vdso in a process, its functions, and where its ELF
// image ends; an empty area if there is none.
func (p *process) vdso() (a area, functions map[string]vdsoFunction, end uint64, err error) {
	a, content, err := p.vdsoContent()
	if err != nil || content == nil {
		return a, map[string]vdsoFunction{}, 0, err
	}
	functions, err = vdsoFunctions(content)
	return a, functions, vdsoSize(content), err
}

// vdsoContent reads the vdso of a process; nil if it has none.
func (p *process) vdsoContent() (area, []byte, error) {
	areas, err := readAreas(p.pid, false)
	if err != nil {
		return area{}, nil, err
	}
	for _, a := range areas {
		if a.name != "[vdso]" {
			continue
		}
		mem := p.mem
		if mem.f == nil {
			if mem, err = openMemory(p.pid); err != nil {
				return area{}, nil, err
			}
			defer mem.close()
		}
		content := make([]byte, a.end-a.start)
		return a, content, mem.read(a.start, content)
	}
	return area{}, nil, nil
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
