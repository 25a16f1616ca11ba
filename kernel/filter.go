package kernel

import (
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"cr/regset"
)

// Call is one of the two calls as tasks of one ABI make it. Its number has an
// old owner, another system call, which has a pointer where the call has a
// small integer. That argument tells the two apart.
type Call struct {
	Number uint32
	Arg    int    // index of the argument
	Limit  uint32 // no valid pointer of the old owner is below
}

// Calls are the two calls of one ABI.
type Calls struct {
	ABI                 regset.ABI
	Checkpoint, Restart Call

	// Exec are the numbers of more calls that the filter hands over: those
	// that execute a program. It lets them through if there are none.
	Exec []uint32

	// Sigaction is the number of rt_sigaction, of which the filter hands over
	// those that are for SIGSEGV; 0: none.
	Sigaction uint32
}

const (
	minPointer = 0x10000  // the default of vm.mmap_min_addr
	maxPID     = 0x400000 // PID_MAX_LIMIT of 64-bit kernels (include/linux/threads.h)

	// Small negative numbers, as 32 bits, are from here on: the pids and
	// descriptors that a program gets from calls that failed. The kernel uses
	// the same range for errors in pointers (include/linux/err.h).
	minErrno = 0xfffff001
)

// The calls of the ABIs that belong together: those that one kernel may run.
// docs/abi.md says who the old owners of the numbers are.
var (
	x86Calls = []Calls{
		{ABI: regset.X86_64, Checkpoint: Call{313, 1, minPointer}, Restart: Call{314, 1, minPointer}},
		{ABI: regset.I386, Checkpoint: Call{333, 1, minPointer}, Restart: Call{334, 1, minPointer}},
	}
	ppcCalls = []Calls{
		{ABI: regset.PPC, Checkpoint: Call{319, 0, maxPID}, Restart: Call{320, 1, minPointer}},
		{ABI: regset.PPC64, Checkpoint: Call{319, 0, maxPID}, Restart: Call{320, 1, minPointer}},
		{ABI: regset.PPC64LE, Checkpoint: Call{319, 0, maxPID}, Restart: Call{320, 1, minPointer}},
	}
)

// hostCalls are the calls of all ABIs that this machine's kernel may run.
var hostCalls = func() []Calls {
	if strings.HasPrefix(runtime.GOARCH, "ppc") {
		return ppcCalls
	}
	return x86Calls
}()

// HostCalls returns the calls of all ABIs that this machine's kernel may run.
func HostCalls() []Calls { return append([]Calls(nil), hostCalls...) }

// ExecCalls returns the same with the calls that execute a program.
func ExecCalls() []Calls {
	list := HostCalls()
	for i := range list {
		for _, nr := range []sysno{sysExecve, sysExecveat} {
			list[i].Exec = append(list[i].Exec, uint32(nr.number(list[i].ABI)))
		}
	}
	return list
}

// FaultCalls returns the same with those that set what SIGSEGV does, which the
// kernel forgets if cpuid faults while it is blocked.
func FaultCalls() []Calls {
	list := ExecCalls()
	for i := range list {
		list[i].Sigaction = uint32(sysRtSigaction.number(list[i].ABI))
	}
	return list
}

// SetNumbers gives the two calls other numbers, the same for all ABIs of this
// machine: those of a kernel where the usual ones are in use. It is for the
// start of a program.
func SetNumbers(checkpoint, restart uint32) {
	list := HostCalls()
	for i := range list {
		list[i].Checkpoint.Number = checkpoint
		list[i].Restart.Number = restart
	}
	hostCalls = list
}

// auditArch names an ABI as seccomp does (include/uapi/linux/audit.h).
func auditArch(a regset.ABI) (uint32, error) {
	switch a {
	case regset.I386:
		return unix.AUDIT_ARCH_I386, nil
	case regset.X86_64:
		return unix.AUDIT_ARCH_X86_64, nil
	case regset.PPC:
		return unix.AUDIT_ARCH_PPC, nil
	case regset.PPC64:
		return unix.AUDIT_ARCH_PPC64, nil
	case regset.PPC64LE:
		return unix.AUDIT_ARCH_PPC64LE, nil
	}
	return 0, fmt.Errorf("no calls are known for %v", a)
}

// Offsets in struct seccomp_data (include/uapi/linux/seccomp.h).
const (
	dataNR   = 0
	dataArch = 4
	dataArgs = 16
)

// Filter builds the seccomp filter that hands the calls to a listener and lets
// every other system call through. System calls with other numbers take the
// same way whatever their arguments are, which the kernel notices when the
// filter is installed (5.11 and later): it does not run the filter for them.
func Filter(list []Calls) ([]bpf.Instruction, error) {
	var prog []bpf.Instruction
	allow := bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	prog = append(prog, bpf.LoadAbsolute{Off: dataArch, Size: 4})
	for _, c := range list {
		arch, err := auditArch(c.ABI)
		if err != nil {
			return nil, err
		}
		checkpoint, err := tell(c.Checkpoint, c.ABI)
		if err != nil {
			return nil, err
		}
		restart, err := tell(c.Restart, c.ABI)
		if err != nil {
			return nil, err
		}
		block := []bpf.Instruction{bpf.LoadAbsolute{Off: dataNR, Size: 4}}
		for _, nr := range c.Exec {
			block = append(block,
				bpf.JumpIf{Cond: bpf.JumpEqual, Val: nr, SkipFalse: 1},
				bpf.RetConstant{Val: unix.SECCOMP_RET_USER_NOTIF})
		}
		if c.Sigaction != 0 {
			// A signal's number is an int, the lower half of the argument.
			signal := uint32(dataArgs)
			if c.ABI.BigEndian {
				signal += 4
			}
			block = append(block,
				bpf.JumpIf{Cond: bpf.JumpEqual, Val: c.Sigaction, SkipFalse: 4},
				bpf.LoadAbsolute{Off: signal, Size: 4},
				bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(unix.SIGSEGV), SkipFalse: 1},
				bpf.RetConstant{Val: unix.SECCOMP_RET_USER_NOTIF},
				allow)
		}
		block = append(block,
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: c.Checkpoint.Number, SkipTrue: 2},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: c.Restart.Number, SkipTrue: 1 + uint8(len(checkpoint))},
			allow)
		block = append(append(block, checkpoint...), restart...)
		prog = append(prog, bpf.JumpIf{Cond: bpf.JumpEqual, Val: arch, SkipFalse: uint8(len(block))})
		prog = append(prog, block...)
	}
	return append(prog, allow), nil
}

// tell builds the part of the filter that tells a call from the old owner of
// its number, and returns. An argument is 64 bits wide; the upper half is zero
// for tasks of 32 bits, and for a negative int from a task of 64 bits it may be
// either, as the ABIs leave it open.
func tell(c Call, abi regset.ABI) ([]bpf.Instruction, error) {
	if c.Arg < 0 || c.Arg > 5 {
		return nil, fmt.Errorf("system call %d has no argument %d", c.Number, c.Arg)
	}
	lo := uint32(dataArgs + 8*c.Arg)
	hi := lo + 4
	if abi.BigEndian {
		lo, hi = hi, lo
	}
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: hi, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0xffffffff, SkipTrue: 2, SkipFalse: 4},
		bpf.LoadAbsolute{Off: lo, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: c.Limit, SkipTrue: 3},
		bpf.LoadAbsolute{Off: lo, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: minErrno, SkipTrue: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW},
		bpf.RetConstant{Val: unix.SECCOMP_RET_USER_NOTIF},
	}, nil
}
