//go:build gccgo

package libgo

import (
	"syscall"
	"unsafe"
)

// getAuxv stands for the auxiliary vector. Its caller then reads
// /proc/self/auxv.
//
//go:linkname getAuxv runtime.getAuxv
func getAuxv() []uintptr { return nil }

// vgetrandom stands for the vDSO's getrandom, which reports that it is not
// there. Its caller then makes the system call.
//
//go:linkname vgetrandom runtime.vgetrandom
func vgetrandom(p []byte, flags uint32) (ret int, supported bool) { return -1, false }

//go:linkname prlimit syscall.prlimit
func prlimit(pid int, resource int, newlimit, oldlimit *syscall.Rlimit) error {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(pid), uintptr(resource),
		uintptr(unsafe.Pointer(newlimit)), uintptr(unsafe.Pointer(oldlimit)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
