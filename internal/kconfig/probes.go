package kconfig

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	_ "cr/internal/libgo" // what gccgo lacks for golang.org/x/sys
)

// probes find symbols by what they do. They change nothing.
var probes = map[string]func() error{
	"CHECKPOINT_RESTORE":  prSetMM,
	"CROSS_MEMORY_ATTACH": implemented("process_vm_readv", unix.SYS_PROCESS_VM_READV),
	"KCMP":                implemented("kcmp", unix.SYS_KCMP),
	"MEMFD_CREATE":        implemented("memfd_create", unix.SYS_MEMFD_CREATE),
	"PID_NS":              file("/proc/self/ns/pid"),
	"USER_NS":             file("/proc/self/ns/user"),
	"PROC_PAGE_MONITOR":   file("/proc/self/pagemap"),
	"SECCOMP_FILTER":      seccomp,
	"UNIX":                unixSocket,

	"PCI":            file("/sys/bus/pci"),
	"VIRTIO_PCI":     file("/sys/bus/pci/drivers/virtio-pci"),
	"VIRTIO_CONSOLE": file("/sys/bus/virtio/drivers/virtio_console"),
	"NET_9P_VIRTIO":  file("/sys/bus/virtio/drivers/9pnet_virtio"),
	"DEVTMPFS":       listed("/proc/filesystems", "devtmpfs"),
	"9P_FS":          listed("/proc/filesystems", "9p"),
}

// file is a probe for a file or directory.
func file(path string) func() error {
	return func() error {
		if _, err := os.Stat(path); os.IsNotExist(err) {
			return fmt.Errorf("there is no %s", path)
		}
		return nil
	}
}

// listed is a probe for a word in a file.
func listed(path, word string) func() error {
	return func() error {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil // there is no telling
		}
		for _, w := range strings.Fields(string(b)) {
			if w == word {
				return nil
			}
		}
		return fmt.Errorf("%s has no %s", path, word)
	}
}

// implemented is a probe for a system call, which fails with other errors than
// ENOSYS if all its arguments are out of range.
func implemented(name string, nr uintptr) func() error {
	const none = ^uintptr(0)
	return func() error {
		_, _, errno := syscall.Syscall6(nr, none, none, none, none, none, none)
		if errno == syscall.ENOSYS {
			return fmt.Errorf("%s: %w", name, errno)
		}
		return nil
	}
}

// prSetMM asks for the size of struct prctl_mm_map, which only
// CONFIG_CHECKPOINT_RESTORE knows (kernel/sys.c).
func prSetMM() error {
	const prSetMM, mapSize = 35, 15 // PR_SET_MM, PR_SET_MM_MAP_SIZE
	var size uint32
	_, _, errno := syscall.Syscall6(unix.SYS_PRCTL, prSetMM, mapSize, uintptr(unsafe.Pointer(&size)), 0, 0, 0)
	runtime.KeepAlive(&size)
	if errno != 0 {
		return fmt.Errorf("prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE): %w", errno)
	}
	return nil
}

// seccomp installs a filter from a null pointer: EFAULT if filters are there.
func seccomp() error {
	const prSetSeccomp, filter = 22, 2 // PR_SET_SECCOMP, SECCOMP_MODE_FILTER
	_, _, errno := syscall.Syscall6(unix.SYS_PRCTL, prSetSeccomp, filter, 0, 0, 0, 0)
	if errno == syscall.EINVAL {
		return fmt.Errorf("prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER): %w", errno)
	}
	return nil
}

func unixSocket() error {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		if err == syscall.EAFNOSUPPORT || err == syscall.ENOSYS {
			return fmt.Errorf("socket(AF_UNIX): %w", err)
		}
		return nil
	}
	return syscall.Close(fd)
}
