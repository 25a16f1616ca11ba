package x86

import (
	"fmt"

	"cr/regset"
)

// NoteX86LDT is the process's local descriptor table as a list of struct
// user_desc, one for each entry that is not empty, lowest entry first: what
// modify_ldt(0x11) takes one by one. modify_ldt(0) gives the table as the CPU
// has it, which LDTFromRaw turns into the list.

const (
	ldtEntries  = 8192
	rawDescSize = 8
)

// Bits of the upper word of a descriptor (Intel SDM volume 3, 3.4.5).
const (
	rawWritable   = 1 << 9 // readable, for code
	rawExpandCode = 3 << 10
	rawPresent    = 1 << 15
	rawAVL        = 1 << 20
	raw32         = 1 << 22
	rawPages      = 1 << 23
)

// LDTFromRaw makes the bytes of a NoteX86LDT set of what modify_ldt(0) read.
// Bytes beyond the last whole descriptor are ignored; so is what lies beyond
// entry 8191.
func LDTFromRaw(raw []byte) []byte {
	var set []byte
	for i := 0; i < ldtEntries && len(raw) >= rawDescSize; i++ {
		lo, hi := le.Uint32(raw), le.Uint32(raw[4:])
		raw = raw[rawDescSize:]
		if lo == 0 && hi == 0 {
			continue
		}
		d := userDesc{
			entry: uint32(i),
			base:  lo>>16 | hi&0xff<<16 | hi&0xff000000,
			limit: lo&0xffff | hi&0xf0000,
			flags: hi & rawExpandCode >> 10 << descContentsShift,
		}
		for _, f := range []struct {
			set  bool
			flag uint32
		}{
			{hi&raw32 != 0, descSeg32},
			{hi&rawWritable == 0, descReadExec},
			{hi&rawPages != 0, descPages},
			{hi&rawPresent == 0, descNotPresent},
			{hi&rawAVL != 0, descUseable},
		} {
			if f.set {
				d.flags |= f.flag
			}
		}
		b := make([]byte, userDescSize)
		d.put(b)
		set = append(set, b...)
	}
	return set
}

func ldtReg(d userDesc) string { return fmt.Sprintf("ldt%d", d.entry) }

func ldtRegs(_ regset.ABI, data []byte) []regset.Reg {
	var regs []regset.Reg
	for i, d := range userDescs(data) {
		regs = append(regs, reg(ldtReg(d), data[i*userDescSize:(i+1)*userDescSize]))
	}
	return regs
}

func ldtUsed(_ regset.ABI, data []byte) bool { return anyDesc(data) }

// ldtCheck has the rules of write_ldt (arch/x86/kernel/ldt.c). Whether the
// kernel takes 16-bit segments is known only when it is asked.
func ldtCheck(_ *regset.Machine, _ regset.ABI, data []byte, out *regset.Problems) {
	if len(data)%userDescSize != 0 {
		problem(out, nameLDT, "", "size %d is no multiple of %d", len(data), userDescSize)
		return
	}
	next := uint32(0)
	for _, d := range userDescs(data) {
		r := ldtReg(d)
		switch {
		case d.entry >= ldtEntries:
			problem(out, nameLDT, r, "entry number is not below %d", ldtEntries)
			return
		case d.entry < next:
			problem(out, nameLDT, r, "entry is not in ascending order")
			return
		}
		next = d.entry + 1
		checkLimit(nameLDT, r, d, out)
		if d.contents() == descConforming && d.flags&descNotPresent == 0 {
			problem(out, nameLDT, r, "conforming code segment is present")
		}
	}
}

func ldtFit(_ *regset.Machine, _ regset.ABI, data []byte) []byte { return dropLM(data) }
