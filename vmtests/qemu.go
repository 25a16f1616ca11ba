package vmtests

import (
	"cmp"
	"slices"
	"strings"

	"github.com/hugelgupf/vmtest/qemu"

	"cr/initramfs/agent"
)

func init() {
	// What vmtest does for an architecture that it does not know is right for
	// ours: PCI devices and no firmware.
	for _, g := range Guests {
		if arch := qemu.Arch(g.Kernel); !slices.Contains(qemu.SupportedArches, arch) {
			qemu.SupportedArches = append(qemu.SupportedArches, arch)
		}
	}
}

// Config changes how a guest is booted. The zero value changes nothing.
type Config struct {
	QEMU    string // the command
	Append  string // more for the kernel's command line
	Verbose bool   // let the kernel say all on its console
	GDB     bool   // wait for a debugger before the first instruction: see Guest.GDB

	run  string // what the guest is to run instead of obeying its host
	port bool   // whether it finds a port to its host

	// Dir is the directory of the host that the guest sees as agent.Dir. If it
	// is empty the guest has none.
	Dir string
}

// options returns what is the same for every way to boot a guest.
func (g Guest) options(f Files, c Config) []qemu.Fn {
	fns := []qemu.Fn{
		qemu.WithQEMUCommand(cmp.Or(c.QEMU, g.QEMU)),
		qemu.WithKernel(f.Kernel),
		qemu.WithInitramfs(f.Initramfs),
		qemu.HaltOnKernelPanic(),
		qemu.WithQEMUArgs("-nodefaults", "-no-user-config", "-vga", "none",
			"-machine", g.Machine, "-cpu", g.CPU, "-m", "512"),
		qemu.VirtioRandom(),
		qemu.WithAppendKernel(g.cmdline(c)),
	}
	if c.GDB {
		fns = append(fns, qemu.WithQEMUArgs("-gdb", "tcp::"+gdbPort, "-S"))
	}
	if c.Dir != "" {
		fns = append(fns, qemu.P9Directory(c.Dir, agent.Tag))
	}
	return fns
}

// cheap is what makes an emulated machine do less for nothing: it has no secrets to
// keep, and to program its timer each time that it is idle wakes QEMU's main loop.
const cheap = "mitigations=off nohz=off"

// counted has the clock of a guest that nobody sits at go by the instructions that
// it executes, a nanosecond each, and by the host's only while it is idle: its timers,
// ticks and polls come less often then for what it gets done, which takes a fourth
// less of the host's processor. Kernels that measure their machine as they boot take
// far longer to do it: those of x86 and of the G3 and G4. A user's QEMU may do other
// than emulate, as KVM, which cannot count.
func (g Guest) counted() []qemu.Fn {
	ours := g.QEMU == ppc || g.QEMU == ppc64
	if !ours || g.Kernel == "ppc32" || strings.Contains(g.Machine, "accel=") {
		return nil
	}
	return []qemu.Fn{qemu.WithQEMUArgs("-icount", "shift=0,sleep=on")}
}

// cmdline is the kernel's command line.
func (g Guest) cmdline(c Config) string {
	words := []string{"console=" + g.Console}
	if !c.Verbose {
		words = append(words, "quiet")
	}
	if c.port {
		words = append(words, agent.Param)
	}
	words = append(words, strings.Fields(cheap+" "+g.Append+" "+c.Append)...)
	if c.run != "" {
		words = append(words, `cr.run="`+c.run+`"`)
	}
	return strings.Join(words, " ")
}

// Cmdline returns the command that boots a guest whose user sits at the
// console: no host is there to run commands.
func (g Guest) Cmdline(f Files, c Config) ([]string, error) {
	// mon: keeps Ctrl-C for the guest, and makes Ctrl-A X end QEMU.
	fns := append(g.options(f, c), qemu.WithQEMUArgs("-serial", "mon:stdio"))
	o, err := qemu.OptionsFor(qemu.Arch(g.Kernel), fns...)
	if err != nil {
		return nil, err
	}
	return o.Cmdline()
}

// Quote writes a command the way a shell reads it.
func Quote(argv []string) string {
	words := make([]string, len(argv))
	for i, word := range argv {
		words[i] = word
		if word == "" || strings.ContainsAny(word, " \t\n\"'\\$`;&|<>()*?[]{}#~!") {
			words[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}
