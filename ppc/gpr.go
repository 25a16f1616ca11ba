package ppc

import (
	"encoding/binary"
	"fmt"

	"cr/regset"
)

// Words of NT_PRSTATUS after r0 to r31: struct pt_regs
// (arch/powerpc/include/uapi/asm/ptrace.h).
const (
	ptNIP    = 32
	ptMSR    = 33
	ptOrigR3 = 34
	ptCTR    = 35
	ptLink   = 36
	ptXER    = 37
	ptCCR    = 38
	ptSofte  = 39 // mq in 32-bit tasks
	ptTrap   = 40
	ptDAR    = 41
	ptDSISR  = 42
	ptResult = 43

	nGPR = 48 // ELF_NGREG: pt_regs and four words of zeros
)

// Bits of the machine state register (asm/reg.h, asm/reg_booke.h).
const (
	msrSF  = 1 << 63 // 64-bit mode
	msrTS  = 3 << 33 // a transaction is active (bit 34) or suspended (bit 33)
	msrTM  = 1 << 32 // transactional memory available
	msrVEC = 1 << 25 // vector unit enabled; SPE on the CPUs that have that instead
	msrVSX = 1 << 23
	msrPR  = 1 << 14 // problem state: user mode
	msrFP  = 1 << 13
	msrLE  = 1 << 0
)

// gpr reads and writes the words of an NT_PRSTATUS set. Words that the set is
// too short for read as zero and are not written.
type gpr struct {
	order binary.ByteOrder
	word  int
	b     []byte
}

func gprs(abi regset.ABI, prstatus []byte) gpr {
	return gpr{abi.Order(), abi.WordSize(), prstatus}
}

func (g gpr) get(i int) uint64 {
	switch off := i * g.word; {
	case off+g.word > len(g.b):
		return 0
	case g.word == 8:
		return g.order.Uint64(g.b[off:])
	default:
		return uint64(g.order.Uint32(g.b[off:]))
	}
}

func (g gpr) set(i int, v uint64) {
	switch off := i * g.word; {
	case off+g.word > len(g.b):
	case g.word == 8:
		g.order.PutUint64(g.b[off:], v)
	default:
		g.order.PutUint32(g.b[off:], uint32(v))
	}
}

// gprSet is NT_PRSTATUS: 48 words, 384 bytes for 64-bit tasks and 192 for
// 32-bit ones.
var gprSet = set{
	note: regset.PRSTATUS, name: "NT_PRSTATUS", access: regset.Regset,
	size: func(abi regset.ABI) int { return nGPR * abi.WordSize() },
	fields: func(abi regset.ABI) []field {
		softe := "softe"
		if abi.WordSize() == 4 {
			softe = "mq"
		}
		names := append(numbered("r%d", 32), "nip", "msr", "orig_r3", "ctr", "lr", "xer", "cr",
			softe, "trap", "dar", "dsisr", "result")
		return array(names, 0, abi.WordSize())
	},
	used:  func(regset.ABI, []byte) bool { return true },
	check: checkGPR,
	fit:   fitGPR,
}

// array lays out registers of one size after each other from off on.
func array(names []string, off, size int) []field {
	fields := make([]field, len(names))
	for i, n := range names {
		fields[i] = field{n, off + i*size, size}
	}
	return fields
}

// numbered gives names with a number in them, from 0 on.
func numbered(format string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf(format, i)
	}
	return names
}

// checkGPR refuses a state that no task of the ABI is in. MSR_HV is no sign of
// one: the kernel gives it to every 64-bit task and the CPU ignores it.
func checkGPR(m *regset.Machine, abi regset.ABI, data []byte, r *report) {
	data = append([]byte(nil), data...)
	Arch.Rewind(abi, data) // as Fit will
	g := gprs(abi, data)
	msr := g.get(ptMSR)
	if msr&msrPR == 0 {
		r.add("msr", "PR is clear: not a state of user mode")
	}
	if little := msr&msrLE != 0; little == abi.BigEndian {
		r.add("msr", fmt.Sprintf("LE is %t in a task of ABI %s", little, abi))
	}
	if abi.WordSize() == 8 {
		if msr&msrSF == 0 {
			r.add("msr", "SF is clear: a 64-bit task in 32-bit mode")
		}
		if msr&msrTS != 0 {
			r.add("msr", reasonTransaction)
		}
	}
	nip := g.get(ptNIP)
	if nip >= taskSize(m, abi) {
		r.add("nip", fmt.Sprintf("%#x is not an address of user memory", nip))
	}
	if nip&3 != 0 {
		r.add("nip", fmt.Sprintf("%#x is not aligned to 4 bytes", nip))
	}
}

// fitGPR leaves what a program can set and makes of the rest what it is in a
// task that is in no system call. PTRACE_SETREGSET takes none of MSR but
// single-step and branch-trace, which are a tracer's and stay off
// (MSR_DEBUGCHANGE in ptrace-decl.h).
func fitGPR(_ *regset.Machine, abi regset.ABI, data []byte) []byte {
	Arch.Rewind(abi, data)
	g := gprs(abi, data)
	msr := uint64(msrPR)
	if abi.WordSize() == 8 {
		msr |= msrSF
	}
	if !abi.BigEndian {
		msr |= msrLE
	}
	g.set(ptMSR, msr)
	g.set(ptXER, uint64(uint32(g.get(ptXER))))
	g.set(ptCCR, uint64(uint32(g.get(ptCCR))))
	for i := ptSofte; i < nGPR; i++ {
		g.set(i, 0)
	}
	g.set(ptOrigR3, 0)
	if abi.WordSize() == 8 {
		g.set(ptSofte, 1) // interrupts are on, as the kernel says of every task
	}
	return data
}

// taskSize is the end of user memory: TASK_SIZE of the machine's kernel for
// tasks of the ABI (asm/task_size_32.h, asm/task_size_64.h), at its largest.
func taskSize(m *regset.Machine, abi regset.ABI) uint64 {
	switch {
	case abi.WordSize() == 8:
		return 1 << 52
	case m.Arch == regset.PPC.String():
		return 0xc0000000
	default:
		return 1<<32 - 4096
	}
}
