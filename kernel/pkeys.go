package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// tryPkeys makes sure that a process can have the protection keys of the image:
// the kernel keeps one for memory that can only be executed, for good.
func (rs *restarter) tryPkeys(r *reborn) error {
	wanted := r.mm.Pkeys &^ 1
	if wanted == 0 {
		return nil
	}
	areas, err := readAreas(r.pid, true)
	if err != nil {
		return err
	}
	for _, a := range areas {
		if a.prot == unix.PROT_EXEC && wanted>>a.pkey&1 != 0 {
			return &RefusedError{PID: r.pid, Kind: "process", Reason: fmt.Sprintf("its memory that can only be executed has protection key %d, as other memory of the image has", a.pkey),
				Hint: "restart it with cr restart", Errno: unix.EOPNOTSUPP}
		}
	}
	return nil
}

// commitPkeys gives mappings their protection keys (pkeys(7)), when nothing of
// the process's own memory is left. Keys that no mapping has are free. The
// rights, PKRU or AMR, come with the registers.
func (rs *restarter) commitPkeys(r *reborn) error {
	wanted := r.mm.Pkeys &^ 1
	if wanted == 0 {
		return nil
	}
	t := r.leader()
	const keys = 32 // of hash-MMU powerpc; x86 has 16
	for key := uint64(1); key < keys; key++ {
		if _, err := t.call(sysPkeyFree, key); err != nil && !errors.Is(err, unix.EINVAL) {
			return err
		}
	}
	// The kernel gives the lowest that is free.
	var spare []uint64
	for got := uint32(0); got != wanted; {
		key, err := t.call(sysPkeyAlloc, 0, 0)
		if err != nil {
			return fmt.Errorf("keys %#x, of which there are %#x: %w", wanted, got, err)
		}
		if wanted>>key&1 == 0 {
			spare = append(spare, key)
			continue
		}
		got |= 1 << key
	}
	for _, key := range spare {
		if _, err := t.call(sysPkeyFree, key); err != nil {
			return err
		}
	}
	for _, v := range r.mm.VMAs {
		if v.Pkey == 0 {
			continue
		}
		if _, err := t.call(sysPkeyMprotect, v.Start, v.End-v.Start, uint64(v.Prot), uint64(v.Pkey)); err != nil {
			return err
		}
	}
	return nil
}
