package kernel

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"cr/regset"
)

// scratchSize is how much memory a process is given for the arguments of the
// calls that it is made to make, in bytes.
const scratchSize = 64 << 10

// argsSize is how much of it there is where a list of calls lies at its end.
const argsSize = scratchSize - listSize

// scratchRoom is the same with room for a list of them.
const scratchRoom = scratchSize + listSize

// hold notes the registers of a stopped task and blocks its signals, so that it
// can be made to make calls.
func (t *task) hold() error {
	if err := t.note(); err != nil {
		return err
	}
	if err := t.holdDispatch(); err != nil {
		return err
	}
	return t.setSigmask(t.callMask())
}

// note notes the registers and the signal mask of a stopped task.
func (t *task) note() error {
	regs, err := t.gprs()
	if err != nil {
		return err
	}
	if t.arch == nil {
		return fmt.Errorf("pid %d: tasks of this kind are not known", t.tid)
	}
	if err := t.retry(regs); err != nil {
		return err
	}
	t.saved = append([]byte(nil), regs...)
	_, args, in := t.arch.Syscall(t.abi, regs)
	unfinished := in && t.arch.Result(t.abi, regs) == -erestartRestartblk
	if err := t.keep(in); err != nil {
		return err
	}
	t.entry = append([]byte(nil), regs...)
	t.rewound = t.arch.Rewind(t.abi, t.saved)
	t.live = append([]byte(nil), t.saved...)
	if unfinished {
		// What is left of the sleep is known to the kernel only.
		t.arch.SetSyscall(t.abi, t.live, t.arch.PC(t.abi, t.saved), sysRestartSyscall.number(t.abi), args)
	}
	t.mask, err = t.sigmask()
	return err
}

// release puts registers and signal mask of a held task back.
func (t *task) release() error {
	if t.live == nil {
		return nil
	}
	if err := t.setRegset(regset.PRSTATUS, t.live); err != nil {
		return err
	}
	if err := t.settle(t.kept); err != nil {
		return err
	}
	if t.dispatch.Mode != 0 {
		if err := t.setDispatch(t.dispatch); err != nil {
			return err
		}
	}
	return t.setSigmask(t.mask)
}

// enter prepares a process whose tasks are held for calls: it finds a system
// call instruction and maps memory for arguments.
func (p *process) enter() error {
	insn, err := p.findInsn()
	if err != nil {
		return err
	}
	for _, t := range p.tasks {
		t.insn = insn
	}
	addr, err := p.leader().mmap(0, scratchSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, -1, 0)
	if err != nil {
		return err
	}
	p.scratch = addr
	return nil
}

// leave undoes enter, and releases the tasks.
func (p *process) leave() error {
	var first error
	if p.scratch != 0 {
		if _, err := p.leader().call(sysMunmap, p.scratch, scratchSize); err != nil {
			first = err
		}
		p.scratch = 0
	}
	for _, t := range p.tasks {
		if err := t.release(); err != nil && first == nil && !errors.Is(err, unix.ESRCH) {
			first = err
		}
	}
	return first
}

// findInsn finds a system call instruction in the executable memory of a
// process: in the vdso, which has one on every machine, or else anywhere.
func (p *process) findInsn() (uint64, error) {
	areas := p.areas
	if areas == nil {
		var err error
		if areas, err = readAreas(p.pid, false); err != nil {
			return 0, err
		}
	}
	t := p.leader()
	insn := t.arch.SyscallInsn(t.abi)
	for _, vdso := range []bool{true, false} {
		for _, a := range areas {
			if a.prot&unix.PROT_EXEC == 0 || (a.name == "[vdso]") != vdso || a.name == "[vsyscall]" {
				continue
			}
			addr, err := p.search(a, insn)
			if err != nil {
				return 0, err
			}
			if addr != 0 {
				return addr, nil
			}
		}
	}
	return 0, &RefusedError{PID: p.pid, Kind: "memory", Reason: "it holds no system call instruction", Errno: unix.EOPNOTSUPP}
}

// search looks for an instruction in a mapping; 0 if it is not there.
func (p *process) search(a area, insn []byte) (uint64, error) {
	step := uint64(1)
	if len(insn) == 4 {
		step = 4 // powerpc instructions are aligned
	}
	size := a.end - a.start
	if size > 64<<10 {
		size = 64 << 10
	}
	buf := make([]byte, size)
	for at := a.start; at < a.end; at += uint64(len(buf)) {
		if n := a.end - at; n < uint64(len(buf)) {
			buf = buf[:n]
		}
		if err := p.mem.read(at, buf); err != nil {
			return 0, nil // beyond the end of the file, for one
		}
		for off := 0; ; {
			i := bytes.Index(buf[off:], insn)
			if i < 0 {
				break
			}
			if off += i; uint64(off)%step == 0 {
				return at + uint64(off), nil
			}
			off++
		}
	}
	return 0, nil
}
