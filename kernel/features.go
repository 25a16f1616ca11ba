package kernel

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"cr/image"
	"cr/regset"
)

var machine struct {
	sync.Once
	m   *regset.Machine
	err error
}

// Features describes the machine that this program runs on.
func Features() (*regset.Machine, error) {
	machine.Do(func() { machine.m, machine.err = describe() })
	return machine.m, machine.err
}

// Types of entries of the auxiliary vector (include/uapi/linux/auxvec.h).
const (
	atPlatform     = 15
	atHWCAP        = 16
	atDCacheBSize  = 19
	atBasePlatform = 24
	atHWCAP2       = 26
)

func describe() (*regset.Machine, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return nil, err
	}
	m := &regset.Machine{
		Arch:     hostABI.String(),
		Release:  unix.ByteSliceToString(uts.Release[:]),
		PageSize: os.Getpagesize(),
	}
	auxv, err := os.ReadFile("/proc/self/auxv")
	if err != nil {
		return nil, err
	}
	l := ownLayout
	for i := 0; (i+2)*l.word <= len(auxv); i += 2 {
		v := l.long(auxv, i+1)
		switch l.long(auxv, i) {
		case atHWCAP:
			m.HWCAP = v
		case atHWCAP2:
			m.HWCAP2 = v
		case atDCacheBSize:
			m.CacheBlock = int(v)
		case atPlatform:
			m.Platform = ownString(v)
		case atBasePlatform:
			m.BasePlatform = ownString(v)
		}
	}
	if err := describeCPU(m, unix.ByteSliceToString(uts.Machine[:])); err != nil {
		return nil, err
	}
	describeSpace(m)
	m.Namespaces = usableNamespaces()
	return m, nil
}

// usableNamespaces lists the kinds of namespaces that an image can hold and that
// can be made here: the kernel has them, and their limit is not 0
// (namespaces(7)).
func usableNamespaces() []string {
	list := []string{}
	for _, k := range image.NamespaceKinds {
		if _, err := os.Stat("/proc/self/ns/" + k.File); err != nil {
			continue
		}
		limit, err := os.ReadFile("/proc/sys/user/max_" + k.File + "_namespaces")
		if err == nil && strings.TrimSpace(string(limit)) == "0" {
			continue
		}
		list = append(list, k.File)
	}
	return list
}

// ownString reads a string of this program's own memory that the kernel has
// put there.
func ownString(addr uint64) string {
	f, err := os.Open("/proc/self/mem")
	if err != nil {
		return ""
	}
	defer f.Close()
	var b [64]byte
	n, _ := f.ReadAt(b[:], int64(addr))
	s, _, _ := strings.Cut(string(b[:n]), "\x00")
	return s
}

// abiNames lists ABIs by name, for Machine.ABIs.
func abiNames(list ...regset.ABI) []string {
	names := make([]string, len(list))
	for i, a := range list {
		names[i] = a.String()
	}
	return names
}

// cpuinfo gives the value of the first line of /proc/cpuinfo with one of the
// keys. It reads no further: the file is long where there are many processors.
func cpuinfo(keys ...string) (string, error) {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, v, _ := strings.Cut(lines.Text(), ":")
		for _, k := range keys {
			if strings.TrimSpace(key) == k {
				return strings.TrimSpace(v), nil
			}
		}
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	return "", fmt.Errorf("/proc/cpuinfo has none of %q", keys)
}
