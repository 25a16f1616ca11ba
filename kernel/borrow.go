package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"

	"cr/regset"
)

// loan is a task of a frozen process that makes calls for the kernel side. A
// process has one at a time, so that at any instant no more than one of its
// tasks is away from where it was. The kernel side may be killed at any instant
// all the same: see undoCode.
type loan struct {
	task *task
	at   uint64    // where the code lies in the process
	way  *ppcWay   // of a task of powerpc
	room uint64    // size of the scratch memory
	code *undoCode // nil where the task has no way back of its own
}

// borrow takes a task that was noted away from its program, for calls, and maps
// scratch memory. The task that was borrowed before is given back.
func (p *process) borrow(t *task) error {
	if p.loan.task == t {
		return nil
	}
	if err := p.giveBack(); err != nil {
		return err
	}
	way, err := t.ppcWay()
	if err != nil {
		return err
	}
	t.marker = p.markerOf(t)
	at, err := p.undoPlace(t, way)
	if err != nil {
		return err
	}
	if err := t.holdDispatch(); err != nil {
		return err
	}
	p.loan = loan{task: t, at: at, way: way, room: scratchRoom}
	if at == 0 {
		if t.insn, err = p.findInsn(); err != nil {
			return err
		}
		t.marker = marker{}
		if err := t.setSigmask(allSignals); err != nil {
			return err
		}
	} else if err := p.setOut(t); err != nil {
		return err
	}
	addr, err := t.mmap(0, scratchRoom, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, -1, 0)
	if err != nil {
		return err
	}
	p.scratch = addr
	if p.loan.code == nil {
		return nil
	}
	// The task is behind the mmap: what comes after it does not read the
	// address of the scratch memory from the code.
	if err := p.layUndo(t); err != nil {
		return err
	}
	t.insn, t.end = at+p.loan.code.mapped, 0
	if err := p.tryMarker(t); err != nil {
		return err
	}
	if t.marker.sig != 0 && p.marked {
		t.list = &callList{p.mem, addr + scratchSize, at + p.loan.code.list, at + p.loan.code.listEnd}
	}
	return nil
}

// setOut takes a task to the undo code, and blocks its signals only then.
func (p *process) setOut(t *task) error {
	if err := p.layUndo(t); err != nil {
		return err
	}
	at, code := p.loan.at, p.loan.code
	regs := append([]byte(nil), t.live...)
	t.arch.SetPC(t.abi, regs, at+code.undo)
	if err := t.setRegset(regset.PRSTATUS, regs); err != nil {
		return err
	}
	t.insn, t.end = at+code.mapping, 0
	if p.marked {
		t.end = code.markEnd(at, code.mappingEnd)
	}
	return t.setSigmask(t.callMask())
}

// tryMarker finds out, with a stop before and behind the call, whether the tasks
// of a process can send themselves signals: a security module may not let them.
func (p *process) tryMarker(t *task) error {
	if p.marked || p.mute || t.marker.sig == 0 {
		return nil
	}
	err := t.sendMarker()
	p.marked, p.mute = err == nil, isErrno(err)
	if p.mute {
		return nil
	}
	return err
}

// layUndo writes the undo code for a task.
func (p *process) layUndo(t *task) error {
	p.loan.code = newUndoCode(t.abi, p.loan.way, t.marker, p.loan.at, t.live, t.mask, span{p.scratch, p.scratch + p.loan.room})
	return p.mem.write(p.loan.at, p.loan.code.text)
}

// callForDescriptor makes the borrowed task make a call that returns a
// descriptor, hands that to use, and has the task close it. The task closes it
// too if the kernel side is killed.
func (p *process) callForDescriptor(use func(fd uint64) error, nr sysno, args ...uint64) error {
	t := p.loan.task
	insn, list := t.insn, t.list
	if code := p.loan.code; code != nil {
		t.insn, t.list = p.loan.at+code.descriptor, nil
	}
	fd, err := t.call(nr, args...)
	t.insn, t.list = insn, list
	if err != nil {
		return err
	}
	err = use(fd)
	_, e := t.call(sysClose, fd)
	return firstError(err, e)
}

// giveBack unmaps the scratch memory and puts the borrowed task back to where
// it was: it is stopped as if it had only been interrupted, so that the kernel
// goes on with the system call that it was in.
func (p *process) giveBack() error {
	t := p.loan.task
	if t == nil {
		return nil
	}
	code := p.loan.code
	defer func() { p.loan, p.scratch, t.list, t.end = loan{}, 0, nil, 0 }()
	if p.scratch != 0 {
		t.list = nil
		if code != nil {
			t.insn = p.loan.at + code.plain
			if p.marked {
				t.end = code.markEnd(p.loan.at, code.plainEnd)
			}
		}
		if _, err := t.call(sysMunmap, p.scratch, p.loan.room); err != nil {
			return err
		}
	}
	// At a stop for a signal, too, the kernel looks whether a call is to be made again.
	if marked := p.scratch != 0 && t.end != 0; !marked {
		if err := t.toInterrupt(); err != nil {
			return err
		}
	}
	if t.dispatch.Mode != 0 {
		if err := t.setDispatch(t.dispatch); err != nil {
			return err
		}
	}
	if code == nil || t.kept != nil {
		if err := t.setRegset(regset.PRSTATUS, t.back()); err != nil {
			return err
		}
		// It runs for an instruction: no signal may come in between.
		if err := t.settle(t.kept); err != nil {
			return err
		}
		if err := t.setSigmask(t.mask); err != nil {
			return err
		}
	} else {
		if err := t.setSigmask(t.mask); err != nil {
			return err
		}
		if err := t.setRegset(regset.PRSTATUS, t.back()); err != nil {
			return err
		}
	}
	if code == nil {
		return nil
	}
	was := p.vdso.content[p.loan.at-p.vdso.start:]
	return p.mem.write(p.loan.at, was[:len(code.text)])
}

// back is what a task is given back with: the registers that it was stopped
// with where the kernel makes its system call again, those of a task in no
// call otherwise.
func (t *task) back() []byte {
	if t.rewound {
		return t.entry
	}
	return t.live
}

// toInterrupt takes a task from the end of a system call to a stop as by
// PTRACE_INTERRUPT, where the kernel looks whether a call is to be made again.
func (t *task) toInterrupt() error {
	if err := interrupt(t.tid); err != nil {
		return fmt.Errorf("stop pid %d: %w", t.tid, err)
	}
	return t.toStop()
}

// toStop lets a task that has been interrupted run to where it stops for it.
func (t *task) toStop() error {
	if err := ptrace(unix.PTRACE_CONT, t.tid, 0, 0); err != nil {
		return fmt.Errorf("resume pid %d: %w", t.tid, err)
	}
	t.stopped = false
	_, err := new(tree).awaitStop(t)
	return err
}

// undoPlace finds a place for the undo code of a task in the last page of the
// vdso: behind its ELF image, where nothing is, or else behind its segments, over
// what no program reads. A page that is written to becomes the process's own. 0 if
// there is no place, or no code.
func (p *process) undoPlace(t *task, way *ppcWay) (uint64, error) {
	code := newUndoCode(t.abi, way, t.marker, 0, t.live, 0, span{})
	if code == nil {
		return 0, nil
	}
	if p.vdso == nil {
		v, err := p.readVDSO()
		if err != nil {
			return 0, err
		}
		if v == nil {
			v = new(vdso) // there is none
		}
		if v.left != 0 {
			if err := p.mem.write(v.start+v.left, v.content[v.left:]); err != nil {
				return 0, err
			}
		}
		p.vdso = v
	}
	size := uint64(len(p.vdso.content))
	for _, from := range []uint64{p.vdso.image, p.vdso.segments} {
		if from+uint64(len(code.text)) <= size {
			return p.vdso.start + from, nil
		}
	}
	return 0, nil
}
