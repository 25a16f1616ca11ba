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
	QEMU    string   // the command
	Machine string   // for QEMU's -machine
	CPU     string   // for QEMU's -cpu
	Append  string   // more for the kernel's command line
	Args    []string // more for QEMU's command line

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
			"-machine", cmp.Or(c.Machine, g.Machine), "-cpu", cmp.Or(c.CPU, g.CPU), "-m", "512"),
		qemu.VirtioRandom(),
		qemu.WithAppendKernel(strings.Join(strings.Fields("console="+g.Console+" quiet "+g.Append+" "+c.Append), " ")),
	}
	if c.Dir != "" {
		fns = append(fns, qemu.P9Directory(c.Dir, agent.Tag))
	}
	return append(fns, qemu.WithQEMUArgs(c.Args...))
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
