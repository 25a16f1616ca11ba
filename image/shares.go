package image

import (
	"errors"
	"io"
	"sort"
)

// Shares says which pages of an MM are as another MM has them, at the same
// addresses: a fork(2) made both of one, and neither has written to them. They
// are in the stream once, as those of the other.
type Shares struct {
	MM   uint32
	List []Share // ascending
}

// Share is a range of addresses, page aligned: From is the MM that has the
// pages, Len is in bytes.
type Share struct {
	From      uint32
	Addr, Len uint64
}

func (*Shares) tag() Tag { return TagShares }

func (s *Shares) fields(c *coder) {
	c.u32(&s.MM)
	n := c.count(len(s.List), 20)
	if !c.writing && n > 0 {
		s.List = make([]Share, n)
	}
	for i := range s.List {
		c.u32(&s.List[i].From)
		c.u64(&s.List[i].Addr)
		c.u64(&s.List[i].Len)
	}
}

// hasAny reports whether a list of shares has a part of a range.
func hasAny(list []Share, addr, n uint64) bool {
	i := sort.Search(len(list), func(i int) bool { return list[i].Addr+list[i].Len > addr })
	return i < len(list) && list[i].Addr < addr+n
}

// overlapping calls f for the parts of a range that a list of shares has.
func overlapping(list []Share, addr, n uint64, f func(from uint32, r Run)) {
	i := sort.Search(len(list), func(i int) bool { return list[i].Addr+list[i].Len > addr })
	for ; i < len(list) && list[i].Addr < addr+n; i++ {
		start, end := list[i].Addr, list[i].Addr+list[i].Len
		if start < addr {
			start = addr
		}
		if end > addr+n {
			end = addr + n
		}
		f(list[i].From, Run{start, end - start})
	}
}

// sharing is what Shares says of those whose pages others have too.
type sharing struct {
	sources map[uint32][]Run     // by MM, ascending, not touching each other
	sharers map[uint32][]*Shares // by MM: those that have pages of it
}

func (m *Image) shared() *sharing {
	if m.sharing != nil {
		return m.sharing
	}
	s := &sharing{make(map[uint32][]Run), make(map[uint32][]*Shares)}
	for _, rec := range m.Shares {
		for _, share := range rec.List {
			s.sources[share.From] = append(s.sources[share.From], Run{share.Addr, share.Len})
			if list := s.sharers[share.From]; len(list) == 0 || list[len(list)-1] != rec {
				s.sharers[share.From] = append(list, rec)
			}
		}
	}
	for id, list := range s.sources {
		sort.Slice(list, func(i, j int) bool { return list[i].Addr < list[j].Addr })
		n := 0
		for _, r := range list[1:] {
			last := &list[n]
			if end := last.Addr + last.Len; r.Addr > end {
				n++
				list[n] = r
			} else if r.Addr+r.Len > end {
				last.Len = r.Addr + r.Len - last.Addr
			}
		}
		s.sources[id] = list[: n+1 : n+1]
	}
	m.sharing = s
	return s
}

// SharesOf returns what an MM has of others.
func (m *Image) SharesOf(mm uint32) []Share {
	if i := m.find(TagShares, mm); i >= 0 {
		return m.Shares[i].List
	}
	return nil
}

// Sources returns where others have the pages of an MM, ascending.
func (m *Image) Sources(mm uint32) []Run { return m.shared().sources[mm] }

// sharedRun reports whether a run begins with a page that others have too.
func (m *Image) sharedRun(mm uint32, r Run) bool {
	list := m.Sources(mm)
	i := sort.Search(len(list), func(i int) bool { return list[i].Addr+list[i].Len > r.Addr })
	return i < len(list) && list[i].Addr <= r.Addr
}

// mayHave reports whether others have all pages of a run of an MM, or none if
// shared is not set, and whether they are the MM's own.
func (m *Image) mayHave(mm uint32, r Run, shared bool) bool {
	list := m.Sources(mm)
	i := sort.Search(len(list), func(i int) bool { return list[i].Addr+list[i].Len > r.Addr })
	if shared && (i == len(list) || list[i].Addr > r.Addr || list[i].Addr+list[i].Len < r.Addr+r.Len) ||
		!shared && i < len(list) && list[i].Addr < r.Addr+r.Len {
		return false
	}
	return !hasAny(m.SharesOf(mm), r.Addr, r.Len)
}

// Each reads all memory: it calls f for each piece, and again for what of it
// belongs to each other MM as well. It returns nil when the image is whole.
func (r *Reader) Each(f func(*Pages) error) error {
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = f(p)
		}
		if err == nil && !p.Shm {
			err = r.image.eachSharer(p, f)
		}
		if err != nil {
			return err
		}
	}
}

// eachSharer calls f for what of a piece of memory belongs to others.
func (m *Image) eachSharer(p *Pages, f func(*Pages) error) error {
	for _, s := range m.shared().sharers[p.Owner] {
		var err error
		piece := &Pages{Owner: s.MM, From: p.Owner}
		give := func() {
			if err == nil && len(piece.Runs) > 0 {
				err = f(piece)
			}
			piece = &Pages{Owner: s.MM, From: p.Owner}
		}
		at, start, end := uint64(0), uint64(0), uint64(0) // in the data: of the run, and of the piece
		for _, run := range p.Runs {
			overlapping(s.List, run.Addr, run.Len, func(from uint32, part Run) {
				if from != p.Owner {
					return
				}
				if begins := at + part.Addr - run.Addr; begins != end || len(piece.Runs) == 0 {
					give()
					start, end = begins, begins
				}
				end += part.Len
				piece.Runs, piece.Data = append(piece.Runs, part), p.Data[start:end]
			})
			at += run.Len
		}
		if give(); err != nil {
			return err
		}
	}
	return nil
}

// shares checks which pages belong to several MMs.
func (v *validator) shares() error {
	mask := uint64(v.m.Header.PageSize) - 1
	for _, s := range v.m.Shares {
		mm := v.m.MM(s.MM)
		if mm == nil {
			return invalid(TagShares, s.MM, "mm %d is missing", s.MM)
		}
		last := uint64(0)
		for _, share := range s.List {
			bad := func(reason string) error {
				return invalid(TagShares, s.MM, "%d bytes at %#x of mm %d: %s", share.Len, share.Addr, share.From, reason)
			}
			from := v.m.MM(share.From)
			end := share.Addr + share.Len
			switch {
			case from == nil:
				return bad("it is missing")
			case from == mm:
				return bad("they are its own")
			case share.Len == 0 || (share.Addr|share.Len)&mask != 0 || end < share.Addr:
				return bad("not whole pages")
			case share.Addr < last:
				return bad("they are there twice, or out of order")
			case !savedRange(mm.VMAs, share.Addr, end) || !savedRange(from.VMAs, share.Addr, end):
				return bad("no private memory is mapped there")
			}
			last = end
		}
	}
	// Who has pages has them itself, so that nothing goes round in circles.
	for _, s := range v.m.Shares {
		for _, share := range s.List {
			if hasAny(v.m.SharesOf(share.From), share.Addr, share.Len) {
				return invalid(TagShares, s.MM, "%d bytes at %#x of mm %d: those are another's themselves", share.Len, share.Addr, share.From)
			}
		}
	}
	return nil
}
