package x86

import "cr/regset"

// Ends of user address space: TASK_SIZE_MAX of include/asm/page_64_types.h and
// page_32_types.h, IA32_PAGE_OFFSET for 32-bit tasks of a 64-bit kernel.
const (
	limit64     = 1<<47 - 4096
	limitLA57   = 1<<56 - 4096
	limitCompat = 0xffffe000
	limitI386   = 0xc0000000 // VMSPLIT_3G, the default
	archX86_64  = "x86_64"
)

// kernel64 reports whether the machine's kernel is a 64-bit one.
func kernel64(m *regset.Machine) bool { return m.Arch == archX86_64 }

// userLimit is the first address that tasks of the ABI cannot use.
func userLimit(m *regset.Machine, abi regset.ABI) uint64 {
	switch {
	case abi == regset.I386 && kernel64(m):
		return limitCompat
	case abi == regset.I386:
		return limitI386
	case m.Has.Has(LA57):
		return limitLA57
	}
	return limit64
}
