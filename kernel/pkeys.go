package kernel

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"cr/image"
	"cr/regset"
)

// Protection keys (pkeys(7)) have three parts: the rights that each task gives
// them, which are in its registers; the key of each mapping; and which of them
// are allocated. The kernel takes one for itself when a process first has memory
// that can be executed only, and gives it to no one by number.

// maxKeys is how many there are at most: 16 on x86, 32 on powerpc.
const maxKeys = 32

// allocatedKeys asks which keys a process has allocated, 0 if the machine has
// none. A key is asked for where nothing is mapped: the kernel looks at the key
// first (EINVAL), then for the mapping (ENOMEM).
func (p *process) allocatedKeys(t *task, areas []area) (uint32, error) {
	at := uint64(0)
	for _, a := range areas {
		if a.start > at {
			break
		}
		at = a.end
	}
	keys, pageSize := uint32(0), uint64(os.Getpagesize())
	most := uint64(maxKeys)
	if t.abi.Machine == regset.EM386 || t.abi.Machine == regset.EMX86_64 {
		most = 16
	}
	note := func(k uint64, err error) error {
		switch {
		case errors.Is(err, unix.ENOMEM):
			keys |= 1 << k
		case !errors.Is(err, unix.EINVAL):
			return fmt.Errorf("ask for protection key %d: %w", k, err)
		}
		return nil
	}
	_, err := t.call(sysPkeyMprotect, at, pageSize, unix.PROT_READ, 0)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return 0, nil
	}
	if err := note(0, err); err != nil {
		return 0, err
	}
	c := p.callsOf(t)
	for k := uint64(1); k < most; k++ {
		k := k
		c.add(func(_ uint64, err error) error { return note(k, err) }, sysPkeyMprotect, at, pageSize, unix.PROT_READ, k)
	}
	err = c.run()
	return keys, err
}

// ownKey is the key that a program has given to a mapping, 0 if it has not.
func ownKey(m *image.MM, v *image.VMA) uint32 {
	if v.Prot == unix.PROT_EXEC && m.Pkeys>>v.Pkey&1 == 0 {
		return 0 // the kernel's choice
	}
	return v.Pkey
}

// kernelsKey is the key that the kernel has taken for itself, 0 if there is none.
func kernelsKey(m *image.MM) uint32 {
	for i := range m.VMAs {
		if v := &m.VMAs[i]; v.Pkey != ownKey(m, v) {
			return v.Pkey
		}
	}
	return 0
}

// keysOf are the keys that the mappings of a process take, and those that are
// allocated: a key may be freed while mappings have it.
func keysOf(m *image.MM) uint32 {
	keys := m.Pkeys &^ 1
	for i := range m.VMAs {
		keys |= 1 << ownKey(m, &m.VMAs[i])
	}
	return keys &^ 1
}

// mayHaveKeys checks that the machine has protection keys if the image takes
// them, and notes those that the caller has, which its children inherit.
func (rs *restarter) mayHaveKeys() error {
	var err error
	t := rs.root.leader()
	if rs.keys, err = rs.root.allocatedKeys(t, rs.root.old); err != nil || rs.keys != 0 {
		return err
	}
	for _, rec := range rs.img.Processes {
		if m := rs.img.MM(rec.MM); m != nil && keysOf(m) != 0 {
			return &RefusedError{PID: int(rec.PID), Kind: "process", Object: rec.Comm,
				Reason: "it uses memory protection keys, which this machine has not", Errno: unix.EOPNOTSUPP}
		}
	}
	return nil
}

// stageKeys allocates the keys of a process. The kernel gives the lowest one that
// is free, so those below are taken meanwhile. Access is denied, as it is for
// keys that nobody has: the rights come with the registers.
func (rs *restarter) stageKeys(r *reborn) error {
	want, kernels := keysOf(r.mm), kernelsKey(r.mm)
	if rs.keys == 0 {
		return nil
	}
	t := r.leader()
	for k := uint32(1); k < maxKeys && (want|1<<kernels)>>k != 0; k++ {
		if (rs.keys|r.keys)>>k&1 != 0 {
			continue
		}
		if k == kernels {
			if err := r.takeKernelsKey(); err != nil {
				return err
			}
			continue
		}
		got, err := t.call(sysPkeyAlloc, 0, pkeyDisableAccess)
		if err != nil && !errors.Is(err, unix.ENOSPC) {
			return err
		}
		if err == nil {
			r.keys |= 1 << got
		}
		if want>>k&1 != 0 && r.keys>>k&1 == 0 {
			return &RefusedError{PID: int(r.rec.PID), Kind: "process", Object: r.rec.Comm,
				Reason: fmt.Sprintf("memory protection key %d is the kernel's own here", k), Errno: unix.EOPNOTSUPP}
		}
	}
	return r.freeKeys(r.keys &^ want)
}

// pkeyDisableAccess is PKEY_DISABLE_ACCESS.
const pkeyDisableAccess = 1

// takeKernelsKey makes the kernel take a key for memory that can be executed
// only.
func (r *reborn) takeKernelsKey() error {
	pageSize := uint64(os.Getpagesize())
	at, err := r.space.take(pageSize)
	if err != nil {
		return err
	}
	t := r.leader()
	if _, err := t.mmap(at, pageSize, unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|mapFixedNoReplace, -1, 0); err != nil {
		return err
	}
	_, err = t.call(sysMunmap, at, pageSize)
	return err
}

// freeKeys frees protection keys that a process has allocated.
func (r *reborn) freeKeys(keys uint32) error {
	for k := uint64(1); keys>>k != 0; k++ {
		if keys>>k&1 == 0 {
			continue
		}
		if _, err := r.leader().call(sysPkeyFree, k); err != nil {
			return err
		}
		r.keys &^= 1 << k
	}
	return nil
}

// setKey gives a mapping that has been made its key.
func (r *reborn) setKey(s *stagedVMA) error {
	key := ownKey(r.mm, &s.VMA)
	if key == 0 {
		return nil
	}
	_, err := r.leader().call(sysPkeyMprotect, s.at, s.End-s.Start, uint64(s.Prot), uint64(key))
	return err
}

// firstProt is the protection to make a mapping with: the kernel would take a key
// of its own for one that can be executed only.
func (r *reborn) firstProt(s *stagedVMA) uint32 {
	if s.Prot == unix.PROT_EXEC && ownKey(r.mm, &s.VMA) != 0 {
		return unix.PROT_NONE
	}
	return s.Prot
}

// commitKeys frees the keys that the process has not, those that its mappings
// were given before they were freed, and those of the caller.
func (rs *restarter) commitKeys(r *reborn) error {
	return r.freeKeys((r.keys | rs.keys&^1) &^ r.mm.Pkeys)
}
