package kernel

import (
	"fmt"
	"sort"

	"golang.org/x/sys/unix"
)

// span is a range of addresses.
type span struct{ start, end uint64 }

func (s span) overlaps(o span) bool { return s.start < o.end && o.start < s.end }

// spans is a set of ranges of addresses, ascending, that do not touch each
// other.
type spans []span

// add returns the set with a range added.
func (s spans) add(n span) spans {
	if n.start >= n.end {
		return s
	}
	i := sort.Search(len(s), func(i int) bool { return s[i].end >= n.start })
	j := i
	for j < len(s) && s[j].start <= n.end {
		if s[j].start < n.start {
			n.start = s[j].start
		}
		if s[j].end > n.end {
			n.end = s[j].end
		}
		j++
	}
	out := append(spans(nil), s[:i]...)
	out = append(out, n)
	return append(out, s[j:]...)
}

// overlaps reports whether a range has an address in common with the set.
func (s spans) overlaps(n span) bool {
	i := sort.Search(len(s), func(i int) bool { return s[i].end > n.start })
	return i < len(s) && s[i].overlaps(n)
}

// without returns the ranges that lead from the first to the last address of
// the set in each gap between ranges of keep: what munmap(2) must be told to
// leave of the set only what is in keep.
func (s spans) without(keep spans) []span {
	var out []span
	gap := func(start, end uint64) {
		first, last := uint64(0), uint64(0)
		for i := sort.Search(len(s), func(i int) bool { return s[i].end > start }); i < len(s) && s[i].start < end; i++ {
			from, to := s[i].start, s[i].end
			if from < start {
				from = start
			}
			if to > end {
				to = end
			}
			if last == 0 {
				first = from
			}
			last = to
		}
		if last != 0 {
			out = append(out, span{first, last})
		}
	}
	at := uint64(0)
	for _, k := range keep {
		gap(at, k.start)
		at = k.end
	}
	gap(at, ^uint64(0))
	return out
}

// space finds free addresses in a process for what a restart needs besides the
// final mappings. They lie between mappings that exist: below the highest one,
// so that it need not be known where the address space ends.
type space struct{ busy spans }

// guard is what is left free between two ranges, in bytes, so that the kernel
// does not merge them, and a stack does not come too near.
const guard = 2 << 20

// take finds a free range of a size, in bytes, and marks it as taken. It fails
// with ENOMEM.
func (s *space) take(size uint64) (uint64, error) {
	gap := uint64(guard)
	for ; ; gap = 1 << 12 {
		// From above, as mmap does: 32-bit programs have their gap there.
		for i := len(s.busy) - 1; i >= 1; i-- {
			low, high := s.busy[i-1].end, s.busy[i].start
			if high-low >= size+2*gap {
				at := high - gap - size
				s.busy = s.busy.add(span{at, at + size})
				return at, nil
			}
		}
		if gap != guard {
			return 0, fmt.Errorf("no room for %d bytes in the address space: %w", size, unix.ENOMEM)
		}
	}
}

// takeBelow is take below an address, and clear of what is better left free.
func (s *space) takeBelow(limit, size uint64, leave spans) (uint64, error) {
	low := space{s.busy}
	if n := len(s.busy); n > 0 && s.busy[n-1].end > limit {
		low.busy = s.busy.add(span{limit, ^uint64(0)})
	}
	for _, l := range leave {
		low.busy = low.busy.add(l)
	}
	at, err := low.take(size)
	if err != nil {
		return 0, err
	}
	s.busy = s.busy.add(span{at, at + size})
	return at, nil
}
