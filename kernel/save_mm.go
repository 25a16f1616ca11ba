package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"cr/image"
)

// vmaFlags pairs VmFlags of /proc/PID/smaps with those of the image.
var vmaFlags = []struct {
	name string
	flag uint32
}{
	{"lo", image.VMALocked},
	{"gd", image.VMAGrowsDown},
	{"dc", image.VMADontFork},
	{"dd", image.VMADontDump},
	{"hg", image.VMAHugePage},
	{"nh", image.VMANoHugePage},
	{"mg", image.VMAMergeable},
	{"wf", image.VMAWipeOnFork},
	{"sr", image.VMASequential},
	{"rr", image.VMARandom},
	{"nr", image.VMANoReserve},
	{"lf", image.VMALockOnFault},
}

// refusedAreas are the VmFlags of mappings that cannot be saved.
var refusedAreas = []struct{ flag, reason, hint string }{
	{"um", "it is registered with userfaultfd", "unregister it first"},
	{"uw", "it is write-protected by userfaultfd", "unregister it first"},
	{"io", "it is memory of a device", "close the device first"},
	{"pf", "it is memory of a device", "close the device first"},
	{"ss", "it is a shadow stack", "start the program without shadow stack (GLIBC_TUNABLES)"},
	{"sl", "it is sealed (mseal)", "a sealed mapping cannot be put in place again"},
}

// mm saves the address space of a process: its mappings, and where the kernel
// has been told that things lie in it.
func (s *saver) mm(p *process, r *image.Process) error {
	if p.mmOf != nil {
		r.MM = s.img.Process(last(p.mmOf.status.nstgid)).MM
		return nil
	}
	mm := mmOf(&p.stat)
	mm.ID = s.newID()
	r.MM = mm.ID
	s.img.MMs = append(s.img.MMs, mm)
	c := p.callsOf(p.leader())
	c.add(func(brk uint64, err error) error {
		mm.Brk = brk
		return err
	}, sysBrk, 0)
	c.add(func(thp uint64, err error) error {
		mm.THPDisable = err == nil && thp != 0
		return nil
	}, sysPrctl, unix.PR_GET_THP_DISABLE, 0, 0, 0, 0)
	c.add(func(dumpable uint64, err error) error {
		mm.Dumpable = uint32(dumpable)
		return err
	}, sysPrctl, unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	err := c.run()
	if err != nil {
		return err
	}
	if mm.Auxv, err = readProc(p.pid, "auxv"); err != nil {
		return err
	}
	if mm.Exe, err = s.exe(p); err != nil {
		return err
	}
	if mm.Pkeys, err = p.allocatedKeys(p.leader(), p.areas); err != nil {
		return err
	}
	if err := s.futureLocks(p, mm); err != nil {
		return err
	}
	s.whole = make(map[uint64]bool)
	part := memoryPart{process: p, owner: mm.ID, whole: s.whole}
	for i := range p.areas {
		a := &p.areas[i]
		if a.name == "[vsyscall]" {
			continue // outside of what a process can map
		}
		v, err := s.vma(p, a)
		if err != nil {
			return err
		}
		if v == nil {
			continue
		}
		switch v.Kind {
		case image.VDSO:
			vdso := p.vdso
			if vdso == nil {
				if vdso, err = p.mem.readVDSO(a); err != nil {
					return fmt.Errorf("pid %d: %w", p.pid, err)
				}
			}
			mm.VDSO = vdso.content
		case image.Anon, image.FileVMA:
			if !a.shared {
				part.vmas = append(part.vmas, *v)
			}
		case image.ShmVMA:
			if err := s.mapAnyShared(p, a, v); err != nil {
				return err
			}
		}
		mm.VMAs = append(mm.VMAs, *v)
	}
	if err := s.areaPolicies(p, mm); err != nil {
		return err
	}
	if err := part.find(); err != nil {
		return fmt.Errorf("pid %d: %w", p.pid, err)
	}
	s.memory = append(s.memory, part)
	return nil
}

// vma describes a mapping; nil if it is refused.
func (s *saver) vma(p *process, a *area) (*image.VMA, error) {
	v := &image.VMA{Start: a.start, End: a.end, Prot: a.prot, Offset: a.offset, Pkey: a.pkey, Name: a.name}
	for _, f := range vmaFlags {
		if a.has(f.name) {
			v.Flags |= f.flag
		}
	}
	if a.shared {
		v.Flags |= image.VMAMayShare
	}
	object := fmt.Sprintf("%x-%x %s", a.start, a.end, a.name)
	if strings.HasPrefix(a.name, "[vvar") || a.name == "[vdso]" {
		v.Kind, v.Flags, v.Offset = image.VVAR, 0, 0
		if a.name == "[vdso]" {
			v.Kind = image.VDSO
		}
		return v, nil
	}
	for _, f := range refusedAreas {
		if a.has(f.flag) {
			s.refuse(p, "mapping", object, f.reason, f.hint)
			return nil, nil
		}
	}
	if a.isHuge() {
		if !s.hugeVMA(p, a, v, object) {
			return nil, nil
		}
		return v, nil
	}
	switch {
	case a.name == "[uprobes]":
		s.refuse(p, "mapping", object, "the process is probed", "remove the uprobes")
		return nil, nil
	case a.inode == 0 && !a.shared:
		v.Kind, v.Offset = image.Anon, 0
		return v, nil
	case isSegment(a):
		v.Kind = image.ShmVMA
		return v, nil
	case a.shared && s.withoutName(p, a):
		v.Kind = image.ShmVMA
		return v, nil
	}
	id, err := s.mapped(p, a)
	if err != nil {
		return nil, err
	}
	switch {
	case id != 0:
		v.Kind, v.File = image.FileVMA, id
	case a.shared:
		s.refuse(p, "mapping", object, "a shared mapping of a file that is deleted or replaced", "restore the file under its name")
		return nil, nil
	default:
		// The file is gone, but a private mapping needs only its contents.
		v.Kind, v.Offset = image.Anon, 0
		s.whole[v.Start] = true
	}
	return v, nil
}

// mapped gives the record of a mapped file, 0 if the file that its name leads
// to is another one.
func (s *saver) mapped(p *process, a *area) (uint32, error) {
	key := fileKey{dev: uint64(unix.Mkdev(a.major, a.minor)), ino: a.inode, path: a.name}
	if id, ok := s.files[key]; ok {
		return id, nil
	}
	var st unix.Stat_t
	if err := unix.Stat(a.name, &st); err != nil || st.Ino != a.inode {
		s.files[key] = 0
		return 0, nil
	}
	f, err := s.pathRecord(a.name, &st)
	if err != nil {
		return 0, err
	}
	s.files[key] = f.ID
	return f.ID, nil
}

// exe gives the record of the program file, 0 if it is gone.
func (s *saver) exe(p *process) (uint32, error) {
	path, err := os.Readlink(procPath(p.pid, "exe"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var st, there unix.Stat_t
	if err := unix.Stat(procPath(p.pid, "exe"), &st); err != nil {
		return 0, err
	}
	if err := unix.Stat(path, &there); err != nil || st.Ino != there.Ino || st.Dev != there.Dev {
		return 0, nil
	}
	key := fileKey{dev: st.Dev, ino: st.Ino, path: path}
	if id, ok := s.files[key]; ok {
		return id, nil
	}
	f, err := s.pathRecord(path, &st)
	if err != nil {
		return 0, err
	}
	s.files[key] = f.ID
	return f.ID, nil
}

// fileKey tells files apart that are known by name.
type fileKey struct {
	dev, ino uint64
	path     string
}

// pathRecord makes the record of a file that is mapped or executed.
func (s *saver) pathRecord(path string, st *unix.Stat_t) (*image.File, error) {
	f := &image.File{ID: s.newID(), Kind: image.Regular, Path: path}
	identify(f, st)
	s.sums.add(f)
	s.img.Files = append(s.img.Files, f)
	return f, nil
}

// identify notes in a record by what a file is known again.
func identify(f *image.File, st *unix.Stat_t) {
	f.Mode = st.Mode
	f.Dev = st.Dev
	f.Ino = st.Ino
	f.Size = st.Size
	f.Mtime = st.Mtim.Nano()
	f.Rdev = st.Rdev
}
