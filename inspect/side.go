package inspect

import (
	"hash/maphash"
	"io"
	"sort"

	"cr/image"
)

// seed is that of the hashes by which pages are compared. It is new for each
// run, so that no image can be made for which they collide.
var seed = maphash.MakeSeed()

func hash(b []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	h.Write(b)
	return h.Sum64()
}

// page is a page of an image: its address, or offset in shared memory, and a
// hash of its contents.
type page struct{ addr, sum uint64 }

// side is one of two images that are compared. It holds 16 bytes for each page.
type side struct {
	m       *image.Image
	report  *Report
	private map[uint32][]page // by MM
	shared  map[uint32][]page // by Shm
	zeroSum uint64
}

func readSide(r io.Reader) (*side, error) {
	m, rd, err := image.Read(r)
	if err != nil {
		return nil, err
	}
	size := int(m.Header.PageSize)
	s := &side{m: m, private: make(map[uint32][]page), shared: make(map[uint32][]page), zeroSum: hash(make([]byte, size))}
	err = rd.Each(func(p *image.Pages) error {
		list := s.private
		if p.Shm {
			list = s.shared
		}
		data := p.Data
		for _, run := range p.Runs {
			for at := uint64(0); at < run.Len; at += uint64(size) {
				list[p.Owner] = append(list[p.Owner], page{run.Addr + at, hash(data[:size])})
				data = data[size:]
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, list := range s.private { // those that others have too came first
		sort.Slice(list, func(i, j int) bool { return list[i].addr < list[j].addr })
	}
	b := &builder{m: m, o: Options{Regs: true, Maps: true}, saved: newSaved(m)}
	s.report = &Report{Image: b.image(0), Processes: b.processes(), Objects: b.objects(), Namespaces: b.namespaces()}
	return s, nil
}

// part is what an image has of a part of a mapping.
type part struct {
	pages   []page
	move    uint64 // what makes addresses of theirs
	zero    bool   // whether pages that are not there are zero
	zeroSum uint64
}

// addr is the address of the first page.
func (p part) addr() uint64 { return p.pages[0].addr + p.move }

// part gives what the image has of the addresses from start to end, which are
// within a mapping.
func (s *side) part(mm *image.MM, v *image.VMA, start, end uint64) part {
	p := part{zeroSum: s.zeroSum}
	list := s.private[mm.ID]
	switch v.Kind {
	case image.Anon:
		p.zero = true
	case image.ShmVMA:
		p.zero = true
		list = s.shared[v.File]
		p.move = v.Start - v.Offset
	case image.VDSO:
		list = nil
		size := uint64(s.m.Header.PageSize)
		for at := uint64(0); at+size <= uint64(len(mm.VDSO)); at += size {
			list = append(list, page{v.Start + at, hash(mm.VDSO[at : at+size])})
		}
	}
	// Offsets are compared, as addresses made of them could wrap around.
	start, end = start-p.move, end-p.move
	i := sort.Search(len(list), func(i int) bool { return list[i].addr >= start })
	j := sort.Search(len(list), func(j int) bool { return list[j].addr >= end })
	p.pages = list[i:j]
	return p
}
