package selftest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"cr/regset"
)

// Entries of the auxiliary vector (include/uapi/linux/auxvec.h).
const (
	atHWCAP  = 16
	atHWCAP2 = 26
)

// host is what this machine can do, as a program finds out for itself.
type host struct {
	hwcap, hwcap2 uint64
	flags         map[string]bool // of /proc/cpuinfo, x86 only
}

func thisHost() (*host, error) {
	h := &host{flags: make(map[string]bool)}
	auxv, err := os.ReadFile("/proc/self/auxv")
	if err != nil {
		return nil, err
	}
	h.readAuxv(auxv)
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return nil, err
	}
	h.readCPUInfo(cpuinfo)
	return h, nil
}

func (h *host) readAuxv(b []byte) {
	const word = int(unsafe.Sizeof(uintptr(0)))
	for ; len(b) >= 2*word; b = b[2*word:] {
		var entry [2]uintptr
		copy((*[2 * word]byte)(unsafe.Pointer(&entry))[:], b)
		switch entry[0] {
		case atHWCAP:
			h.hwcap = uint64(entry[1])
		case atHWCAP2:
			h.hwcap2 = uint64(entry[1])
		}
	}
}

func (h *host) readCPUInfo(b []byte) {
	for _, line := range bytes.Split(b, []byte("\n")) {
		if bytes.HasPrefix(line, []byte("flags")) {
			for _, f := range bytes.Fields(line) {
				h.flags[string(f)] = true
			}
			return
		}
	}
}

// lacks says what the machine has not of what a class needs, "" if nothing.
func (r *run) lacks(n need) string { return explain(r.kernel, r.host.lacks(n), n.symbol) }

func (h *host) lacks(n need) string {
	switch {
	case h.hwcap&n.hwcap != n.hwcap:
		return fmt.Sprintf("AT_HWCAP %#x has no %s", h.hwcap, n.name)
	case h.hwcap2&n.hwcap2 != n.hwcap2:
		return fmt.Sprintf("AT_HWCAP2 %#x has no %s", h.hwcap2, n.name)
	case n.flag != "" && !h.flags[n.flag]:
		return "/proc/cpuinfo has no flag " + n.flag
	}
	return ""
}

// candidates are the ABIs that a machine of this kind may run, its own first.
func candidates() []regset.ABI {
	switch runtime.GOARCH {
	case "amd64", "386":
		return []regset.ABI{regset.X86_64, regset.I386}
	}
	return []regset.ABI{regset.PPC64, regset.PPC64LE, regset.PPC}
}

// abis finds out which ABIs the kernel runs by running a program of each. The
// gpr programs make do with any CPU, and end by themselves when told to make
// the call on a descriptor that is not open. Refused are those
// whose programs the kernel does not execute, and notBuilt says which ABIs it
// could not try.
func abis(dir string) (runs, refused []regset.ABI, notBuilt []error, err error) {
	for _, abi := range candidates() {
		p, err := unpack(dir, abi, "gpr")
		if errors.Is(err, errNotBuilt) {
			notBuilt = append(notBuilt, err)
			continue
		}
		if err != nil {
			return nil, nil, nil, err
		}
		pid, err := syscall.ForkExec(p.path, []string{p.path, "self"}, &syscall.ProcAttr{})
		if errors.Is(err, syscall.ENOEXEC) {
			refused = append(refused, abi)
			continue
		}
		if err != nil {
			return nil, nil, nil, fmt.Errorf("%s: %w", p.path, err)
		}
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
			return nil, nil, nil, fmt.Errorf("wait for %s: %w", p.path, err)
		}
		runs = append(runs, abi)
	}
	if len(runs) == 0 {
		return nil, nil, nil, errNotBuilt
	}
	return runs, refused, notBuilt, nil
}
