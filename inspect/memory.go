package inspect

import (
	"fmt"

	"cr/image"
)

// saved counts the bytes of memory that an image holds.
type saved struct {
	m     *image.Image
	total uint64
	again map[uint32]uint64   // by MM: of pages that are in the image as those of another
	vmas  map[uint32][]uint64 // by MM, for each of its mappings
	shm   map[uint32]uint64   // by Shm

	places *places // nil if nobody asks where they are
}

func newSaved(m *image.Image) *saved {
	s := &saved{m: m, again: make(map[uint32]uint64), vmas: make(map[uint32][]uint64), shm: make(map[uint32]uint64)}
	for _, mm := range m.MMs {
		counts := make([]uint64, len(mm.VMAs))
		for i := range mm.VMAs {
			if mm.VMAs[i].Kind == image.VDSO {
				counts[i] = uint64(len(mm.VDSO))
			}
		}
		s.vmas[mm.ID] = counts
	}
	return s
}

func (s *saved) add(p *image.Pages) {
	if p.From != 0 {
		s.again[p.Owner] += uint64(len(p.Data))
	} else {
		s.total += uint64(len(p.Data))
	}
	if s.places != nil {
		s.places.add(p)
	}
	if p.Shm {
		s.shm[p.Owner] += uint64(len(p.Data))
		return
	}
	mm, counts := s.m.MM(p.Owner), s.vmas[p.Owner]
	for _, run := range p.Runs {
		mm.Overlaps(run.Addr, run.Addr+run.Len, func(i int, start, end uint64) { counts[i] += end - start })
	}
}

// order is called when all has been added.
func (s *saved) order() {
	if s.places != nil {
		s.places.order()
	}
}

// of is what the image holds of a mapping. Shared memory is counted for itself,
// not for those who map it.
func (s *saved) of(mm *image.MM, i int) uint64 { return s.vmas[mm.ID][i] }

// maxDump is the most that one dump shows, in bytes: it is held in memory.
const maxDump = 64 << 20

// What is known of a byte of a dump.
const (
	unmapped = iota
	elsewhere
	known
)

// dump collects a range of a process's memory.
type dump struct {
	m     *image.Image
	mm    *image.MM
	start uint64
	data  []byte
	state []byte // of each byte
}

func newDump(m *image.Image, p *image.Process, start, length uint64) (*dump, error) {
	if length > maxDump || start+length < start {
		return nil, fmt.Errorf("%d bytes are too many to show: at most %d", length, maxDump)
	}
	mm := m.MM(p.MM)
	if mm == nil {
		return nil, fmt.Errorf("process %d is a zombie and has no memory", p.PID)
	}
	d := &dump{m, mm, start, make([]byte, length), make([]byte, length)}
	mm.Overlaps(start, start+length, func(i int, from, to uint64) {
		s := byte(elsewhere)
		switch mm.VMAs[i].Kind {
		case image.Anon, image.ShmVMA:
			s = known // as zero, if the image has no page
		}
		for at := from; at < to; at++ {
			d.state[at-start] = s
		}
		if v := &mm.VMAs[i]; v.Kind == image.VDSO && v.End-v.Start == uint64(len(mm.VDSO)) {
			d.put(v.Start, mm.VDSO)
		}
	})
	return d, nil
}

// add takes from a piece of memory what belongs to the range.
func (d *dump) add(p *image.Pages) {
	data := p.Data
	for _, run := range p.Runs {
		part := data[:run.Len]
		data = data[run.Len:]
		if !p.Shm {
			if p.Owner == d.mm.ID {
				d.put(run.Addr, part)
			}
			continue
		}
		d.mm.Overlaps(d.start, d.start+uint64(len(d.data)), func(i int, _, _ uint64) {
			v := &d.mm.VMAs[i]
			if v.Kind != image.ShmVMA || v.File != p.Owner {
				return
			}
			d.putShared(v, run.Addr, part)
		})
	}
}

// putShared puts a piece of shared memory where a mapping has it.
func (d *dump) putShared(v *image.VMA, offset uint64, data []byte) {
	if offset < v.Offset {
		if v.Offset-offset >= uint64(len(data)) {
			return
		}
		data = data[v.Offset-offset:]
		offset = v.Offset
	}
	if offset -= v.Offset; offset >= v.End-v.Start {
		return
	}
	if room := v.End - v.Start - offset; uint64(len(data)) > room {
		data = data[:room]
	}
	d.put(v.Start+offset, data)
}

// put puts contents of memory at an address.
func (d *dump) put(addr uint64, data []byte) {
	if addr < d.start {
		if d.start-addr >= uint64(len(data)) {
			return
		}
		data = data[d.start-addr:]
		addr = d.start
	}
	if addr-d.start >= uint64(len(d.data)) {
		return
	}
	n := copy(d.data[addr-d.start:], data)
	for i := range d.state[addr-d.start:][:n] {
		d.state[addr-d.start+uint64(i)] = known
	}
}
