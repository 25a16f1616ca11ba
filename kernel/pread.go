package kernel

import "syscall"

// pread, pwrite and ftruncate are those of the standard library:
// golang.org/x/sys passes 64-bit offsets in the wrong registers on 32-bit
// powerpc, where the first of the two has an odd number.
var (
	pread     = syscall.Pread
	pwrite    = syscall.Pwrite
	ftruncate = syscall.Ftruncate
)
