// Package vmtests boots guests: QEMU machines of the kinds that this project
// is for. As `go test ./vmtests` it runs the selftest in each of them, and
// takes images from one to another.
package vmtests

import (
	"fmt"
	"sort"
	"strings"
)

// Guest is a kind of machine that can be booted.
type Guest struct {
	Name    string
	Kernel  string // as scripts/kernels calls it
	Flavour string // of the programs in it, as package initramfs calls it
	QEMU    string // the command
	Machine string // for QEMU's -machine
	CPU     string // for QEMU's -cpu
	Console string // the kernel's name of the first serial port
	Append  string // more for the kernel's command line
	Slow    bool   // go test -short leaves it out
}

// Machines of QEMU. With x-vof=on a pseries guest starts without SLOF, which
// takes 8 s. The mitigations that TCG does not have are declared as such.
const (
	ppc     = "qemu-system-ppc"
	ppc64   = "qemu-system-ppc64"
	i386    = "qemu-system-i386"
	x86_64  = "qemu-system-x86_64"
	pseries = "pseries,x-vof=on,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off"
	power9  = pseries + ",cap-htm=off"
	novsx   = pseries + ",cap-vsx=off,cap-dfp=off"
	mac99   = "mac99,via=pmu" // without via=pmu it does not power off
	// Our x86 kernels have no ACPI, so no power switch.
	reset = "reboot=t cr.off=reboot"
)

// Guests are all that the tests boot. Those of one kernel that differ in their
// CPU are there to take images from one to the other.
var Guests = []Guest{
	{Name: "ppc32-7447", Kernel: "ppc32", Flavour: "ppc32", QEMU: ppc, Machine: "g3beige", CPU: "7447", Console: "ttyPZ0"},
	{Name: "ppc32-750", Kernel: "ppc32", Flavour: "ppc32", QEMU: ppc, Machine: "g3beige", CPU: "750", Console: "ttyPZ0", Slow: true},
	{Name: "e500v2", Kernel: "e500v2", Flavour: "ppc32", QEMU: ppc, Machine: "ppce500", CPU: "e500v2_v30", Console: "ttyS0"},
	{Name: "ppc64-power8", Kernel: "ppc64", Flavour: "ppc64", QEMU: ppc64, Machine: pseries, CPU: "power8", Console: "hvc0"},
	{Name: "ppc64-power9", Kernel: "ppc64", Flavour: "ppc64", QEMU: ppc64, Machine: power9, CPU: "power9", Console: "hvc0"},
	{Name: "ppc64-power10", Kernel: "ppc64", Flavour: "ppc64", QEMU: ppc64, Machine: power9, CPU: "power10", Console: "hvc0", Slow: true},
	{Name: "ppc64-power11", Kernel: "ppc64", Flavour: "ppc64", QEMU: ppc64, Machine: power9, CPU: "power11", Console: "hvc0", Slow: true},
	{Name: "ppc64-power7", Kernel: "ppc64", Flavour: "ppc64-gccgo", QEMU: ppc64, Machine: pseries, CPU: "power7", Console: "hvc0", Slow: true},
	{Name: "ppc64-power8-novsx", Kernel: "ppc64", Flavour: "ppc64-gccgo", QEMU: ppc64, Machine: novsx, CPU: "power8", Console: "hvc0", Slow: true},
	{Name: "ppc64-970fx", Kernel: "ppc64", Flavour: "ppc64-gccgo", QEMU: ppc64, Machine: mac99, CPU: "970fx", Console: "ttyPZ0", Slow: true},
	{Name: "ppc64le-power8", Kernel: "ppc64le", Flavour: "ppc64le", QEMU: ppc64, Machine: pseries, CPU: "power8", Console: "hvc0", Slow: true},
	{Name: "ppc64le-power9", Kernel: "ppc64le", Flavour: "ppc64le", QEMU: ppc64, Machine: power9, CPU: "power9", Console: "hvc0"},
	{Name: "ppc64le-power10", Kernel: "ppc64le", Flavour: "ppc64le", QEMU: ppc64, Machine: power9, CPU: "power10", Console: "hvc0", Slow: true},
	{Name: "i386-max", Kernel: "i386", Flavour: "i386", QEMU: i386, Machine: "pc", CPU: "max", Console: "ttyS0", Append: reset},
	{Name: "i386-qemu32", Kernel: "i386", Flavour: "i386", QEMU: i386, Machine: "pc", CPU: "qemu32", Console: "ttyS0", Append: reset, Slow: true},
	{Name: "x86_64-max", Kernel: "x86_64", Flavour: "x86_64", QEMU: x86_64, Machine: "q35", CPU: "max", Console: "ttyS0", Append: reset},
	{Name: "x86_64-qemu64", Kernel: "x86_64", Flavour: "x86_64", QEMU: x86_64, Machine: "q35", CPU: "qemu64", Console: "ttyS0", Append: reset, Slow: true},
	{Name: "x86_64-nehalem", Kernel: "x86_64", Flavour: "x86_64", QEMU: x86_64, Machine: "q35", CPU: "Nehalem", Console: "ttyS0", Append: reset, Slow: true},
}

// Find returns the guest of that name or, for the name of a kernel, the first
// guest that has it.
func Find(name string) (Guest, error) {
	for _, g := range Guests {
		if g.Name == name {
			return g, nil
		}
	}
	for _, g := range Guests {
		if g.Kernel == name {
			return g, nil
		}
	}
	return Guest{}, fmt.Errorf("no guest is called %q (there are: %s)", name, strings.Join(Names(), ", "))
}

// Names lists the guests.
func Names() []string {
	names := make([]string, len(Guests))
	for i, g := range Guests {
		names[i] = g.Name
	}
	sort.Strings(names)
	return names
}

// OwnABI splits the name of a case of the selftest in a guest: a -32 in it stands
// for the 32-bit tasks of a 64-bit kernel.
func OwnABI(guest, name string) (class, abi string) {
	g, err := Find(guest)
	if err != nil {
		return name, guest
	}
	abi = g.Kernel
	if abi == "ppc32" || abi == "e500v2" {
		abi = "ppc"
	}
	class, is32 := strings.CutSuffix(name, "-32")
	if is32 {
		abi = map[string]string{"ppc64": "ppc", "x86_64": "i386"}[abi]
	}
	return class, abi
}
