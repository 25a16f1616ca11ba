package kernel

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"cr/image"
	"cr/regset"
)

// lowEnd is where the memory of tasks of a 32-bit kernel ends at most: 3 GiB.
// Those of a 64-bit kernel have 4 GiB.
const lowEnd = 3 << 30

// Flags of personality(2), and the argument that asks for them.
const (
	addrCompatLayout = 0x0200000
	addrLimit3GB     = 0x8000000
	askPersonality   = 0xffffffff
)

// lowLayout is the flag with which execve makes a 32-bit program map its memory
// low: on x86 below 3 GiB, on powerpc, which does not know that, from 1 GiB up. It
// is 0 on a 32-bit kernel, which has no more than 3 GiB, and where there are no such
// programs.
func lowLayout() (uint32, error) {
	m, err := Features()
	if err != nil {
		return 0, err
	}
	switch kernel := namedABI(m.Arch); {
	case kernel.WordSize() == 4 || kernel == regset.PPC64LE:
		return 0, nil
	case kernel.IsPPC():
		return addrCompatLayout, nil
	}
	return addrLimit3GB, nil
}

// endOf is the end of the highest mapping of an address space.
func endOf(mm *image.MM) uint64 {
	end := uint64(0)
	for _, v := range mm.VMAs {
		if v.End > end {
			end = v.End
		}
	}
	return end
}

// layout is lowLayout for an image that a 32-bit kernel could take: what its
// tasks map after the restart must not be in the way of that.
func (rs *restarter) layout(abi regset.ABI) (uint32, error) {
	if abi.WordSize() != 4 {
		return 0, nil
	}
	for _, mm := range rs.img.MMs {
		if endOf(mm) > lowEnd {
			return 0, nil
		}
	}
	return lowLayout()
}

// layout is lowLayout if a process's program was executed with it, as far as its
// personality tells.
func (p *process) layout() (uint32, error) {
	if p.leader().abi.WordSize() != 4 {
		return 0, nil
	}
	low, err := lowLayout()
	if err != nil {
		return 0, err
	}
	now, err := readPersonality(p.pid)
	return now & low, err
}

// readPersonality reads the personality of a process.
func readPersonality(pid int) (uint32, error) {
	b, err := readProc(pid, "personality")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 16, 32)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", procPath(pid, "personality"), err)
	}
	return uint32(n), nil
}

// withFlags is the personality of a program that execve is to give a layout,
// made from the one before.
func withFlags(before, layout uint32) uint32 { return before&^addrLimit3GB | layout }

// withLayout does something with a layout in the personality of this thread. A
// sandbox may not let it be changed, as that of Docker: what is mapped later lies
// high then.
func withLayout(layout uint32, do func() error) error {
	before, err := personality(askPersonality)
	if err != nil {
		return err
	}
	if _, err := personality(withFlags(before, layout)); err != nil && !errors.Is(err, unix.EPERM) {
		return err
	}
	err = do()
	_, e := personality(before)
	return firstError(err, e)
}

// personality sets the personality of this thread, and returns the one before.
func personality(p uint32) (uint32, error) {
	// It may have the sign bit set, but is no errno.
	before, _, e := unix.RawSyscall(uintptr(sysPersonality.number(hostABI)), uintptr(p), 0, 0)
	if e != 0 {
		return 0, fmt.Errorf("personality: %w", e)
	}
	return uint32(before), nil
}

// execWith does what makes a held task execute a program, with a layout in its
// personality, which it keeps if that succeeds. It may not get it, as withLayout.
func (tr *tree) execWith(t *task, layout uint32, exec func() error) error {
	before, err := t.call(sysPersonality, askPersonality)
	if err != nil {
		return err
	}
	if _, err := t.call(sysPersonality, uint64(withFlags(uint32(before), layout))); err != nil && !errors.Is(err, unix.EPERM) {
		return err
	}
	err = exec()
	if err == nil || errors.Is(err, errGone) {
		return err
	}
	if _, e := t.call(sysPersonality, before); e != nil {
		return fmt.Errorf("%w: %v", errGone, firstError(e, tr.kill()))
	}
	return err
}
