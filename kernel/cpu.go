package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"cr/regset"
)

// readCPU reads the register sets of a stopped task that ptrace can read.
func (t *task) readCPU() (*regset.State, error) {
	state := &regset.State{ABI: t.abi}
	state.Put(regset.PRSTATUS, t.saved)
	for _, d := range t.arch.Table(t.abi) {
		if d.Note == regset.PRSTATUS {
			continue
		}
		var data []byte
		var err error
		switch d.Access {
		case regset.Regset:
			data, err = t.regset(d.Note)
		case regset.VSRRegs:
			data, err = t.readVSRs()
		case regset.Debugreg:
			data, err = t.readDebugregs()
		}
		if err != nil {
			return nil, fmt.Errorf("pid %d: %s: %w", t.tid, d.Name, err)
		}
		if len(data) > 0 {
			state.Put(d.Note, data)
		}
	}
	for _, d := range t.arch.Table(t.abi) {
		if redundant(state, d.Note) {
			state.Drop(d.Note)
		}
	}
	return state, nil
}

// refuseCPU names a register set that cannot be saved. Nothing is run in such a
// task: a call would end its transaction, for one.
func (t *task) refuseCPU(state *regset.State) error {
	for _, d := range t.arch.Table(t.abi) {
		data := state.Find(d.Note)
		if data == nil || d.Unsaved == nil {
			continue
		}
		if reason := d.Unsaved(t.abi, data); reason != "" {
			e := &RefusedError{PID: t.tid, Kind: "registers", Object: d.Name, Reason: reason, Errno: unix.EOPNOTSUPP}
			if d.Passing {
				e.Errno, e.Hint = unix.EBUSY, "try again"
			}
			return e
		}
	}
	return nil
}

// readCalls adds the register sets that only the task itself can ask for.
func (p *process) readCalls(t *task, state *regset.State) error {
	for _, d := range t.arch.Table(t.abi) {
		if d.Access != regset.ByCall {
			continue
		}
		data, err := p.readByCall(t, d.Note)
		if err != nil {
			return fmt.Errorf("pid %d: %s: %w", t.tid, d.Name, err)
		}
		if len(data) > 0 {
			state.Put(d.Note, data)
		}
	}
	return nil
}

// writeCalls gives a task the register sets that only the task itself can set.
func (p *process) writeCalls(t *task, state *regset.State) error {
	for _, d := range t.arch.Table(t.abi) {
		data := state.Find(d.Note)
		if d.Access != regset.ByCall || data == nil {
			continue
		}
		if err := p.writeByCall(t, d.Note, data); err != nil {
			return fmt.Errorf("pid %d: %s: %w", t.tid, d.Name, err)
		}
	}
	return p.writeByInsn(t, state)
}

// writeCPU writes the register sets that ptrace can write, in the order of the
// table; NT_PRSTATUS last, so that the task is where it shall be.
func (t *task) writeCPU(state *regset.State) error {
	for _, d := range t.arch.Table(t.abi) {
		data := state.Find(d.Note)
		if data == nil || d.Note == regset.PRSTATUS {
			continue
		}
		var err error
		switch d.Access {
		case regset.Regset:
			err = t.setRegset(d.Note, data)
		case regset.VSRRegs:
			err = t.writeVSRs(data)
		case regset.Debugreg:
			err = t.writeDebugregs(data)
		}
		if err != nil && !(errors.Is(err, unix.ENODEV) && d.Used != nil && !d.Used(t.abi, data)) {
			return fmt.Errorf("pid %d: %s: %w", t.tid, d.Name, err)
		}
	}
	return t.setRegset(regset.PRSTATUS, state.Find(regset.PRSTATUS))
}
