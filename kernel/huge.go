package kernel

import (
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/sys/unix"

	"cr/image"
)

// Huge pages that a program asks for (MAP_HUGETLB, MFD_HUGETLB; Documentation/
// admin-guide/mm/hugetlbpage.rst) are those that somebody has set aside. They
// have to be there again: a restart does not do without.

// anonHuge is the name that maps gives to anonymous memory of huge pages, shared
// or private.
const anonHuge = "/anon_hugepage (deleted)"

// isHuge reports whether a mapping is of huge pages of its own kind.
func (a *area) isHuge() bool { return a.has("ht") }

// hugeVMA describes a mapping of huge pages; false if it cannot be saved.
func (s *saver) hugeVMA(p *process, a *area, v *image.VMA, object string) bool {
	switch {
	case a.name == anonHuge && !a.shared:
		v.Kind, v.Offset = image.Anon, 0
	case a.name == anonHuge || a.shared && isMemFDName(a.name):
		v.Kind = image.ShmVMA
	default:
		s.refuse(p, "mapping", object, "it is of huge pages that have a name, or is a private copy of a memfd (hugetlbfs, SHM_HUGETLB)",
			"run the program with MAP_ANONYMOUS and MAP_HUGETLB")
		return false
	}
	if a.pageSize&(a.pageSize-1) != 0 || a.pageSize == 0 {
		s.refuse(p, "mapping", object, fmt.Sprintf("it is of huge pages of %d bytes", a.pageSize), "run the program without MAP_HUGETLB")
		return false
	}
	v.Flags |= image.HugePages(a.pageSize)
	return true
}

// hugeFlags are the flags of mmap(2) and memfd_create(2) for a size of pages:
// MAP_HUGETLB or MFD_HUGETLB is to be added.
func hugeFlags(size uint64) uint32 { return uint32(bits.TrailingZeros64(size)) << 26 }

// noHuge adds to the error for huge pages that are not to be had what to do.
func noHuge(err error, size uint64) error {
	switch {
	case errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("%w: not enough free huge pages of %d KiB (sysctl vm.nr_hugepages=N sets some aside)", err, size>>10)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w: this machine has no huge pages of %d KiB", err, size>>10)
	}
	return err
}

// takeAligned finds a free range as take does, at a multiple of a power of two.
func (s *space) takeAligned(size, align uint64) (uint64, error) {
	if align == 0 {
		return s.take(size)
	}
	at, err := s.take(size + align)
	return (at + align - 1) &^ (align - 1), err
}

// mayMove makes sure that a mapping of huge pages that is staged elsewhere can be
// moved to its place, which takes Linux 5.16: it is moved once more.
func (r *reborn) mayMove(s *stagedVMA) error {
	if s.HugePage() == 0 || s.at == s.Start {
		return nil
	}
	length := s.End - s.Start
	to, err := r.space.takeAligned(length, s.HugePage())
	if err != nil {
		return err
	}
	_, err = r.leader().call(sysMremap, s.at, length, length, unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, to)
	if errors.Is(err, unix.EINVAL) {
		return &RefusedError{PID: int(r.rec.PID), Kind: "mapping", Object: fmt.Sprintf("%x-%x", s.Start, s.End),
			Reason: "it is of huge pages, something is in its place, and this kernel does not move them",
			Hint:   "restart it on Linux 5.16 or later", Errno: unix.EOPNOTSUPP}
	}
	if err == nil {
		s.at = to
	}
	return err
}

// stageHugeShm maps a memfd of huge pages whole in the root process: they cannot
// be written to in another way.
func (rs *restarter) stageHugeShm(m *stagedShm) error {
	if m.rec.HugePage == 0 || m.rec.Size == 0 {
		return nil
	}
	at, err := rs.root.space.takeAligned(m.rec.Size, m.rec.HugePage)
	if err != nil {
		return err
	}
	if _, err := rs.root.leader().mmap(at, m.rec.Size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|mapFixedNoReplace, m.fd, 0); err != nil {
		return noHuge(err, m.rec.HugePage)
	}
	rs.shms[m.rec.ID] = at
	return nil
}
