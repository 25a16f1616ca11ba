//go:build amd64 || 386

package kernel

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"

	"cr/regset"
	"cr/x86"
	"cr/x86/cpuid"
)

// CPUIDFaults reports whether cpuid can be made to fault here: the CPU has it, and
// the kernel lets tasks use it (arch_prctl(2), ARCH_SET_CPUID).
func CPUIDFaults() bool {
	on, _, e := unix.Syscall(unix.SYS_ARCH_PRCTL, archGetCPUID, 0, 0)
	if e != 0 {
		return false
	}
	if on == 0 {
		return true // it does, in this very program
	}
	_, _, e = unix.Syscall(unix.SYS_ARCH_PRCTL, archSetCPUID, 1, 0)
	return e == 0
}

// faultCPUID makes cpuid fault in a task, and in those that it makes. The task
// can be made to make calls.
func (t *task) faultCPUID() error {
	_, err := t.call(sysArchPrctl, archSetCPUID, 0)
	return err
}

// answer answers the cpuid that has stopped a task with SIGSEGV, which it shall
// not get then. It reports whether it was one.
func (k *keeper) answer(tid int, kept *keptTask) bool {
	var info [siginfoSize]byte
	if _, e := rawPtrace(unix.PTRACE_GETSIGINFO, tid, 0, uintptr(unsafe.Pointer(&info[0]))); e != 0 {
		return false
	}
	if code := hostOrder.Uint32(info[8:]); int32(code) != siKernel {
		return false
	}
	t := &task{tid: tid, pid: tid}
	regs, err := t.gprs()
	if err != nil || t.arch == nil {
		return false
	}
	pc := t.arch.PC(t.abi, regs)
	for i, b := range x86.CPUID {
		if got, ok := peek(tid, pc+uint64(i)); !ok || got != b {
			return false
		}
	}
	fn, sub, ok := x86.Asked(regs)
	if !ok {
		return false
	}
	x86.SetAnswer(regs, x86.Answer(kept.cpu.Allowed, ask(tid, fn, sub)))
	if err := t.setRegset(regset.PRSTATUS, regs); err != nil {
		return false
	}
	switch err := k.restoreSEGV(t, kept); {
	case errors.Is(err, errGone):
		k.ended(tid, 0)
	case err != nil && !errors.Is(err, unix.ESRCH):
		k.log(err)
	}
	return true
}

// ask executes cpuid, on the processor that a task was on if that makes a
// difference.
func ask(tid int, fn, sub uint32) x86.Leaf {
	if !x86.TellsProcessor(fn) {
		return cpuid.Ask(fn, sub)
	}
	var all, one unix.CPUSet
	s, err := readStat(tid)
	if err != nil || unix.SchedGetaffinity(0, &all) != nil {
		return cpuid.Ask(fn, sub)
	}
	one.Set(int(s.num(statProcessor)))
	if unix.SchedSetaffinity(0, &one) == nil { // it may be one that is kept from this program
		defer unix.SchedSetaffinity(0, &all)
	}
	return cpuid.Ask(fn, sub)
}

// statProcessor is the field of /proc/PID/stat with the processor that a task was
// on last.
const statProcessor = 39

// peek reads a byte of a stopped task, executable memory that cannot be read
// too.
func peek(tid int, at uint64) (byte, bool) {
	const size = uint64(unsafe.Sizeof(uintptr(0)))
	var word [size]byte
	_, e := rawPtrace(unix.PTRACE_PEEKTEXT, tid, uintptr(at&^(size-1)), uintptr(unsafe.Pointer(&word[0])))
	return word[at%size], e == 0
}
