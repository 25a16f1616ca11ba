// Package regset is the vocabulary that packages ppc and x86 share with those
// who read, check and restore a task's registers: what a register set is, what
// a machine offers, and what it means that the one does not fit the other.
//
// A register set is named by its ELF note type and holds the bytes that
// ptrace(PTRACE_GETREGSET) gives for it, in the byte order of the task. Sets
// that ptrace has no note for (debug registers, prctl modes) have note types of
// this project, from NoteDebugreg on; docs/format.md describes their bytes.
package regset

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Machine types of ELF headers (e_machine), which name an instruction set and
// its word size.
const (
	EM386    = 3
	EMPPC    = 20
	EMPPC64  = 21
	EMX86_64 = 62
)

// ABI says how the registers and the memory of a task are to be read.
type ABI struct {
	Machine   uint16 // ELF e_machine: EM386, EMPPC, EMPPC64 or EMX86_64
	BigEndian bool
}

// The ABIs that this project knows.
var (
	I386    = ABI{Machine: EM386}
	X86_64  = ABI{Machine: EMX86_64}
	PPC     = ABI{Machine: EMPPC, BigEndian: true}
	PPC64   = ABI{Machine: EMPPC64, BigEndian: true}
	PPC64LE = ABI{Machine: EMPPC64}
)

// String gives the name that uname(2) and this project's files use.
func (a ABI) String() string {
	switch a {
	case I386:
		return "i386"
	case X86_64:
		return "x86_64"
	case PPC:
		return "ppc"
	case PPC64:
		return "ppc64"
	case PPC64LE:
		return "ppc64le"
	}
	return fmt.Sprintf("machine %d, big endian %t", a.Machine, a.BigEndian)
}

// Known reports whether a is one of the ABIs above.
func (a ABI) Known() bool {
	switch a {
	case I386, X86_64, PPC, PPC64, PPC64LE:
		return true
	}
	return false
}

// Order is the byte order of the task's registers and memory.
func (a ABI) Order() binary.ByteOrder {
	if a.BigEndian {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// WordSize is the size of a general register and of a pointer, in bytes.
func (a ABI) WordSize() int {
	switch a.Machine {
	case EMX86_64, EMPPC64:
		return 8
	}
	return 4
}

// IsPPC reports whether the task is a powerpc one; it is an x86 one otherwise.
func (a ABI) IsPPC() bool { return a.Machine == EMPPC || a.Machine == EMPPC64 }

// Note is the type of an ELF note, by which ptrace and core files name a
// register set (include/uapi/linux/elf.h).
type Note uint32

// Notes of the kernel.
const (
	PRSTATUS     Note = 1
	PRFPREG      Note = 2
	PPC_VMX      Note = 0x100
	PPC_SPE      Note = 0x101
	PPC_VSX      Note = 0x102
	PPC_TAR      Note = 0x103
	PPC_PPR      Note = 0x104
	PPC_DSCR     Note = 0x105
	PPC_EBB      Note = 0x106
	PPC_PMU      Note = 0x107
	PPC_TM_CGPR  Note = 0x108
	PPC_TM_CFPR  Note = 0x109
	PPC_TM_CVMX  Note = 0x10a
	PPC_TM_CVSX  Note = 0x10b
	PPC_TM_SPR   Note = 0x10c
	PPC_TM_CTAR  Note = 0x10d
	PPC_TM_CPPR  Note = 0x10e
	PPC_TM_CDSCR Note = 0x10f
	PPC_PKEY     Note = 0x110
	PPC_DEXCR    Note = 0x111
	PPC_HASHKEYR Note = 0x112
	I386_TLS     Note = 0x200
	I386_IOPERM  Note = 0x201
	X86_XSTATE   Note = 0x202
	X86_SHSTK    Note = 0x204
	PRXFPREG     Note = 0x46e62b7f
)

// Notes of this project, for state that ptrace or prctl gives by other
// requests than PTRACE_GETREGSET. docs/format.md describes their bytes.
const (
	NoteDebugreg   Note = 0x43520001 // powerpc: PTRACE_GET_DEBUGREG, one 64-bit word; x86: DR0-3, DR6, DR7
	NoteHWDebug    Note = 0x43520002 // powerpc: PPC_PTRACE_SETHWDEBUG breakpoints
	NotePPCPrctl   Note = 0x43520003 // powerpc: fpexc, unaligned and endian modes, DEXCR (ppc.Prctl)
	NoteX86LDT     Note = 0x43520005 // x86: local descriptor table
	NoteX86Permits Note = 0x43520006 // x86: arch_prctl ARCH_GET_XCOMP_PERM
	NoteX86XLayout Note = 0x43520007 // x86: where the components of NT_X86_XSTATE lie
)

// Set is one register set of one task.
type Set struct {
	Note Note
	Data []byte
}

// Mask is a set of CPU features. Bits belong to an architecture (ppc.Feature...,
// x86.Feature...) and are never renumbered; docs/format.md lists them.
type Mask uint64

// Has reports whether all of the features of q are in m.
func (m Mask) Has(q Mask) bool { return m&q == q }

// State is the CPU state of one task: what the image's CPU record holds.
type State struct {
	ABI  ABI
	Used Mask // features that the task has used
	Sets []Set
}

// Find returns the bytes of a register set, nil if the state has none.
func (s *State) Find(n Note) []byte {
	for i := range s.Sets {
		if s.Sets[i].Note == n {
			return s.Sets[i].Data
		}
	}
	return nil
}

// Put replaces the bytes of a register set, or adds it.
func (s *State) Put(n Note, data []byte) {
	for i := range s.Sets {
		if s.Sets[i].Note == n {
			s.Sets[i].Data = data
			return
		}
	}
	s.Sets = append(s.Sets, Set{n, data})
}

// Drop removes a register set if it is there.
func (s *State) Drop(n Note) {
	for i := range s.Sets {
		if s.Sets[i].Note == n {
			s.Sets = append(s.Sets[:i:i], s.Sets[i+1:]...)
			return
		}
	}
}

// Clone returns a copy that shares nothing with s.
func (s *State) Clone() *State {
	c := &State{ABI: s.ABI, Used: s.Used, Sets: make([]Set, len(s.Sets))}
	for i, set := range s.Sets {
		c.Sets[i] = Set{set.Note, append([]byte(nil), set.Data...)}
	}
	return c
}

// Machine describes a machine as far as a task can tell: what `cr features`
// prints, and what an image is checked against.
type Machine struct {
	Arch         string `json:"arch"` // ABI name of the kernel itself
	Release      string `json:"release"`
	PageSize     int    `json:"page_size"`
	Has          Mask   `json:"features"` // bits of the architecture's package
	HWCAP        uint64 `json:"hwcap"`
	HWCAP2       uint64 `json:"hwcap2"`
	Platform     string `json:"platform,omitempty"`
	BasePlatform string `json:"base_platform,omitempty"`

	// ABIs are those of the tasks that the kernel runs, by name.
	ABIs []string `json:"abis"`

	// Sizes holds the size in bytes of each register set that varies between
	// machines, by note name (NT_X86_XSTATE, for one).
	Sizes map[string]int `json:"sizes,omitempty"`

	// TaskSizes holds the end of user memory by the name of the tasks' ABI, in
	// bytes: the kernel's TASK_SIZE.
	TaskSizes map[string]uint64 `json:"task_sizes,omitempty"`

	// x86
	XFeatures   uint64       `json:"xfeatures,omitempty"`   // components of XCR0 that user tasks may have
	XComponents []XComponent `json:"xcomponents,omitempty"` // where XSAVE's standard format puts them
	MXCSRMask   uint32       `json:"mxcsr_mask,omitempty"`
	CPU         string       `json:"cpu,omitempty"` // model, for people

	// powerpc: from PPC_PTRACE_GETHWDBGINFO
	DataBreakpoints        int  `json:"data_breakpoints,omitempty"`
	InstructionBreakpoints int  `json:"instruction_breakpoints,omitempty"`
	BreakpointRanges       bool `json:"breakpoint_ranges,omitempty"`

	CacheBlock int `json:"cache_block,omitempty"` // powerpc: bytes that dcbz clears, AT_DCACHEBSIZE

	// Namespaces are the kinds that can be made, as /proc/PID/ns names them; nil
	// if the description does not say.
	Namespaces []string `json:"namespaces"`
}

// TaskSize is the end of user memory for tasks of an ABI, in bytes. Where the
// machine's description does not say, it is that of the usual kernel.
func (m *Machine) TaskSize(a ABI) uint64 {
	if size, ok := m.TaskSizes[a.String()]; ok {
		return size
	}
	switch {
	case a == X86_64:
		return 1<<47 - 4096
	case a.WordSize() == 8:
		return 1 << 52 // TASK_SIZE_4PB
	case m.Arch == a.String():
		return 0xc0000000
	case a == I386:
		return 0xffffe000
	}
	return 1<<32 - uint64(m.PageSize)
}

// XComponent is one state component of XSAVE's standard format, as cpuid leaf
// 0xd gives it. Offset and Size are in bytes.
type XComponent struct {
	Number int `json:"number"`
	Offset int `json:"offset"`
	Size   int `json:"size"`
}

// Runs reports whether the machine's kernel runs tasks of the ABI.
func (m *Machine) Runs(a ABI) bool {
	for _, n := range m.ABIs {
		if n == a.String() {
			return true
		}
	}
	return false
}

// Problem is one reason why a state cannot be restored on a machine. A Problem
// is an error; a check returns all it finds, not just the first.
type Problem struct {
	Set     string // the kernel's name of the register set, or "" for the whole task
	Reg     string // the register or field, if one is at fault
	Feature string // the feature that is lacking, if that is the reason
	Reason  string
}

// Error names the set, the register and the reason.
func (p *Problem) Error() string {
	var b strings.Builder
	for _, part := range []string{p.Set, p.Reg} {
		if part != "" {
			b.WriteString(part)
			b.WriteString(": ")
		}
	}
	b.WriteString(p.Reason)
	return b.String()
}

// Problems are all the reasons that a check found.
type Problems []*Problem

// Error gives one reason a line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, e := range p {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Reg is one register as people read it: its name and its value in the byte
// order of the reader, most significant byte first.
type Reg struct {
	Name  string
	Value []byte
}

// String is the register as name=hex.
func (r Reg) String() string { return fmt.Sprintf("%s=%x", r.Name, r.Value) }

// Access says by which request the kernel gives and takes a set.
type Access int

// The ways to reach a register set.
const (
	Regset   Access = iota // PTRACE_GETREGSET and PTRACE_SETREGSET with the note type
	VSRRegs                // PTRACE_GETVSRREGS and PTRACE_SETVSRREGS (32-bit tasks of a 64-bit powerpc kernel)
	Debugreg               // powerpc PTRACE_GET_DEBUGREG; x86 PEEKUSER of u_debugreg
	HWDebug                // powerpc PPC_PTRACE_GETHWDBGINFO and SETHWDEBUG
	ByCall                 // by system calls made by the task itself
)

// Desc describes one register set of an architecture: its row in the table.
type Desc struct {
	Note    Note
	Name    string // the kernel's, as NT_PPC_VMX
	Feature Mask   // the feature whose state it is; 0 for what every CPU has
	Access  Access

	// InCore reports whether the set is a note of core files.
	InCore bool

	// Regs lists the registers by name.
	Regs func(abi ABI, data []byte) []Reg

	// Used reports whether the set holds anything but its initial state.
	Used func(abi ABI, data []byte) bool

	// Check appends what is wrong with the bytes themselves and what m cannot
	// take of them: size, privileged bits, kernel addresses, reserved bits.
	Check func(m *Machine, abi ABI, data []byte, out *Problems)

	// Fit returns the bytes as m takes them: bits that a task cannot choose
	// replaced, size changed. It is called only after Check found nothing.
	Fit func(m *Machine, abi ABI, data []byte) []byte

	// Unsaved tells why a task with the set cannot be checkpointed, "" if it
	// can; nil for sets that always can.
	Unsaved func(abi ABI, data []byte) string

	// Passing reports whether a task that cannot be checkpointed may be later:
	// the call fails with EBUSY, not with EOPNOTSUPP.
	Passing bool
}

// Arch is an architecture: ppc.Arch or x86.Arch.
type Arch interface {
	// Table lists the register sets of tasks of the ABI, in the order in
	// which they are restored.
	Table(ABI) []Desc

	// Features names the bits of a Mask, lowest bit first.
	Features() []Feature

	// Used computes the features that a state uses, from its sets.
	Used(*State) Mask

	// Check tells whether a state can be restored on a machine: nil, or every
	// reason why not.
	Check(*Machine, *State) Problems

	// Fit returns the state as the machine takes it. It fails, with the
	// Problems, where Check does.
	Fit(*Machine, *State) (*State, error)

	// PC, SP, SetPC and SetSP read and write the program counter and stack
	// pointer in a PRSTATUS set.
	PC(abi ABI, prstatus []byte) uint64
	SP(abi ABI, prstatus []byte) uint64
	SetPC(abi ABI, prstatus []byte, pc uint64)
	SetSP(abi ABI, prstatus []byte, sp uint64)

	// Syscall reads the system call that a stopped task is in: its number, or
	// false if it is in none (an exception or interrupt brought it in).
	Syscall(abi ABI, prstatus []byte) (nr int, args [6]uint64, in bool)

	// SetSyscall lays out registers so that the system call instruction at pc
	// makes the call.
	SetSyscall(abi ABI, prstatus []byte, pc uint64, nr int, args [6]uint64)

	// Result reads the value that a completed call returned; negative values
	// from -4095 on are errnos.
	Result(abi ABI, prstatus []byte) int64

	// SetResult writes the result of the call that the task is in, the way
	// the call came in (int 0x80, syscall, sc, scv), and takes the task out of
	// the call so that the kernel does not restart it.
	SetResult(abi ABI, prstatus []byte, result int64)

	// Rewind takes a task that was interrupted in a system call back to the
	// instruction that makes it, as the kernel does for -ERESTARTSYS, and
	// reports whether there was something to rewind. The registers are then
	// those of a task in no call.
	Rewind(abi ABI, prstatus []byte) bool

	// Retry gives a call that has ended the result ERESTARTNOHAND: the kernel
	// makes it again unless a handler runs.
	Retry(abi ABI, prstatus []byte)

	// Unenter takes a task that is at the entry to a system call back to the
	// instruction that makes it. Skip makes the kernel not carry out the call
	// that a task is at the entry to.
	Unenter(abi ABI, prstatus []byte)
	Skip(abi ABI, prstatus []byte)

	// SyscallInsn is the bytes of the instruction that makes a system call.
	SyscallInsn(ABI) []byte
}

// Feature names one bit of a Mask.
type Feature struct {
	Bit  Mask
	Name string // as in `cr features` and --cpu=LIST
	Doc  string
}

// Names lists the features of a mask by name, unknown bits in hex.
func Names(a Arch, m Mask) []string {
	var names []string
	for _, f := range a.Features() {
		if m&f.Bit != 0 {
			names = append(names, f.Name)
			m &^= f.Bit
		}
	}
	if m != 0 {
		names = append(names, fmt.Sprintf("%#x", uint64(m)))
	}
	return names
}
