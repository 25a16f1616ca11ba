//go:build ppc64 || ppc64le || ppc

package kernel

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"cr/ppc"
	"cr/regset"
)

// Requests of ptrace (arch/powerpc/include/uapi/asm/ptrace.h).
const (
	ptraceGetVSRRegs   = 27
	ptraceSetVSRRegs   = 28
	ptraceGetDebugreg  = 25
	ptraceSetDebugreg  = 26
	ptraceGetHWDbgInfo = 0x89
	vsrRegsSize        = 256
)

// describeCPU fills in what the kernel says of the processor: some of it can
// be learnt only by tracing a task.
func describeCPU(m *regset.Machine, uname string) error {
	abi := hostABI
	m.ABIs = abiNames(abi)
	switch uname {
	case "ppc64":
		m.Arch = regset.PPC64.String()
		m.ABIs = abiNames(regset.PPC64, regset.PPC) // CONFIG_COMPAT
	case "ppc64le":
		m.ABIs = abiNames(regset.PPC64LE)
	}
	info := ppc.Info{FPEmulation: true}
	if err := probeTask(&info); err != nil {
		return fmt.Errorf("ask the kernel for register sets: %w", err)
	}
	m.DataBreakpoints = info.DataBreakpoints
	m.InstructionBreakpoints = info.InstructionBreakpoints
	m.BreakpointRanges = info.DebugFeatures&ppc.DebugDataRange != 0
	m.Has = ppc.FromHWCAP(abi, m.HWCAP, m.HWCAP2, info)
	m.CPU, _ = cpuinfo("cpu")
	return nil
}

// probeTask starts a process that does nothing, to ask ptrace which register
// sets and breakpoints there are.
func probeTask(info *ppc.Info) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := os.StartProcess("/proc/self/exe", []string{"cr"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{Ptrace: true}})
	if err != nil {
		return err
	}
	defer func() {
		unix.Kill(p.Pid, unix.SIGKILL)
		p.Wait()
	}()
	t := &task{tid: p.Pid, pid: p.Pid}
	if _, err := waitTask(t.tid); err != nil {
		return err
	}
	regs, err := t.gprs()
	if err != nil {
		return err
	}
	_ = regs
	for _, d := range t.arch.Table(t.abi) {
		if d.Access != regset.Regset {
			continue
		}
		if t.hasRegset(d.Note) {
			info.Sets = append(info.Sets, d.Note)
		}
	}
	var dbg struct {
		version, instruction, data, condition uint32
		align                                 uint32
		sizeof                                uint32
		features                              uint64
	}
	if err := ptrace(ptraceGetHWDbgInfo, t.tid, 0, uintptr(unsafe.Pointer(&dbg))); err == nil {
		info.InstructionBreakpoints = int(dbg.instruction)
		info.DataBreakpoints = int(dbg.data)
		info.DebugFeatures = dbg.features
	}
	return nil
}

// hasRegset reports whether ptrace knows a register set of the task, in use or
// not.
func (t *task) hasRegset(note regset.Note) bool {
	buf := make([]byte, 16<<10)
	iov := unix.Iovec{Base: &buf[0]}
	iov.SetLen(len(buf))
	err := ptrace(unix.PTRACE_GETREGSET, t.tid, uintptr(note), uintptr(unsafe.Pointer(&iov)))
	return err == nil || errors.Is(err, unix.ENODATA)
}

// readDebugregs reads the DABR or DAWR: one 64-bit word.
func (t *task) readDebugregs() ([]byte, error) {
	var v uintptr
	err := ptrace(ptraceGetDebugreg, t.tid, 0, uintptr(unsafe.Pointer(&v)))
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EIO) {
		return nil, nil
	}
	data := make([]byte, 8)
	hostOrder.PutUint64(data, uint64(v))
	return data, err
}

// writeDebugregs writes the same. A machine without one takes none.
func (t *task) writeDebugregs(data []byte) error {
	v := hostOrder.Uint64(data)
	err := ptrace(ptraceSetDebugreg, t.tid, 0, uintptr(v))
	if v == 0 && (errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EIO)) {
		return nil
	}
	return err
}

// Options of prctl(2) of powerpc.
const (
	prGetUnalign = 5
	prSetUnalign = 6
	prGetFPExc   = 11
	prSetFPExc   = 12
	prGetEndian  = 19
	prGetDEXCR   = 72
	prSetDEXCR   = 73
)

// readByCall reads the sets that only the task itself can ask for. The task is
// held and its process entered.
func (p *process) readByCall(t *task, note regset.Note) ([]byte, error) {
	if note != regset.NotePPCPrctl {
		return nil, nil
	}
	m := ppc.Prctl{}
	for _, q := range []struct {
		option uint64
		word   *uint32
	}{{prGetFPExc, &m.FPExc}, {prGetUnalign, &m.Unalign}, {prGetEndian, &m.Endian}} {
		b, err := p.ask(t, 4, 1, sysPrctl, q.option, 0, 0, 0, 0)
		switch {
		case errors.Is(err, unix.EINVAL):
			*q.word = ppc.PrctlNone
		case err != nil:
			return nil, err
		default:
			*q.word = t.abi.Order().Uint32(b)
		}
	}
	for aspect := range m.DEXCR {
		v, err := t.call(sysPrctl, prGetDEXCR, uint64(aspect), 0, 0, 0)
		if err != nil {
			m.DEXCR[aspect] = ppc.PrctlNone
			continue
		}
		m.DEXCR[aspect] = uint32(v)
	}
	return m.Encode(t.abi), nil
}

// writeByCall gives a task the sets that only the task itself can set.
func (p *process) writeByCall(t *task, note regset.Note, data []byte) error {
	if note != regset.NotePPCPrctl {
		return nil
	}
	m, err := ppc.DecodePrctl(t.abi, data)
	if err != nil {
		return err
	}
	for _, q := range []struct {
		option uint64
		word   uint32
	}{{prSetFPExc, m.FPExc}, {prSetUnalign, m.Unalign}} {
		if q.word == ppc.PrctlNone {
			continue
		}
		if _, err := t.call(sysPrctl, q.option, uint64(q.word), 0, 0, 0); err != nil {
			return err
		}
	}
	for aspect, word := range m.DEXCR {
		if word == ppc.PrctlNone {
			continue
		}
		now, err := t.call(sysPrctl, prGetDEXCR, uint64(aspect), 0, 0, 0)
		if err != nil {
			return err
		}
		if uint32(now) == word {
			continue
		}
		control := word & (ppc.DEXCRSet | ppc.DEXCRClear)
		// Some need privilege, even if nothing changes.
		if onExec := word & (ppc.DEXCRSetOnExec | ppc.DEXCRClearOnExec); onExec&uint32(now) != onExec {
			control |= onExec
		}
		if _, err := t.call(sysPrctl, prSetDEXCR, uint64(aspect), uint64(control), 0, 0); err != nil {
			return err
		}
	}
	return nil
}

// redundant reports whether a set says nothing that the others do not say.
// NT_PPC_TM_CGPR of a 32-bit task is given whether there is a transaction or
// not (tm_cgpr32_get); the other sets of a transaction tell.
func redundant(state *regset.State, note regset.Note) bool {
	return note == regset.PPC_TM_CGPR && state.Find(regset.PPC_TM_CFPR) == nil
}

// mtDSCR is the instruction mtspr DSCR, r3.
const mtDSCR = 0x7c6303a6

// writeByInsn sets what only an instruction of the task can set: the kernel
// loads the DSCR of a task that has set it itself (thread.dscr_inherit), not
// one that ptrace has written. The task must have a trampoline.
func (p *process) writeByInsn(t *task, state *regset.State) error {
	const instruction = 4
	data := state.Find(regset.PPC_DSCR)
	if data == nil || t.abi.Order().Uint64(data) == 0 {
		return nil
	}
	code := make([]byte, instruction, 2*instruction)
	t.abi.Order().PutUint32(code, mtDSCR)
	code = append(code, t.arch.SyscallInsn(t.abi)...)
	trampoline, list := t.insn, t.list
	const behind = 1024 // bytes, where the trampoline is free
	t.insn, t.list = t.insn+behind, nil
	defer func() { t.insn, t.list = trampoline, list }()
	if err := p.mem.write(t.insn, code); err != nil {
		return err
	}
	// The first argument of the call is in r3.
	_, err := t.call(sysGetpid, t.abi.Order().Uint64(data))
	return err
}

// userPPR is the NT_PPC_PPR of a task that has come back from a system call:
// medium low priority.
const userPPR = 3 << 50

// keep notes what system calls change beyond the general registers: the PPR of
// a task that was stopped outside of one.
func (t *task) keep(inCall bool) error {
	t.kept = nil
	if inCall {
		return nil
	}
	ppr, err := t.regset(regset.PPC_PPR)
	if err == nil && ppr != nil && hostOrder.Uint64(ppr) != userPPR {
		t.kept = ppr
	}
	return err
}

// settle gives a task a PPR. The way out of a system call does not load it, the
// way out of an interrupt does: so the task is made to step one instruction.
// Its registers and memory are those that it runs on with.
func (t *task) settle(ppr []byte) error {
	if len(ppr) == 0 || hostOrder.Uint64(ppr) == userPPR {
		return nil
	}
	if err := ptrace(unix.PTRACE_SINGLESTEP, t.tid, 0, 0); err != nil {
		return fmt.Errorf("pid %d: step: %w", t.tid, err)
	}
	if _, err := waitTask(t.tid); err != nil {
		return err
	}
	return t.setRegset(regset.PPC_PPR, ppr)
}

// readVSRs reads the lower halves of VSR0 to VSR31 of a 32-bit task, nil where
// there are none.
func (t *task) readVSRs() ([]byte, error) {
	data := make([]byte, vsrRegsSize)
	err := ptrace(ptraceGetVSRRegs, t.tid, 0, uintptr(unsafe.Pointer(&data[0])))
	if errors.Is(err, unix.EIO) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) {
		return nil, nil
	}
	return data, err
}

func (t *task) writeVSRs(data []byte) error {
	return ptrace(ptraceSetVSRRegs, t.tid, 0, uintptr(unsafe.Pointer(&data[0])))
}
