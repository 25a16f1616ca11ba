package core

import (
	"fmt"
	"io"
	"math"
)

// Values of elf.h.
const (
	etCore = 4
	ptLoad = 1
	ptNote = 4
	pnXNum = 0xffff // number of program headers if it is in section 0
	pfX    = 1
	pfW    = 2
	pfR    = 4
	elfV2  = 2 // e_flags of powerpc: ABI version 2
)

// segment is a PT_LOAD.
type segment struct {
	addr, size       uint64
	offset, fileSize uint64
	flags            uint32
	align            uint64
}

// ehdrSize is the size of an ELF header in bytes, phdrSize and shdrSize that of
// a program and a section header.
func (e *encoder) ehdrSize() uint64 { return map[int]uint64{4: 52, 8: 64}[e.abi.WordSize()] }
func (e *encoder) phdrSize() uint64 { return map[int]uint64{4: 32, 8: 56}[e.abi.WordSize()] }
func (e *encoder) shdrSize() uint64 { return map[int]uint64{4: 40, 8: 64}[e.abi.WordSize()] }

// finish writes what is known only in the end: notes and program headers, from
// end on, and the ELF header.
func finish(w io.WriterAt, e encoder, end uint64, segments []segment, notes []byte) error {
	e.buf = append([]byte(nil), notes...)
	e.align(8)
	phoff := end + uint64(len(e.buf))
	count := uint64(len(segments) + 1)
	e.phdr(ptNote, segment{offset: end, fileSize: uint64(len(notes)), align: 4})
	for _, s := range segments {
		e.phdr(ptLoad, s)
	}
	shoff := uint64(0)
	if count >= pnXNum {
		shoff = end + uint64(len(e.buf))
		e.nullSection(count)
	}
	if last := end + uint64(len(e.buf)); e.abi.WordSize() == 4 && last > math.MaxUint32 {
		return fmt.Errorf("a core file of %d bytes is too large for a 32-bit process", last)
	}
	if _, err := w.WriteAt(e.buf, int64(end)); err != nil {
		return err
	}
	e.buf = nil
	e.ehdr(phoff, shoff, count)
	_, err := w.WriteAt(e.buf, 0)
	return err
}

func (e *encoder) ehdr(phoff, shoff, count uint64) {
	class, data, flags := byte(2), byte(1), uint32(0)
	if e.abi.WordSize() == 4 {
		class = 1
	}
	if e.abi.BigEndian {
		data = 2
	} else if e.abi.IsPPC() {
		flags = elfV2
	}
	e.buf = append(e.buf, 0x7f, 'E', 'L', 'F', class, data, 1)
	e.align(16)
	e.u16(etCore)
	e.u16(e.abi.Machine)
	e.u32(1)  // e_version
	e.word(0) // e_entry
	e.word(phoff)
	e.word(shoff)
	e.u32(flags)
	e.u16(uint16(e.ehdrSize()))
	e.u16(uint16(e.phdrSize()))
	if count >= pnXNum {
		e.u16(pnXNum)
		e.u16(uint16(e.shdrSize()))
		e.u16(1)
	} else {
		e.u16(uint16(count))
		e.u16(0)
		e.u16(0)
	}
	e.u16(0) // e_shstrndx
}

func (e *encoder) phdr(kind uint32, s segment) {
	e.u32(kind)
	if e.abi.WordSize() == 8 {
		e.u32(s.flags)
	}
	e.word(s.offset)
	e.word(s.addr)
	e.word(0) // p_paddr
	e.word(s.fileSize)
	e.word(s.size)
	if e.abi.WordSize() == 4 {
		e.u32(s.flags)
	}
	e.word(s.align)
}

// nullSection is section 0, which holds a number of program headers that does
// not fit the ELF header.
func (e *encoder) nullSection(count uint64) {
	e.u32(0)  // sh_name
	e.u32(0)  // sh_type
	e.word(0) // sh_flags
	e.word(0) // sh_addr
	e.word(0) // sh_offset
	e.word(1) // sh_size: number of sections
	e.u32(0)  // sh_link
	e.u32(uint32(count))
	e.word(0) // sh_addralign
	e.word(0) // sh_entsize
}
