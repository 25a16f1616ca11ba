//go:build amd64 || 386

package kernel

import (
	"errors"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"cr/regset"
	"cr/x86"
	"cr/x86/cpuid"
)

// Arguments of modify_ldt(2) and bits of AT_HWCAP2.
const (
	ldtRead       = 0
	hwcapFSGSBASE = 2
)

// describeCPU fills in what cpuid and the kernel say of the processor.
func describeCPU(m *regset.Machine, uname string) error {
	m.ABIs = abiNames(regset.I386)
	if uname == "x86_64" {
		m.Arch = regset.X86_64.String()
		m.ABIs = abiNames(regset.X86_64)
		if _, err := os.Stat("/proc/sys/abi/vsyscall32"); err == nil {
			m.ABIs = abiNames(regset.X86_64, regset.I386) // CONFIG_IA32_EMULATION
		}
	}
	m.Has, m.XFeatures, m.XComponents = x86.Describe(cpuid.Leaves(), cpuid.XCR0())
	flags, err := cpuinfo("flags")
	if err != nil {
		return err
	}
	flags = " " + flags + " "
	if !strings.Contains(flags, " user_shstk ") {
		m.Has &^= x86.SHSTK
	}
	if !strings.Contains(flags, " la57 ") {
		m.Has &^= x86.LA57
	}
	if m.HWCAP2&hwcapFSGSBASE == 0 {
		m.Has &^= x86.FSGSBASE
	}
	if _, _, e := unix.Syscall(unix.SYS_MODIFY_LDT, ldtRead, 0, 0); errors.Is(e, unix.ENOSYS) {
		m.Has &^= x86.LDT // CONFIG_MODIFY_LDT_SYSCALL
	}
	m.MXCSRMask = cpuid.MXCSRMask()
	m.CPU, _ = cpuinfo("model name")
	m.Sizes = map[string]int{}
	if m.XFeatures != 0 {
		m.Sizes["NT_X86_XSTATE"] = cpuid.XStateSize()
	}
	return nil
}

// Requests of ptrace, and the place of the debug registers in struct user.
const (
	ptracePeekUser = 3
	ptracePokeUser = 6
	debugregs      = 8
)

func debugregOffset(i int) uintptr {
	word := unsafe.Sizeof(uintptr(0))
	base := uintptr(252) // offsetof(struct user, u_debugreg), i386
	if word == 8 {
		base = 848
	}
	return base + uintptr(i)*word
}

// readDebugregs reads DR0 to DR3, DR6 and DR7.
func (t *task) readDebugregs() ([]byte, error) {
	var data []byte
	for _, i := range []int{0, 1, 2, 3, 6, 7} {
		var v uintptr
		if err := ptrace(ptracePeekUser, t.tid, debugregOffset(i), uintptr(unsafe.Pointer(&v))); err != nil {
			return nil, err
		}
		var b [8]byte
		hostOrder.PutUint64(b[:], uint64(v))
		data = append(data, b[:]...)
	}
	return data, nil
}

// writeDebugregs writes the same. DR7, which enables the others, comes last and
// is cleared first.
func (t *task) writeDebugregs(data []byte) error {
	if err := ptrace(ptracePokeUser, t.tid, debugregOffset(7), 0); err != nil {
		return err
	}
	for n, i := range []int{0, 1, 2, 3, 6, 7} {
		if err := ptrace(ptracePokeUser, t.tid, debugregOffset(i), uintptr(hostOrder.Uint64(data[n*8:]))); err != nil {
			return err
		}
	}
	return nil
}

// Codes of arch_prctl(2).
const (
	archGetXcompPerm = 0x1022
	archReqXcompPerm = 0x1023
)

// readByCall reads the sets that only the task itself can ask for, once for all
// tasks of a process, which have them in common. The task is held and its process
// entered.
func (p *process) readByCall(t *task, note regset.Note) ([]byte, error) {
	if leader := p.leader(); t != leader {
		return leader.cpu.Find(note), nil
	}
	switch note {
	case regset.NoteX86Permits:
		b, err := p.ask(t, 8, 1, sysArchPrctl, archGetXcompPerm, 0)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
			return nil, nil // a kernel before 5.16
		}
		return b, err
	case regset.NoteX86LDT:
		n, err := t.call(sysModifyLdt, ldtRead, p.scratch, scratchSize)
		if errors.Is(err, unix.ENOSYS) || err == nil && uint32(n) == 0 {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		raw := make([]byte, uint32(n))
		if err := p.mem.read(p.scratch, raw); err != nil {
			return nil, err
		}
		return x86.LDTFromRaw(raw), nil
	case regset.NoteX86XLayout:
		m, err := Features()
		if err != nil {
			return nil, err
		}
		return x86.Layout(m.XComponents), nil
	}
	return nil, nil
}

// writeByCall gives a task the sets that only the task itself can set.
func (p *process) writeByCall(t *task, note regset.Note, data []byte) error {
	switch note {
	case regset.NoteX86Permits:
		m, err := Features()
		if err != nil {
			return err
		}
		const tileData = 18 // the one component that must be asked for
		if hostOrder.Uint64(data)&m.XFeatures>>tileData&1 != 0 {
			_, err = t.call(sysArchPrctl, archReqXcompPerm, tileData)
		}
		return err
	case regset.NoteX86LDT:
		const size = 16 // struct user_desc
		for at := 0; at+size <= len(data); at += size {
			if err := p.mem.write(p.scratch, data[at:at+size]); err != nil {
				return err
			}
			if _, err := t.call(sysModifyLdt, 0x11, p.scratch, size); err != nil {
				return err
			}
		}
	}
	return nil
}

// redundant reports whether a set says nothing that the others do not say.
func redundant(state *regset.State, note regset.Note) bool {
	return (note == regset.PRFPREG || note == regset.PRXFPREG) && state.Find(regset.X86_XSTATE) != nil
}

// writeByInsn, keep and settle are for what powerpc keeps in registers that
// ptrace alone cannot restore.
func (p *process) writeByInsn(*task, *regset.State) error { return nil }

func (t *task) keep(bool) error { return nil }

func (t *task) settle([]byte) error { return nil }

// readVSRs and writeVSRs are for a register set of powerpc.
func (t *task) readVSRs() ([]byte, error) { return nil, nil }

func (t *task) writeVSRs([]byte) error { return nil }
