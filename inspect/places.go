package inspect

import (
	"sort"

	"cr/image"
)

// extent is a range of addresses, or of offsets, in bytes.
type extent struct{ start, end uint64 }

// source is where the memory that an image does not hold comes from.
type source int

const (
	fromZero   source = iota // it has never been written to
	fromFile                 // the file that is mapped
	fromKernel               // the kernel makes it
)

// places knows which parts of memory an image holds. What lies side by side is
// one extent; order puts them in ascending order.
type places struct {
	m       *image.Image
	private map[uint32][]extent // by MM
	shared  map[uint32][]extent // by Shm, by offset
}

func newPlaces(m *image.Image) *places {
	return &places{m: m, private: make(map[uint32][]extent), shared: make(map[uint32][]extent)}
}

func (s *places) add(p *image.Pages) {
	of := s.private
	if p.Shm {
		of = s.shared
	}
	list := of[p.Owner]
	for _, run := range p.Runs {
		if n := len(list); n > 0 && list[n-1].end == run.Addr {
			list[n-1].end += run.Len
		} else {
			list = append(list, extent{run.Addr, run.Addr + run.Len})
		}
	}
	of[p.Owner] = list
}

// order is called when all has been added: pages that several processes have
// come first.
func (s *places) order() {
	for id, list := range s.private {
		s.private[id] = union(list, nil)
	}
}

// of is what the image holds of a mapping, by offset into the mapping, and
// where the rest comes from.
func (s *places) of(mm *image.MM, v *image.VMA) (source, []extent) {
	size := v.End - v.Start
	private := within(s.private[mm.ID], v.Start, size)
	switch v.Kind {
	case image.FileVMA:
		if f := s.m.File(v.File); f != nil && f.Gone {
			return fromZero, union(private, within(s.shared[f.Object], v.Offset, size))
		}
		return fromFile, private
	case image.ShmVMA:
		return fromZero, within(s.shared[v.File], v.Offset, size)
	case image.VDSO:
		return fromKernel, within([]extent{{0, uint64(len(mm.VDSO))}}, 0, size)
	case image.VVAR, image.Vsyscall:
		return fromKernel, nil
	}
	return fromZero, private
}

// within cuts the size bytes from start on out of a list of extents, and makes
// start their 0.
func within(list []extent, start, size uint64) []extent {
	var out []extent
	for _, e := range list[sort.Search(len(list), func(i int) bool { return list[i].end > start }):] {
		if e.start > start && e.start-start >= size {
			break
		}
		part := extent{0, size}
		if e.start > start {
			part.start = e.start - start
		}
		if e.end-start < size {
			part.end = e.end - start
		}
		if part.start < part.end {
			out = append(out, part)
		}
	}
	return out
}

// union joins two lists.
func union(a, b []extent) []extent {
	all := append(append([]extent(nil), a...), b...)
	sort.Slice(all, func(i, j int) bool { return all[i].start < all[j].start })
	var out []extent
	for _, e := range all {
		if n := len(out); n == 0 || out[n-1].end < e.start {
			out = append(out, e)
		} else if out[n-1].end < e.end {
			out[n-1].end = e.end
		}
	}
	return out
}
