package image

import (
	"fmt"
	"sort"

	"cr/regset"
)

// vsyscall is where x86_64 has its [vsyscall] page, above all user addresses.
const vsyscall = 0xffffffffff600000

// addressLimit is the end of the user addresses that tasks of an ABI and a word
// size can have, on any kernel.
func addressLimit(a regset.ABI, word int) uint64 {
	switch {
	case word == 4:
		return 1 << 32
	case a.IsPPC():
		return 1 << 52 // TASK_SIZE_4PB
	}
	return 1 << 56 // TASK_SIZE_MAX with five-level page tables
}

func (v *validator) mms() error {
	for _, m := range v.m.MMs {
		if err := v.mm(m); err != nil {
			return err
		}
	}
	return nil
}

func (v *validator) mm(m *MM) error {
	word := v.word[m.ID]
	if word == 0 {
		word = v.m.Header.ABI.WordSize()
	}
	limit := addressLimit(v.m.Header.ABI, word)
	for _, a := range []struct {
		name       string
		start, end uint64
	}{
		{"code", m.StartCode, m.EndCode},
		{"data", m.StartData, m.EndData},
		{"heap", m.StartBrk, m.Brk},
		{"stack", m.StartStack, m.StartStack},
		{"arguments", m.ArgStart, m.ArgEnd},
		{"environment", m.EnvStart, m.EnvEnd},
	} {
		if a.start > a.end || a.end > limit {
			return invalid(TagMM, m.ID, "%s at %#x-%#x", a.name, a.start, a.end)
		}
	}
	if len(m.Auxv)%(2*word) != 0 {
		return invalid(TagMM, m.ID, "auxiliary vector of %d bytes", len(m.Auxv))
	}
	if m.Dumpable > 2 {
		return invalid(TagMM, m.ID, "dumpable is %d", m.Dumpable)
	}
	if m.Exe != 0 {
		if err := v.refer(TagMM, m.ID, TagFile, m.Exe); err != nil {
			return err
		}
	}
	var last uint64
	found := len(m.VDSO) == 0
	for i := range m.VMAs {
		a := &m.VMAs[i]
		if reason := v.vma(a, last, limit); reason != "" {
			return invalid(TagMM, m.ID, "mapping %#x-%#x: %s", a.Start, a.End, reason)
		}
		last = a.End
		found = found || a.Kind == VDSO && a.End-a.Start == uint64(len(m.VDSO))
	}
	for i := range m.Policies {
		p := &m.Policies[i]
		if i > 0 && p.Start <= m.Policies[i-1].Start || !m.mapped(p.Start) {
			return invalid(TagMM, m.ID, "a memory policy of what is mapped at %#x", p.Start)
		}
		if n := len(p.Policy.Nodes); n > maxPolicy {
			return invalid(TagMM, m.ID, "a mask of nodes of %d bytes", n)
		}
	}
	if !found {
		return invalid(TagMM, m.ID, "no vdso of %d bytes is mapped", len(m.VDSO))
	}
	return nil
}

// mapped reports whether a mapping begins at an address.
func (m *MM) mapped(start uint64) bool {
	i := sort.Search(len(m.VMAs), func(i int) bool { return m.VMAs[i].Start >= start })
	return i < len(m.VMAs) && m.VMAs[i].Start == start
}

// vma says what is wrong with a mapping, "" if nothing is. last is the end of
// the mapping before it.
func (v *validator) vma(a *VMA, last, limit uint64) string {
	mask := uint64(v.m.Header.PageSize) - 1
	if a.Kind == Vsyscall {
		if a.Start != vsyscall || a.End != vsyscall+4096 || v.m.Header.ABI != regset.X86_64 {
			return "a vsyscall page out of place"
		}
		limit = a.End
	}
	switch {
	case a.Start >= a.End:
		return "it ends before it starts"
	case (a.Start|a.End)&mask != 0:
		return "not page aligned"
	case a.Start < last:
		return "it overlaps the one before, or is out of order"
	case a.End > limit:
		return "beyond the last user address"
	case a.Prot&^7 != 0:
		return fmt.Sprintf("protection %#x", a.Prot)
	case a.Flags&(1<<hugeShift-1) >= vmaUnknown || a.Flags&VMAHugeTLB == 0 && a.Flags>>hugeShift != 0:
		return fmt.Sprintf("flags %#x", a.Flags)
	case a.Pkey > 31:
		return fmt.Sprintf("protection key %d", a.Pkey)
	case hasNUL(a.Name):
		return "its name holds a NUL"
	}
	if size := a.HugePage(); size != 0 {
		switch {
		case size <= mask+1 || size > 1<<34:
			return fmt.Sprintf("huge pages of %d bytes", size)
		case (a.Start|a.End|a.Offset)&(size-1) != 0:
			return "not aligned to its huge pages"
		case a.Kind != Anon && (a.Kind != ShmVMA || v.m.Shm(a.File) == nil || v.m.Shm(a.File).HugePage != size):
			return "huge pages of another kind, or of another size than the memory has"
		}
	}
	shared := a.Flags&VMAMayShare != 0
	switch a.Kind {
	case Anon, VDSO, VVAR, Vsyscall:
		if a.File != 0 {
			return fmt.Sprintf("it has no file, but refers to %d", a.File)
		}
		if shared && a.Kind == Anon {
			return "private memory is shared"
		}
		return ""
	case FileVMA:
		if v.m.find(TagFile, a.File) < 0 {
			return fmt.Sprintf("file %d is missing", a.File)
		}
	case ShmVMA:
		if v.m.find(TagShm, a.File) < 0 {
			return fmt.Sprintf("shm %d is missing", a.File)
		}
		if !shared {
			return "shared memory is private"
		}
	default:
		return fmt.Sprintf("kind %d", a.Kind)
	}
	if a.Offset&mask != 0 || a.Offset+(a.End-a.Start) < a.Offset {
		return fmt.Sprintf("offset %#x", a.Offset)
	}
	return ""
}

// saved reports whether the pages of a mapping belong into the image with its
// MM: those that no file, no shm record and not the MM itself has.
func (a *VMA) saved() bool {
	switch a.Kind {
	case Anon:
		return true
	case FileVMA:
		return a.Flags&VMAMayShare == 0
	}
	return false
}

// runsChecker checks the runs of a whole image.
type runsChecker struct {
	m     *Image
	ends  map[owner]uint64 // of the last run
	bytes uint64

	shared map[uint32]uint64 // of the last run of an MM that others share
	own    bool              // there was a run that nobody shares
}

// owner is an MM, or a Shm.
type owner struct {
	id  uint32
	shm bool
}

// check refuses runs that are not page aligned, that do not ascend from one
// record of an owner to the next, or that lie outside of what is saved.
func (c *runsChecker) check(r *runs) error {
	var limit uint64 // of a Shm
	var vmas []VMA
	name := TagMM
	if r.Shm {
		name = TagShm
		s := c.m.Shm(r.Owner)
		if s == nil {
			return fmt.Errorf("%w: shm %d is missing", ErrInvalid, r.Owner)
		}
		limit = (s.Size + uint64(c.m.Header.PageSize) - 1) &^ (uint64(c.m.Header.PageSize) - 1)
	} else {
		m := c.m.MM(r.Owner)
		if m == nil {
			return fmt.Errorf("%w: mm %d is missing", ErrInvalid, r.Owner)
		}
		vmas = m.VMAs
	}
	if len(r.List) == 0 {
		return invalid(name, r.Owner, "a record of no runs")
	}
	shared := !r.Shm && c.m.sharedRun(r.Owner, r.List[0])
	last := c.ends[owner{r.Owner, r.Shm}]
	if shared {
		last = c.shared[r.Owner]
		if c.own {
			return invalid(name, r.Owner, "pages that are shared, behind others")
		}
	}
	var sum uint64
	for _, run := range r.List {
		bad := func(reason string) error {
			return invalid(name, r.Owner, "run of %d bytes at %#x: %s", run.Len, run.Addr, reason)
		}
		end := run.Addr + run.Len
		sum += run.Len
		switch {
		case run.Len == 0 || run.Len > MaxPages || sum > MaxPages:
			return bad("too short or too long")
		case (run.Addr|run.Len)&(uint64(c.m.Header.PageSize)-1) != 0:
			return bad("not page aligned")
		case end < run.Addr:
			return bad("beyond the last address")
		case run.Addr < last:
			return bad("it is there twice, or out of order")
		case r.Shm && end > limit:
			return bad("beyond the end")
		case !r.Shm && !savedRange(vmas, run.Addr, end):
			return bad("no private memory is mapped there")
		case !r.Shm && !c.m.mayHave(r.Owner, run, shared):
			return bad("it is shared in part, or another's")
		}
		last = end
	}
	if c.bytes += sum; c.bytes > c.m.Bytes {
		return fmt.Errorf("%w: more than the %d bytes of pages that the memory record tells", ErrInvalid, c.m.Bytes)
	}
	if shared {
		c.shared[r.Owner] = last
		return nil
	}
	c.own = true
	c.ends[owner{r.Owner, r.Shm}] = last
	return nil
}

// savedRange reports whether mappings whose pages are saved cover a range.
func savedRange(vmas []VMA, start, end uint64) bool {
	i := sort.Search(len(vmas), func(i int) bool { return vmas[i].End > start })
	for ; start < end; i++ {
		if i == len(vmas) || vmas[i].Start > start || !vmas[i].saved() {
			return false
		}
		start = vmas[i].End
	}
	return true
}
