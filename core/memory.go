package core

import (
	"io"
	"sort"

	"cr/image"
)

// maxHole is the size of the largest anonymous mapping that is in the file as a
// whole, in bytes: of a larger one only the pages of the image are. Programs
// reserve address space that no file can be as large as.
const maxHole = 1 << 40

// memory places the memory of a process in a core file.
type memory struct {
	w    io.WriterAt
	m    *image.Image
	mm   *image.MM
	page uint64
	end  uint64 // of what is in the file
	args []byte // the command line

	bases  []uint64          // where a mapping lies in the file as a whole; 0 if it does not
	pieces [][]segment       // the pieces of the others that are in the file
	shared map[uint32]uint64 // where a shm lies in the file
}

func newMemory(w io.WriterAt, m *image.Image, p *image.Process) *memory {
	mm := m.MM(p.MM)
	mem := &memory{
		w: w, m: m, mm: mm, page: uint64(m.Header.PageSize), end: uint64(m.Header.PageSize),
		bases: make([]uint64, len(mm.VMAs)), pieces: make([][]segment, len(mm.VMAs)), shared: make(map[uint32]uint64),
	}
	n := mm.ArgEnd - mm.ArgStart
	if n > maxArgs {
		n = maxArgs
	}
	mem.args = make([]byte, n)
	return mem
}

// room takes page aligned room in the file, and returns where.
func (mem *memory) room(n uint64) uint64 {
	at := mem.end
	mem.end += (n + mem.page - 1) &^ (mem.page - 1)
	return at
}

func (mem *memory) put(data []byte, offset uint64) error {
	_, err := mem.w.WriteAt(data, int64(offset))
	return err
}

// whole reports whether a mapping is in the file as a whole.
func whole(v *image.VMA) bool {
	return v.Kind == image.Anon && v.Prot != 0 && v.End-v.Start <= maxHole
}

// add writes the pages of the process.
func (mem *memory) add(p *image.Pages) error {
	data := p.Data
	for _, run := range p.Runs {
		part := data[:run.Len]
		data = data[run.Len:]
		if p.Shm {
			if err := mem.addShared(p.Owner, run.Addr, part); err != nil {
				return err
			}
		} else if p.Owner == mem.mm.ID {
			if err := mem.addPrivate(run.Addr, part); err != nil {
				return err
			}
		}
	}
	return nil
}

func (mem *memory) addShared(id uint32, offset uint64, data []byte) error {
	base, ok := mem.shared[id]
	if !ok {
		for i := range mem.mm.VMAs {
			if v := &mem.mm.VMAs[i]; v.Kind == image.ShmVMA && v.File == id {
				base = mem.room(mem.m.Shm(id).Size)
				break
			}
		}
		mem.shared[id] = base
	}
	if base == 0 {
		return nil
	}
	return mem.put(data, base+offset)
}

func (mem *memory) addPrivate(addr uint64, data []byte) error {
	mem.addArgs(addr, data)
	var err error
	mem.mm.Overlaps(addr, addr+uint64(len(data)), func(i int, start, end uint64) {
		part, v := data[start-addr:end-addr], &mem.mm.VMAs[i]
		var offset uint64
		if whole(v) {
			if mem.bases[i] == 0 {
				mem.bases[i] = mem.room(v.End - v.Start)
			}
			offset = mem.bases[i] + start - v.Start
		} else {
			offset = mem.room(end - start)
			mem.addPiece(i, segment{addr: start, size: end - start, offset: offset})
		}
		if e := mem.put(part, offset); err == nil {
			err = e
		}
	})
	return err
}

// addPiece notes a piece of a mapping, as part of the last one if it continues
// it.
func (mem *memory) addPiece(i int, s segment) {
	list := mem.pieces[i]
	if n := len(list); n > 0 {
		if last := &list[n-1]; last.addr+last.size == s.addr && last.offset+last.size == s.offset {
			last.size += s.size
			return
		}
	}
	mem.pieces[i] = append(list, s)
}

// addArgs takes the command line out of memory.
func (mem *memory) addArgs(addr uint64, data []byte) {
	start, end := mem.mm.ArgStart, mem.mm.ArgStart+uint64(len(mem.args))
	if addr >= end || addr+uint64(len(data)) <= start {
		return
	}
	if addr < start {
		copy(mem.args, data[start-addr:])
	} else {
		copy(mem.args[addr-start:], data)
	}
}

// segments lists the mappings as segments, in order of addresses.
func (mem *memory) segments() ([]segment, error) {
	var list []segment
	for i := range mem.mm.VMAs {
		v := &mem.mm.VMAs[i]
		s := segment{addr: v.Start, size: v.End - v.Start, flags: flags(v.Prot), align: mem.page}
		switch {
		case v.Kind == image.VDSO && len(mem.mm.VDSO) > 0:
			s.offset, s.fileSize = mem.room(uint64(len(mem.mm.VDSO))), uint64(len(mem.mm.VDSO))
			if err := mem.put(mem.mm.VDSO, s.offset); err != nil {
				return nil, err
			}
			list = append(list, s)
		case v.Kind == image.ShmVMA:
			list = append(list, mem.sharedSegment(v, s))
		case whole(v):
			if mem.bases[i] == 0 {
				mem.bases[i] = mem.room(s.size)
			}
			s.offset, s.fileSize = mem.bases[i], s.size
			list = append(list, s)
		default:
			list = append(list, mem.split(s, mem.pieces[i])...)
		}
	}
	return list, nil
}

func (mem *memory) sharedSegment(v *image.VMA, s segment) segment {
	s.offset = mem.end
	size := (mem.m.Shm(v.File).Size + mem.page - 1) &^ (mem.page - 1)
	if base := mem.shared[v.File]; base != 0 && v.Offset < size {
		s.offset, s.fileSize = base+v.Offset, size-v.Offset
		if s.fileSize > s.size {
			s.fileSize = s.size
		}
	}
	return s
}

// split makes segments of a mapping, one for each piece of it that is in the
// file or is not.
func (mem *memory) split(s segment, pieces []segment) []segment {
	var list []segment
	// Pages that other processes have as well came first.
	sort.Slice(pieces, func(i, j int) bool { return pieces[i].addr < pieces[j].addr })
	end := s.addr + s.size
	gap := func(to uint64) {
		if to > s.addr {
			g := s
			g.size, g.offset = to-s.addr, mem.end
			list = append(list, g)
		}
	}
	for _, p := range pieces {
		gap(p.addr)
		p.fileSize, p.flags, p.align = p.size, s.flags, s.align
		list = append(list, p)
		s.addr = p.addr + p.size
	}
	gap(end)
	return list
}

// flags turns PROT_* into PF_*.
func flags(prot uint32) uint32 {
	f := uint32(0)
	for i, bit := range []uint32{pfR, pfW, pfX} {
		if prot>>uint(i)&1 != 0 {
			f |= bit
		}
	}
	return f
}
