package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"

	"cr/image"
)

// After a fork(2), parent and child share their private pages until one of them
// writes. Which pages are shared is told to root only (the frame numbers in
// /proc/PID/pagemap), but everybody is told which are not: so pages that may be
// shared are compared. That equal pages at one address become one page means
// nothing to a program.

// maxVersions is how many different pages at one address are kept to compare
// others with.
const maxVersions = 4

// maxCommon is the most ranges that an image has in common, of 20 bytes each.
const maxCommon = 4 << 20

// commonPart is a memoryPart whose pages are compared with those of others.
type commonPart struct {
	*memoryPart
	left []image.Run // of pages that may be shared, those still to be compared
	list []image.Share
}

// version is a page that is kept to compare others with, and the MM that has it.
type version struct {
	owner uint32
	data  []byte
}

// findCommon finds the pages that several processes have, and leaves them to the
// first that has them.
func (s *saver) findCommon() error {
	if len(s.memory) < 2 {
		return nil
	}
	parts := make([]*commonPart, len(s.memory))
	for i := range s.memory {
		m := &s.memory[i]
		parts[i] = &commonPart{memoryPart: m}
		if err := parts[i].mayShare(); err != nil {
			return fmt.Errorf("pid %d: %w", m.process.pid, err)
		}
	}
	if err := compare(parts); err != nil {
		return err
	}
	for _, p := range parts {
		if len(p.list) > 0 {
			s.img.Shares = append(s.img.Shares, &image.Shares{MM: p.owner, List: p.list})
		}
	}
	for _, p := range parts {
		var others []image.Run
		for _, share := range p.list {
			others = append(others, image.Run{Addr: share.Addr, Len: share.Len})
		}
		p.common = s.img.Sources(p.owner)
		p.runs = minus(minus(p.runs, others), p.common)
	}
	return nil
}

// mayShare lists the pages to be saved that may be another process's as well: those
// that pagemap does not call exclusively mapped
// (Documentation/admin-guide/mm/pagemap.rst), and those in swap. Huge pages of
// MAP_HUGETLB are left out, which are never staged for several processes.
func (p *commonPart) mayShare() error {
	const exclusive, file, swapped, present = 1 << 56, 1 << 61, 1 << 62, 1 << 63
	f, err := os.Open(procPath(p.process.pid, "pagemap"))
	if err != nil {
		return err
	}
	defer f.Close()
	var huge []image.Run
	for i := range p.vmas {
		if v := &p.vmas[i]; v.HugePage() != 0 {
			huge = append(huge, image.Run{Addr: v.Start, Len: v.End - v.Start})
		}
	}
	var found memoryPart
	page := uint64(os.Getpagesize())
	buf := make([]byte, 64<<10)
	for _, r := range minus(p.runs, huge) {
		for at, end := r.Addr, r.Addr+r.Len; at < end; {
			want := (end - at) / page * 8
			if want > uint64(len(buf)) {
				want = uint64(len(buf))
			}
			n, err := f.ReadAt(buf[:want], int64(at/page*8))
			if n < 8 && (err == nil || errors.Is(err, io.EOF)) {
				err = fmt.Errorf("pagemap ends at %#x", at)
			}
			if n < 8 {
				return err
			}
			for i := 0; i+8 <= n; i += 8 {
				entry := hostOrder.Uint64(buf[i:])
				if entry&(swapped|present) != 0 && entry&(file|exclusive) == 0 {
					found.add(at, at+page)
				}
				at += page
			}
		}
	}
	p.shared = found.runs
	p.left = append([]image.Run(nil), found.runs...)
	return nil
}

// mayBeShared reports whether other processes may have pages of some runs.
func (m *memoryPart) mayBeShared(runs []image.Run) bool {
	for _, r := range runs {
		i := sort.Search(len(m.shared), func(i int) bool { return m.shared[i].Addr+m.shared[i].Len > r.Addr })
		if i < len(m.shared) && m.shared[i].Addr < r.Addr+r.Len {
			return true
		}
	}
	return false
}

// compare compares pages at equal addresses, a piece of the address space at a
// time. Equal ones are noted in the lists of all but the first that has them.
func compare(parts []*commonPart) error {
	page := uint64(os.Getpagesize())
	buf := make([]byte, chunkSize)
	var kept [maxVersions][]byte
	for i := range kept {
		kept[i] = make([]byte, chunkSize)
	}
	versions := make([][]version, chunkSize/page)
	for ranges := 0; ranges < maxCommon; {
		base, some := ^uint64(0), false
		for _, p := range parts {
			if len(p.left) > 0 && p.left[0].Addr < base {
				base, some = p.left[0].Addr, true
			}
		}
		if !some {
			return nil
		}
		base &^= chunkSize - 1
		var in []*commonPart
		for _, p := range parts {
			if len(p.left) > 0 && p.left[0].Addr-base < chunkSize {
				in = append(in, p)
			}
		}
		for i := range versions {
			versions[i] = versions[i][:0]
		}
		for _, p := range in {
			runs, n := p.take(base)
			if len(in) == 1 {
				break // nobody else has pages there
			}
			data := buf[:n]
			if err := p.process.readShared(runs, data); err != nil {
				return err
			}
			before := len(p.list)
			for _, r := range runs {
				for at := r.Addr; at < r.Addr+r.Len; at += page {
					i := (at - base) / page
					p.look(at, data[:page], &versions[i], &kept, i*page)
					data = data[page:]
				}
			}
			ranges += len(p.list) - before
		}
	}
	return nil
}

// take takes what is left within a chunk from base on: runs, and their size.
func (p *commonPart) take(base uint64) (runs []image.Run, size uint64) {
	for len(p.left) > 0 && p.left[0].Addr-base < chunkSize {
		r := p.left[0]
		if most := base + chunkSize - r.Addr; r.Len > most {
			r.Len = most
		}
		runs, size = append(runs, r), size+r.Len
		p.left[0].Addr += r.Len
		if p.left[0].Len -= r.Len; p.left[0].Len == 0 {
			p.left = p.left[1:]
		}
	}
	return runs, size
}

// look notes a page if another process has it, and keeps it for the next to
// compare with if not: at an offset, in what is kept.
func (p *commonPart) look(addr uint64, data []byte, known *[]version, kept *[maxVersions][]byte, offset uint64) {
	n := uint64(len(data))
	for _, v := range *known {
		if !bytes.Equal(v.data, data) {
			continue
		}
		if i := len(p.list) - 1; i >= 0 && p.list[i].From == v.owner && p.list[i].Addr+p.list[i].Len == addr {
			p.list[i].Len += n
		} else {
			p.list = append(p.list, image.Share{From: v.owner, Addr: addr, Len: n})
		}
		return
	}
	if i := len(*known); i < maxVersions {
		to := kept[i][offset : offset+n]
		copy(to, data)
		*known = append(*known, version{p.owner, to})
	}
}

// minus returns what of runs is in no run of others. Both ascend.
func minus(runs, others []image.Run) []image.Run {
	if len(others) == 0 {
		return runs
	}
	var out []image.Run
	for _, r := range runs {
		at, end := r.Addr, r.Addr+r.Len
		i := sort.Search(len(others), func(i int) bool { return others[i].Addr+others[i].Len > at })
		for ; i < len(others) && others[i].Addr < end; i++ {
			if o := others[i].Addr; o > at {
				out = append(out, image.Run{Addr: at, Len: o - at})
			}
			at = others[i].Addr + others[i].Len
		}
		if at < end {
			out = append(out, image.Run{Addr: at, Len: end - at})
		}
	}
	return out
}
