package core

import (
	"bytes"
	"fmt"
	"strings"

	"cr/cpu"
	"cr/image"
	"cr/regset"
	"cr/x86"
)

// Notes that are no register set (include/uapi/linux/elf.h).
const (
	ntPRPSINFO regset.Note = 3
	ntAUXV     regset.Note = 6
	ntFILE     regset.Note = 0x46494c45
	ntSIGINFO  regset.Note = 0x53494749
)

// Names of notes: those that the first cores had, those that Linux added, and
// those of register sets that are this project's own.
const (
	ownerCore  = "CORE"
	ownerLinux = "LINUX"
	ownerOurs  = "CR"
)

const (
	commSize = 16 // pr_fname
	maxArgs  = 79 // pr_psargs without its NUL
	infoSize = 128
)

// gregset is the size of elf_gregset_t in bytes.
var gregset = map[regset.ABI]int{
	regset.I386: 68, regset.X86_64: 216, regset.PPC: 192, regset.PPC64: 384, regset.PPC64LE: 384,
}

// notes makes the notes of a process.
type notes struct {
	encoder
	m    *image.Image
	p    *image.Process
	args []byte
}

// add appends a note.
func (n *notes) add(owner string, note regset.Note, data []byte) {
	n.u32(uint32(len(owner) + 1))
	n.u32(uint32(len(data)))
	n.u32(uint32(note))
	n.buf = append(append(n.buf, owner...), 0)
	n.align(4)
	n.buf = append(n.buf, data...)
	n.align(4)
}

// all makes the notes in the kernel's order: debuggers take those behind a
// PRSTATUS for its task's, and the first task for the one that matters.
func (n *notes) all() error {
	core := make(map[regset.Note]bool)
	for _, d := range cpu.For(n.abi).Table(n.abi) {
		core[d.Note] = d.InCore
	}
	tasks := n.m.TasksOf(n.p)
	for i, t := range tasks {
		s := &n.m.CPUOf(t.TID).State
		info := n.signal(t)
		status, err := n.prstatus(t, s, info)
		if err != nil {
			return err
		}
		n.add(ownerCore, regset.PRSTATUS, status)
		if i == 0 {
			n.add(ownerCore, ntPRPSINFO, n.prpsinfo(t))
		}
		n.add(ownerCore, ntSIGINFO, info)
		if i == 0 {
			mm := n.m.MM(n.p.MM)
			n.add(ownerCore, ntAUXV, mm.Auxv)
			n.add(ownerCore, ntFILE, n.files(mm))
		}
		for _, set := range append(x86.FPForDebuggers(s), s.Sets...) {
			owner := ownerOurs
			switch {
			case set.Note == regset.PRSTATUS:
				continue
			case set.Note == regset.PRFPREG:
				owner = ownerCore
			case core[set.Note]:
				owner = ownerLinux
			}
			data := set.Data
			if set.Note == regset.X86_XSTATE {
				data = x86.XStateForDebuggers(s)
			}
			n.add(owner, set.Note, data)
		}
	}
	return nil
}

// signal is the siginfo of the signal that a task would take next; zeros if
// there is none.
func (n *notes) signal(t *image.Task) []byte {
	for _, list := range [][][]byte{t.Pending, n.p.Pending} {
		for _, b := range list {
			if sig := n.abi.Order().Uint32(b); t.Sigmask>>(sig-1)&1 == 0 {
				return b
			}
		}
	}
	return make([]byte, infoSize)
}

// prstatus is struct elf_prstatus (include/linux/elfcore.h).
func (n *notes) prstatus(t *image.Task, s *regset.State, info []byte) ([]byte, error) {
	regs := s.Find(regset.PRSTATUS)
	if want := gregset[n.abi]; len(regs) != want {
		return nil, fmt.Errorf("task %d: %d bytes of general registers, not %d", t.TID, len(regs), want)
	}
	signo := n.abi.Order().Uint32(info)
	e := encoder{abi: n.abi}
	e.u32(signo) // pr_info
	e.u32(n.abi.Order().Uint32(info[8:]))
	e.u32(n.abi.Order().Uint32(info[4:]))
	e.u16(uint16(signo)) // pr_cursig
	e.align(4)
	var pending uint64
	for _, b := range t.Pending {
		pending |= 1 << (n.abi.Order().Uint32(b) - 1)
	}
	e.word(pending)
	e.word(t.Sigmask)
	for _, id := range []uint32{t.TID, n.p.PPID, n.p.PGID, n.p.SID} {
		e.u32(id)
	}
	for i := 0; i < 8; i++ { // pr_utime, pr_stime, pr_cutime, pr_cstime
		e.word(0)
	}
	e.buf = append(e.buf, regs...)
	valid := uint32(0)
	if s.Find(regset.PRFPREG) != nil || s.Find(regset.X86_XSTATE) != nil {
		valid = 1
	}
	e.u32(valid)
	e.align(n.abi.WordSize())
	return e.buf, nil
}

// prpsinfo is struct elf_prpsinfo (include/linux/elfcore.h).
func (n *notes) prpsinfo(t *image.Task) []byte {
	e := encoder{abi: n.abi}
	state, name := byte(0), byte('R')
	if n.p.State == image.Stopped {
		state, name = 3, 'T'
	}
	e.buf = append(e.buf, state, name, 0, byte(t.Sched.Nice))
	e.align(n.abi.WordSize())
	e.word(0) // pr_flag
	if n.abi == regset.I386 {
		e.u16(old16(t.Creds.UID))
		e.u16(old16(t.Creds.GID))
	} else {
		e.u32(t.Creds.UID)
		e.u32(t.Creds.GID)
	}
	for _, id := range []uint32{n.p.PID, n.p.PPID, n.p.PGID, n.p.SID} {
		e.u32(id)
	}
	e.text(t.Comm, commSize)
	args := bytes.TrimRight(n.args, "\x00")
	e.text(string(bytes.Replace(args, []byte{0}, []byte{' '}, -1)), maxArgs+1)
	return e.buf
}

// old16 is a user or group id in 16 bits: 65534 where it does not fit
// (fs.overflowuid).
func old16(id uint32) uint16 {
	if id > 0xffff {
		return 65534
	}
	return uint16(id)
}

// files is the NT_FILE note: which mapping is of which file.
func (n *notes) files(mm *image.MM) []byte {
	e := encoder{abi: n.abi}
	var names strings.Builder
	count, page := uint64(0), uint64(n.m.Header.PageSize)
	var list []*image.VMA
	for i := range mm.VMAs {
		if v := &mm.VMAs[i]; v.Kind == image.FileVMA {
			list = append(list, v)
			count++
		}
	}
	e.word(count)
	e.word(page)
	for _, v := range list {
		e.word(v.Start)
		e.word(v.End)
		e.word(v.Offset / page)
		names.WriteString(n.m.File(v.File).Path)
		names.WriteByte(0)
	}
	e.buf = append(e.buf, names.String()...)
	return e.buf
}
