package vmtests

import "strings"

// With returns the guest with another CPU or another machine of QEMU's, "" for
// its own. A CPU that a guest with the same kernel has makes it that guest. For
// others, what depends on the CPU follows it: the machine, and how the programs
// of the guest are built.
func (g Guest) With(cpu, machine string) Guest {
	if cpu != "" && cpu != g.CPU {
		g = g.withCPU(cpu)
	}
	if machine != "" && machine != g.Machine {
		g.Machine = machine
		if console := consoles[first(machine)]; console != "" {
			g.Console = console
		}
		g.Flavour = g.flavour()
	}
	return g
}

func (g Guest) withCPU(cpu string) Guest {
	if like, ok := g.sibling(cpu); ok {
		like.CPU = cpu
		return like
	}
	g.Name, g.CPU = g.Kernel+"-"+cpu, cpu
	if g.Kernel == "ppc64" || g.Kernel == "ppc64le" {
		g.Machine, g.Console = machine64(cpu)
		g.Flavour = g.flavour()
	}
	return g
}

// sibling finds the guest with the same kernel whose CPU is the one that is
// meant. More may follow its name: a version, as in power9_v2.2, and features
// that are switched on and off.
func (g Guest) sibling(cpu string) (Guest, bool) {
	for _, other := range Guests {
		if other.Kernel == g.Kernel && model(other.CPU) == model(cpu) {
			return other, true
		}
	}
	return Guest{}, false
}

// first is what an option of QEMU's begins with.
func first(option string) string {
	name, _, _ := strings.Cut(option, ",")
	return name
}

// model is the name of a CPU, without its version.
func model(cpu string) string {
	name, _, _ := strings.Cut(strings.ToLower(first(cpu)), "_v")
	return name
}

// machine64 is the machine for a 64-bit server CPU, or for a G5, and its
// console.
func machine64(cpu string) (machine, console string) {
	switch name := model(cpu); {
	case strings.HasPrefix(name, "970"):
		return mac99, "ttyPZ0"
	case strings.HasPrefix(name, "power9"), strings.HasPrefix(name, "power1"):
		return power9, "hvc0"
	}
	return pseries, "hvc0"
}

// consoles are the names of the first serial port, by machine.
var consoles = map[string]string{
	"pseries": "hvc0", "powernv": "hvc0", "powernv8": "hvc0", "powernv9": "hvc0", "powernv10": "hvc0",
	"mac99": "ttyPZ0", "g3beige": "ttyPZ0",
	"ppce500": "ttyS0", "pc": "ttyS0", "q35": "ttyS0", "microvm": "ttyS0",
}

// flavour is how the programs of a guest must be built: those of the gc
// toolchain use VSX and the instructions of POWER8.
func (g Guest) flavour() string {
	if g.Kernel != "ppc64" {
		return g.Flavour
	}
	name := model(g.CPU)
	gc := strings.HasPrefix(name, "power8") || strings.HasPrefix(name, "power9") || strings.HasPrefix(name, "power1")
	if gc && !strings.Contains(g.Machine, "cap-vsx=off") && first(g.Machine) != "mac99" {
		return "ppc64"
	}
	return "ppc64-gccgo"
}
