package kernel

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxSteps is how many instructions a task is given to leave a function of the
// vdso. The longest functions have a few hundred.
const maxSteps = 20000

// leaveVDSO lets those stopped tasks of a process run on that are in a function
// of the vdso which reads data of the kernel, to the end of it: on another kernel
// it would read other data in the middle.
func (p *process) leaveVDSO() error {
	var code area
	var functions map[string]vdsoFunction
	for _, t := range p.tasks {
		regs, err := t.gprs()
		if err != nil {
			return err
		}
		if t.arch == nil {
			continue
		}
		if _, _, in := t.arch.Syscall(t.abi, regs); in {
			continue
		}
		if functions == nil {
			if code, functions, err = p.vdso(); err != nil {
				return err
			}
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
		if !reads(t.arch.PC(t.abi, regs)) {
			continue
		}
		if err := t.stepWhile(reads); err != nil {
			return err
		}
	}
	return nil
}

// vdso finds the kernel's vdso in a process; an empty area if there is none.
func (p *process) vdso() (area, map[string]vdsoFunction, error) {
	areas, err := readAreas(p.pid, false)
	if err != nil {
		return area{}, nil, err
	}
	for _, a := range areas {
		if a.name != "[vdso]" {
			continue
		}
		mem, err := openMemory(p.pid)
		if err != nil {
			return area{}, nil, err
		}
		defer mem.close()
		code := make([]byte, a.end-a.start)
		if err := mem.read(a.start, code); err != nil {
			return area{}, nil, err
		}
		functions, err := vdsoFunctions(code)
		return a, functions, err
	}
	return area{}, map[string]vdsoFunction{}, nil
}

// stepWhile makes a stopped task run on, instruction by instruction, as long as
// its program counter is where in says.
func (t *task) stepWhile(in func(pc uint64) bool) error {
	mask, err := t.sigmask()
	if err != nil {
		return err
	}
	if err := t.setSigmask(allSignals); err != nil {
		return err
	}
	for i := 0; i < maxSteps; i++ {
		if err := t.step(); err != nil {
			return err
		}
		regs, err := t.gprs()
		if err != nil {
			return err
		}
		if !in(t.arch.PC(t.abi, regs)) {
			break
		}
	}
	return t.setSigmask(mask)
}

// step lets a task run one instruction. Its signals are blocked.
func (t *task) step() error {
	for {
		if err := ptrace(unix.PTRACE_SINGLESTEP, t.tid, 0, 0); err != nil {
			return fmt.Errorf("pid %d: step: %w", t.tid, err)
		}
		ws, err := waitTask(t.tid)
		if err != nil {
			t.stopped = false
			return err
		}
		switch sig := ws.StopSignal(); {
		case stopEvent(ws) != 0:
			// A stop for job control: go on.
		case sig == syscall.SIGTRAP:
			return nil
		case sig == syscall.SIGSTOP:
			t.held = append(t.held, sig)
		default:
			return fmt.Errorf("pid %d: %w: %v", t.tid, errFault, sig)
		}
	}
}
