package kernel

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"

	"cr/regset"
)

// describeSpace fills in where user memory ends. For this program's own ABI it
// asks the kernel; 32-bit tasks of a 64-bit kernel have a fixed size.
func describeSpace(m *regset.Machine) {
	m.TaskSizes = make(map[string]uint64)
	for _, name := range m.ABIs {
		m.TaskSizes[name] = m.TaskSize(namedABI(name))
	}
	m.TaskSizes[hostABI.String()] = ownTaskSize(uint64(m.PageSize))
}

func namedABI(name string) regset.ABI {
	for _, a := range []regset.ABI{regset.I386, regset.X86_64, regset.PPC, regset.PPC64, regset.PPC64LE} {
		if a.String() == name {
			return a
		}
	}
	return regset.ABI{}
}

// ownTaskSize finds the end of this program's user memory, in bytes: the lowest
// address at which the kernel maps no page. A page that is taken counts as one
// that can be mapped.
func ownTaskSize(page uint64) uint64 {
	low, high := uint64(1<<30), uint64(1<<32)-page
	if unsafe.Sizeof(uintptr(0)) == 8 {
		high = 1 << 57
	}
	for high-low > page {
		mid := low + (high-low)/2/page*page
		if canMap(uintptr(mid), uintptr(page)) {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}

// canMap reports whether the kernel maps, or has mapped, a page at an address.
func canMap(addr, page uintptr) bool {
	// The number of golang.org/x/sys is on i386 that of a call with other arguments.
	mmap := uintptr(sysMmap.number(hostABI))
	at, _, e := unix.Syscall6(mmap, addr, page, unix.PROT_NONE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE|mapFixedNoReplace, ^uintptr(0), 0)
	if e != 0 {
		return errors.Is(e, unix.EEXIST)
	}
	_, _, _ = unix.Syscall(unix.SYS_MUNMAP, at, page, 0) // it was mapped right above
	return at == addr
}
