package vmtests

import (
	"debug/elf"
	"path/filepath"
)

// gdbPort is where QEMU waits for a debugger.
const gdbPort = "1234"

// architectures are gdb's names of what the guests are, by their kernels.
var architectures = map[string]string{
	"ppc32": "powerpc:common", "e500v2": "powerpc:common", "ppc64": "powerpc:common64", "ppc64le": "powerpc:common64",
	"i386": "i386", "x86_64": "i386:x86-64",
}

// GDB returns the command that debugs a guest which was booted with
// Config.GDB.
func (g Guest) GDB(kernel string) []string {
	endian := "little"
	if g.QEMU == ppc || g.Kernel == "ppc64" {
		endian = "big"
	}
	argv := []string{"gdb-multiarch", "-ex", "set architecture " + architectures[g.Kernel], "-ex", "set endian " + endian,
		"-ex", "target remote :" + gdbPort}
	if file := symbols(kernel); file != "" {
		argv = append(argv, file)
	}
	return argv
}

// symbols finds the ELF file of a kernel: the kernel itself, or for a bzImage the
// vmlinux in the directory that it was built in. It is "" if there is none.
func symbols(kernel string) string {
	dir := filepath.Dir(kernel)
	for _, path := range []string{kernel, filepath.Join(dir, "vmlinux"), filepath.Join(dir, "../../../vmlinux")} {
		if f, err := elf.Open(path); err == nil {
			_ = f.Close() // it was only read
			return path
		}
	}
	return ""
}
