package kernel

import (
	"errors"
	"io"
	"sort"

	"golang.org/x/sys/unix"

	"cr/image"
)

// Pages that several processes had in common come first in an image. They are
// staged in the root process before it makes the others, which so inherit them
// as from a fork(2): each then makes them part of its own memory, and what only
// it has is written over them.

// commonRestarter is the part of a restarter that is about pages in common.
type commonRestarter struct {
	common   map[uint32]*commonPages // by MM; nil if there are none
	commonAt spans                   // where these are staged
	ahead    *image.Pages            // the first piece of memory that is not in common, while it is not filled in
}

// commonPages are the pages of one MM that others have too, in every process
// until that has taken what it needs of them.
type commonPages struct {
	places []commonPlace // ascending
	filled spans         // the addresses, in the image, of those that there are
}

// commonPlace is where pages of a range of addresses of the image are staged.
type commonPlace struct {
	span
	at        uint64
	noReserve bool
}

// place finds the place that has an address; nil if none has.
func (c *commonPages) place(addr uint64) *commonPlace {
	i := sort.Search(len(c.places), func(i int) bool { return c.places[i].end > addr })
	if i == len(c.places) || c.places[i].start > addr {
		return nil
	}
	return &c.places[i]
}

// follow returns a set of ranges with one more, which is above all others.
func (s spans) follow(n span) spans {
	if i := len(s) - 1; i >= 0 && s[i].end == n.start {
		s[i].end = n.end
		return s
	}
	return append(s, n)
}

// within returns the part of a set that lies in a range.
func (s spans) within(r span) spans {
	var out spans
	for i := sort.Search(len(s), func(i int) bool { return s[i].end > r.start }); i < len(s) && s[i].start < r.end; i++ {
		part := s[i]
		if part.start < r.start {
			part.start = r.start
		}
		if part.end > r.end {
			part.end = r.end
		}
		out = append(out, part)
	}
	return out
}

func (s spans) size() (n uint64) {
	for _, r := range s {
		n += r.end - r.start
	}
	return n
}

// stageCommon stages the pages that processes have in common.
func (rs *restarter) stageCommon() error {
	if len(rs.img.Shares) == 0 {
		return nil
	}
	rs.common = make(map[uint32]*commonPages)
	areas := rs.commonAreas()
	taken := spans{}.add(span{rs.root.scratch, rs.root.scratch + rs.root.room})
	for _, a := range rs.root.old {
		taken = taken.add(span{a.start, a.end})
	}
	for _, mm := range rs.img.MMs {
		if len(areas[mm.ID]) == 0 {
			continue
		}
		c := new(commonPages)
		rs.common[mm.ID] = c
		for _, p := range areas[mm.ID] {
			p.at = p.start
			if taken.overlaps(p.span) {
				var err error
				if p.at, err = rs.root.space.take(p.end - p.start); err != nil {
					if err = rs.placePages(c, mm.ID, p); err != nil {
						return err
					}
					continue
				}
			}
			if err := rs.mapCommon(c, p); err != nil {
				return err
			}
			taken = taken.add(span{p.at, p.at + p.end - p.start})
		}
	}
	return rs.fillCommon()
}

// commonAreas finds, by MM, the mappings in which it, or another that has pages
// of it, has these. Those that overlap are joined, so that each of them lies in
// one place.
func (rs *restarter) commonAreas() map[uint32][]commonPlace {
	areas := make(map[uint32][]commonPlace)
	add := func(source uint32, mm *image.MM, addr, n uint64) {
		mm.Overlaps(addr, addr+n, func(i int, _, _ uint64) {
			v, list := &mm.VMAs[i], areas[source]
			if last := len(list) - 1; last < 0 || list[last].span != (span{v.Start, v.End}) {
				areas[source] = append(list, commonPlace{span: span{v.Start, v.End}, noReserve: v.Flags&image.VMANoReserve != 0})
			}
		})
	}
	for _, mm := range rs.img.MMs {
		for _, r := range rs.img.Sources(mm.ID) {
			add(mm.ID, mm, r.Addr, r.Len)
		}
	}
	for _, s := range rs.img.Shares {
		for _, share := range s.List {
			add(share.From, rs.img.MM(s.MM), share.Addr, share.Len)
		}
	}
	for source, list := range areas {
		sort.SliceStable(list, func(i, j int) bool { return list[i].start < list[j].start })
		n := 0
		for _, a := range list[1:] {
			last := &list[n]
			if a.start >= last.end {
				n++
				list[n] = a
			} else if a.end > last.end {
				last.end = a.end
			}
		}
		areas[source] = list[:n+1]
	}
	return areas
}

// placePages makes places for the pages alone that an MM shares within a range,
// where there is no room for the whole of it: they are copied then.
func (rs *restarter) placePages(c *commonPages, source uint32, within commonPlace) error {
	for _, r := range rs.img.Sources(source) {
		for _, s := range (spans{{r.Addr, r.Addr + r.Len}}).within(within.span) {
			at, err := rs.root.space.take(s.end - s.start)
			if err != nil {
				return err
			}
			if err := rs.mapCommon(c, commonPlace{span: s, at: at}); err != nil {
				return err
			}
		}
	}
	return nil
}

// mapCommon maps a place in the root process. It counts as nobody's memory until
// its pages are filled.
func (rs *restarter) mapCommon(c *commonPages, p commonPlace) error {
	flags := uint32(unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | mapFixedNoReplace)
	if p.noReserve {
		flags |= unix.MAP_NORESERVE
	}
	if _, err := rs.root.leader().mmap(p.at, p.end-p.start, unix.PROT_NONE, flags, -1, 0); err != nil {
		return err
	}
	c.places = append(c.places, p)
	rs.commonAt = rs.commonAt.add(span{p.at, p.at + p.end - p.start})
	return nil
}

// fillCommon reads the pages that processes have in common into their places.
func (rs *restarter) fillCommon() error {
	for {
		p, err := rs.rd.Next()
		if errors.Is(err, io.EOF) {
			return nil // which the reader says again
		}
		if err != nil {
			return err
		}
		if !p.Common {
			rs.ahead = p
			return nil
		}
		c, data := rs.common[p.Owner], p.Data
		for _, run := range p.Runs {
			c.filled = c.filled.follow(span{run.Addr, run.Addr + run.Len})
			for addr, end := run.Addr, run.Addr+run.Len; addr < end; {
				place := c.place(addr) // there is one for all that is shared
				n := end - addr
				if left := place.end - addr; n > left {
					n = left
				}
				if err := rs.fillAt(rs.root, place.at+addr-place.start, data[:n]); err != nil {
					return err
				}
				addr, data = addr+n, data[n:]
			}
		}
		rs.progress(uint64(len(p.Data)))
	}
}

// commonPlan says what a process does with the pages in common.
type commonPlan struct {
	at     map[uint64]uint64 // where a mapping is in place already, by its start
	drop   map[uint64][]span // what of it the process has not, where it is staged
	copies []commonCopy
	some   map[uint64]bool // the mappings that have any, by their start
}

// commonCopy are pages that a process has in another mapping than the one that
// they are in.
type commonCopy struct {
	from *commonPages
	span
}

// planCommon decides which mappings of a process are in place already.
func (rs *restarter) planCommon(r *reborn) commonPlan {
	plan := commonPlan{at: make(map[uint64]uint64), drop: make(map[uint64][]span), some: make(map[uint64]bool)}
	if rs.common == nil {
		return plan
	}
	for i := range r.mm.VMAs {
		v := &r.mm.VMAs[i]
		uses, sources := rs.commonUses(r.mm, v)
		plan.some[v.Start] = len(sources) > 0
		var best *commonPages
		for _, c := range sources {
			if mayInherit(v, c) && (best == nil || uses[c].size() > uses[best].size()) {
				best = c
			}
		}
		for _, c := range sources {
			if c != best {
				for _, s := range uses[c] {
					plan.copies = append(plan.copies, commonCopy{c, s})
				}
			}
		}
		if best == nil {
			continue
		}
		p := best.place(v.Start)
		at := p.at + v.Start - p.start
		plan.at[v.Start] = at
		for _, s := range best.filled.within(span{v.Start, v.End}).without(uses[best]) {
			plan.drop[v.Start] = append(plan.drop[v.Start], span{at + s.start - v.Start, at + s.end - v.Start})
		}
	}
	return plan
}

// commonUses finds which pages of which others an MM has in a mapping, or others
// have of it.
func (rs *restarter) commonUses(mm *image.MM, v *image.VMA) (uses map[*commonPages]spans, sources []*commonPages) {
	uses = make(map[*commonPages]spans)
	add := func(c *commonPages, s span) {
		for _, part := range c.filled.within(s) {
			if uses[c] == nil {
				sources = append(sources, c)
			}
			uses[c] = uses[c].follow(part)
		}
	}
	// Others have of it whatever there is under its name.
	if c := rs.common[mm.ID]; c != nil {
		add(c, span{v.Start, v.End})
	}
	list := rs.img.SharesOf(mm.ID)
	i := sort.Search(len(list), func(i int) bool { return list[i].Addr+list[i].Len > v.Start })
	for ; i < len(list) && list[i].Addr < v.End; i++ {
		for _, s := range (spans{{list[i].Addr, list[i].Addr + list[i].Len}}).within(span{v.Start, v.End}) {
			add(rs.common[list[i].From], s)
		}
	}
	return uses, sources
}

// mayInherit reports whether a mapping can be made of a part of a place. What
// mmap(2) alone can set, and memory that is locked, which is never shared, is
// made anew.
func mayInherit(v *image.VMA, c *commonPages) bool {
	const anew = image.VMAGrowsDown | image.VMAHugeTLB | image.VMALocked
	p := c.place(v.Start)
	return v.Kind == image.Anon && v.Flags&anew == 0 && p != nil && p.end >= v.End && p.noReserve == (v.Flags&image.VMANoReserve != 0)
}

// clearCommon unmaps in a process what is in the way of mappings that have none
// of the pages in common. The rest stays until the commit.
func (rs *restarter) clearCommon(r *reborn, plan commonPlan) error {
	for i := range r.mm.VMAs {
		v := &r.mm.VMAs[i]
		if plan.some[v.Start] {
			continue
		}
		for _, s := range rs.commonAt.within(span{v.Start, v.End}) {
			if _, err := r.leader().call(sysMunmap, s.start, s.end-s.start); err != nil {
				return err
			}
		}
	}
	return nil
}

// inTheWay reports whether a mapping has to be staged elsewhere, for pages that
// it has are in its place and still to be copied.
func (rs *restarter) inTheWay(plan commonPlan, v *image.VMA) bool {
	return plan.some[v.Start] && rs.commonAt.overlaps(span{v.Start, v.End})
}

// takeCommon makes a mapping of what is in place already.
func (r *reborn) takeCommon(s *stagedVMA, drop []span) error {
	t := r.leader()
	for _, d := range drop {
		if _, err := t.call(sysMadvise, d.start, d.end-d.start, unix.MADV_DONTNEED); err != nil {
			return err
		}
	}
	if _, err := t.call(sysMprotect, s.at, s.End-s.Start, uint64(r.firstProt(s))); err != nil {
		return err
	}
	s.mapped = true
	return r.advise(s)
}

// copyCommon copies the pages that a process has in other mappings.
func (rs *restarter) copyCommon(r *reborn, copies []commonCopy) error {
	buf := make([]byte, smallChunk)
	for _, c := range copies {
		for c.start < c.end {
			p := c.from.place(c.start)
			n := c.end - c.start
			for _, most := range []uint64{p.end - c.start, uint64(len(buf))} {
				if n > most {
					n = most
				}
			}
			at, n, err := r.staged(c.start, n)
			if err != nil {
				return err
			}
			if err := r.mem.read(p.at+c.start-p.start, buf[:n]); err != nil {
				return err
			}
			if err := rs.fillAt(r, at, buf[:n]); err != nil {
				return err
			}
			c.start += n
		}
	}
	return nil
}
