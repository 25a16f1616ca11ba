package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"cr/image"
)

// stagedVMA is a mapping of the image in a process that is being made: at its
// final address if that was free, at another one otherwise.
type stagedVMA struct {
	image.VMA
	at     uint64
	mapped bool
}

// staged finds where the memory of an address is staged, and how many of n
// bytes lie there one behind the other.
func (r *reborn) staged(addr, n uint64) (at, size uint64, err error) {
	i := sort.Search(len(r.vmas), func(i int) bool { return r.vmas[i].End > addr })
	if i == len(r.vmas) || r.vmas[i].Start > addr {
		return 0, 0, fmt.Errorf("%w: pages at %#x, where no mapping is", image.ErrInvalid, addr)
	}
	v := &r.vmas[i]
	if left := v.End - addr; n > left {
		n = left
	}
	return v.at + addr - v.Start, n, nil
}

// stageMemory maps the memory of a process of the image: at its place where
// that is free, elsewhere where something of the process is still in the way.
func (rs *restarter) stageMemory(r *reborn) error {
	taken := spans{}
	for _, a := range r.old {
		taken = taken.add(span{a.start, a.end})
	}
	taken = taken.add(span{r.scratch, r.scratch + r.room})
	if err := r.planVDSO(); err != nil {
		return err
	}
	common := rs.planCommon(r)
	if err := rs.clearCommon(r, common); err != nil {
		return err
	}
	open := make(map[uint32]int)
	for i := range r.mm.VMAs {
		v := r.mm.VMAs[i]
		if v.Kind == image.VVAR || v.Kind == image.VDSO {
			continue
		}
		s := stagedVMA{VMA: v, at: v.Start}
		at, inherited := common.at[v.Start]
		if inherited {
			s.at = at
		} else if taken.overlaps(span{v.Start, v.End}) || rs.inTheWay(common, &v) {
			var err error
			if s.at, err = r.space.takeAligned(v.End-v.Start, v.HugePage()); err != nil {
				return err
			}
		}
		r.vmas = append(r.vmas, s)
		last := &r.vmas[len(r.vmas)-1]
		var err error
		if inherited {
			err = r.takeCommon(last, common.drop[v.Start])
		} else {
			err = rs.mapVMA(r, last, open)
		}
		if err == nil {
			err = r.mayMove(last)
		}
		if err != nil {
			return fmt.Errorf("mapping %x-%x %s: %w", v.Start, v.End, v.Name, err)
		}
	}
	t := r.leader()
	for _, fd := range open {
		if _, err := t.call(sysClose, uint64(fd)); err != nil {
			return err
		}
	}
	if len(common.copies) > 0 {
		if err := rs.copyCommon(r, common.copies); err != nil {
			return err
		}
	}
	return r.stageVDSO()
}

// advices pairs flags of mappings with the madvise(2) that sets them.
var advices = []struct {
	flag   uint32
	advice uint64
}{
	{image.VMASequential, unix.MADV_SEQUENTIAL},
	{image.VMARandom, unix.MADV_RANDOM},
	{image.VMADontFork, unix.MADV_DONTFORK},
	{image.VMADontDump, unix.MADV_DONTDUMP},
	{image.VMAHugePage, unix.MADV_HUGEPAGE},
	{image.VMANoHugePage, unix.MADV_NOHUGEPAGE},
	{image.VMAMergeable, unix.MADV_MERGEABLE},
	{image.VMAWipeOnFork, unix.MADV_WIPEONFORK},
}

// mapVMA makes one mapping. Files that it opens for it stay open in open.
func (rs *restarter) mapVMA(r *reborn, s *stagedVMA, open map[uint32]int) error {
	t := r.leader()
	length := s.End - s.Start
	flags := uint32(unix.MAP_PRIVATE | mapFixedNoReplace)
	if s.Flags&image.VMAMayShare != 0 {
		flags = unix.MAP_SHARED | mapFixedNoReplace
	}
	if s.Flags&image.VMAGrowsDown != 0 {
		flags |= unix.MAP_GROWSDOWN
	}
	if s.Flags&image.VMANoReserve != 0 {
		flags |= unix.MAP_NORESERVE
	}
	fd := -1
	switch s.Kind {
	case image.Anon:
		flags |= unix.MAP_ANONYMOUS
		if size := s.HugePage(); size != 0 {
			flags |= unix.MAP_HUGETLB | hugeFlags(size)
		}
	case image.FileVMA:
		var err error
		if fd, err = rs.openMapped(r, s, open); err != nil {
			return err
		}
	case image.ShmVMA:
		return rs.mapShm(r, s)
	default:
		return fmt.Errorf("%w: kind %d of mapping", image.ErrInvalid, s.Kind)
	}
	at, err := t.mmap(s.at, length, r.firstProt(s), flags, fd, s.Offset)
	if err != nil && s.HugePage() != 0 {
		err = noHuge(err, s.HugePage())
	}
	if err != nil {
		return err
	}
	s.mapped = true
	if at != s.at {
		return fmt.Errorf("the kernel mapped it at %#x instead: %w", at, unix.ENOMEM)
	}
	return r.advise(s)
}

// advise gives a mapping that has been made the flags, the name and the
// protection key that it had; the key last, for memory whose key denies access
// cannot be locked.
func (r *reborn) advise(s *stagedVMA) error {
	t := r.leader()
	length := s.End - s.Start
	for _, a := range advices {
		if s.Flags&a.flag == 0 {
			continue
		}
		_, err := t.call(sysMadvise, s.at, length, a.advice)
		if errors.Is(err, unix.EINVAL) && s.Flags&a.flag&aboutSpeed != 0 {
			continue // the kernel knows no huge pages, or merges none
		}
		if err != nil {
			return err
		}
	}
	if s.Flags&image.VMALocked != 0 {
		lock := uint64(0)
		if s.Flags&image.VMALockOnFault != 0 {
			lock = 1 // MLOCK_ONFAULT
		}
		if _, err := t.call(sysMlock2, s.at, length, lock); err != nil {
			return err
		}
	}
	if err := r.nameArea(s); err != nil {
		return err
	}
	if err := r.setAreaPolicy(s); err != nil {
		return err
	}
	return r.setKey(s)
}

// aboutSpeed are flags that a kernel may not know, and a program not notice.
const aboutSpeed = image.VMAHugePage | image.VMANoHugePage | image.VMAMergeable

// nameArea gives anonymous memory the name that it had (PR_SET_VMA_ANON_NAME),
// on kernels that know such names.
func (r *reborn) nameArea(s *stagedVMA) error {
	name := strings.TrimSuffix(s.Name, "]")
	for _, prefix := range []string{"[anon:", "[anon_shmem:"} {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		_, err := r.do(sysPrctl, unix.PR_SET_VMA, unix.PR_SET_VMA_ANON_NAME, s.at, s.End-s.Start, append([]byte(name[len(prefix):]), 0))
		if !errors.Is(err, unix.EINVAL) {
			return err
		}
	}
	return nil
}

// openMapped opens, in the task, the file of a mapping.
func (rs *restarter) openMapped(r *reborn, s *stagedVMA, open map[uint32]int) (int, error) {
	writable := s.Flags&image.VMAMayShare != 0
	if fd, ok := open[s.File]; ok && !writable {
		return fd, nil
	}
	f := rs.img.File(s.File)
	mode := uint32(unix.O_RDONLY)
	if writable {
		mode = unix.O_RDWR
	}
	fd, err := r.openPath(f.Path, mode|unix.O_CLOEXEC)
	if writable && s.Prot&unix.PROT_WRITE == 0 && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EROFS) || errors.Is(err, unix.ETXTBSY)) {
		fd, err = r.openPath(f.Path, unix.O_RDONLY|unix.O_CLOEXEC)
	}
	if err != nil {
		return 0, err
	}
	if old, ok := open[s.File]; ok {
		if _, err := r.leader().call(sysClose, uint64(old)); err != nil {
			return 0, err
		}
	}
	open[s.File] = fd
	return fd, rs.checkIdentity(r, fd, f, true)
}

// stageShms maps all shared memory of the tree in the root process, whose
// children inherit it.
func (rs *restarter) stageShms() error {
	for _, shm := range rs.img.Shms {
		if hasFile(shm) {
			continue
		}
		at, err := rs.root.space.take(shm.Size)
		if err != nil {
			return err
		}
		if shm.Segment.Is {
			if err := rs.stageSegment(shm, at); err != nil {
				return err
			}
			rs.shms[shm.ID] = at
			continue
		}
		if _, err := rs.root.leader().mmap(at, shm.Size, unix.PROT_READ|unix.PROT_WRITE,
			unix.MAP_SHARED|unix.MAP_ANONYMOUS|mapFixedNoReplace, -1, 0); err != nil {
			return err
		}
		rs.shms[shm.ID] = at
	}
	return nil
}

// mapShm makes a mapping of shared anonymous memory: an alias of the mapping of
// the whole object, which mremap(2) makes of an old size of 0.
func (rs *restarter) mapShm(r *reborn, s *stagedVMA) error {
	t := r.leader()
	if m := rs.shmFiles[s.File]; m != nil {
		return rs.mapShmFile(r, s, m)
	}
	length := s.End - s.Start
	if _, err := t.call(sysMremap, rs.shms[s.File]+s.Offset, 0, length, unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, s.at); err != nil {
		return err
	}
	s.mapped = true
	if _, err := t.call(sysMprotect, s.at, length, uint64(r.firstProt(s))); err != nil {
		return err
	}
	return r.advise(s)
}

// vdsoPlan says what becomes of the vdso. The kernel's own must stay mapped
// somewhere, for signals return through it. If it is the one of the image, it
// goes where that was. Otherwise the image's stays as plain memory, with its
// functions leading to those of this kernel's.
type vdsoPlan struct {
	parts []vdsoPart // the kernel's vdso and its data, lowest first
	same  bool
}

// vdsoPart is a mapping of the kernel's vdso or its data, and where it goes; it
// stays if to is at.
type vdsoPart struct {
	at, size, to uint64
	via          uint64 // a free place to put it in between; 0 if it need not move
}

// planVDSO decides where the kernel's own vdso goes.
func (r *reborn) planVDSO() error {
	var vdso *area
	var parts []area
	for i := range r.old {
		a := &r.old[i]
		if a.name == "[vdso]" {
			vdso = a
		}
		if a.name == "[vdso]" || strings.HasPrefix(a.name, "[vvar") {
			parts = append(parts, *a)
		}
	}
	var theirs []image.VMA
	at := uint64(0)
	for _, v := range r.mm.VMAs {
		if v.Kind == image.VDSO || v.Kind == image.VVAR {
			theirs = append(theirs, v)
		}
		if v.Kind == image.VDSO {
			at = v.Start
		}
	}
	if vdso != nil && at != 0 && len(r.mm.VDSO) == int(vdso.end-vdso.start) && len(parts) == len(theirs) {
		now, err := r.mem.readVDSO(vdso)
		if err != nil {
			return err
		}
		r.vdso.same = bytes.Equal(now.content, r.mm.VDSO)
		for i, p := range parts {
			if p.start-vdso.start != theirs[i].Start-at || p.end-p.start != theirs[i].End-theirs[i].Start {
				r.vdso.same = false
			}
		}
	}
	final := spans{}
	for _, v := range r.mm.VMAs {
		final = final.add(span{v.Start, v.End})
	}
	if len(parts) == 0 {
		return nil
	}
	whole := span{parts[0].start, parts[len(parts)-1].end}
	shift := uint64(0)
	if r.vdso.same {
		shift = at - vdso.start
	} else if low := r.lowVDSO(whole); low != 0 {
		shift = low - whole.start
	} else if final.overlaps(whole) {
		free, err := r.space.take(whole.end - whole.start)
		if err != nil {
			return err
		}
		shift = free - whole.start
	}
	for _, p := range parts {
		part := vdsoPart{at: p.start, size: p.end - p.start, to: p.start + shift}
		if shift != 0 {
			via, err := r.space.take(part.size)
			if err != nil {
				return err
			}
			part.via = via
		}
		r.vdso.parts = append(r.vdso.parts, part)
	}
	return nil
}

// stageVDSO maps a vdso of another kernel as plain memory. On x86 it is given
// zeros for its data, which say that there is no clock to read: a function that
// a signal has interrupted then makes the system call instead.
func (r *reborn) stageVDSO() error {
	if r.vdso.same || len(r.mm.VDSO) == 0 {
		return nil
	}
	for _, v := range r.mm.VMAs {
		var contents []byte
		var err error
		switch {
		case v.Kind == image.VDSO:
			if contents, err = r.foreignVDSO(v.Start); err != nil {
				return err
			}
		case v.Kind != image.VVAR || r.leader().abi.IsPPC():
			continue
		}
		if err := r.stagePlain(v, contents); err != nil {
			return err
		}
	}
	return nil
}

// stagePlain maps private memory in the place of a mapping of the image.
func (r *reborn) stagePlain(v image.VMA, contents []byte) (err error) {
	s := stagedVMA{VMA: v, at: v.Start}
	s.Kind, s.Flags, s.Offset = image.Anon, 0, 0
	taken := spans{span{r.scratch, r.scratch + r.room}}
	for _, a := range r.old {
		taken = taken.add(span{a.start, a.end})
	}
	if taken.overlaps(span{v.Start, v.End}) {
		if s.at, err = r.space.take(v.End - v.Start); err != nil {
			return err
		}
	}
	if _, err := r.leader().mmap(s.at, v.End-v.Start, v.Prot, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|mapFixedNoReplace, -1, 0); err != nil {
		return err
	}
	s.mapped = true
	i := sort.Search(len(r.vmas), func(i int) bool { return r.vmas[i].Start > v.Start })
	r.vmas = append(r.vmas, stagedVMA{})
	copy(r.vmas[i+1:], r.vmas[i:])
	r.vmas[i] = s
	if len(contents) == 0 {
		return nil
	}
	return r.mem.write(s.at, contents)
}

// commitMemory puts the staged memory in place of the old: from here on there
// is no way back. It makes no call that needs memory or permission.
func (rs *restarter) commitMemory(r *reborn) error {
	t := r.leader()
	move := func(from, size, to uint64) error {
		if from == to {
			return nil
		}
		_, err := t.call(sysMremap, from, size, size, unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, to)
		return err
	}
	keep := spans{}.add(span{r.scratch, r.scratch + r.room})
	for _, v := range r.vmas {
		keep = keep.add(span{v.at, v.at + v.End - v.Start})
	}
	for _, p := range r.vdso.parts {
		keep = keep.add(span{p.at, p.at + p.size})
	}
	old := spans{}
	for _, a := range r.old {
		old = old.add(span{a.start, a.end})
	}
	for id, at := range rs.shms {
		old = old.add(span{at, at + rs.img.Shm(id).Size})
	}
	for _, s := range rs.commonAt {
		old = old.add(s)
	}
	for _, o := range rs.list {
		if o.rec.MM != r.rec.MM {
			continue
		}
		for _, t := range o.tasks {
			if err := t.forgetRseq(); err != nil {
				return err
			}
		}
	}
	for _, s := range old.without(keep) {
		if _, err := t.call(sysMunmap, s.start, s.end-s.start); err != nil {
			return err
		}
	}
	for _, p := range r.vdso.parts {
		if p.via != 0 {
			if err := move(p.at, p.size, p.via); err != nil {
				return err
			}
		}
	}
	for _, v := range r.vmas {
		if err := move(v.at, v.End-v.Start, v.Start); err != nil {
			return err
		}
	}
	for _, p := range r.vdso.parts {
		if p.via != 0 {
			if err := move(p.via, p.size, p.to); err != nil {
				return err
			}
		}
	}
	return nil
}
