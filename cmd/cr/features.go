package main

import (
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	"github.com/spf13/pflag"

	"cr/convert"
	"cr/kernel"
	"cr/regset"
)

var featuresCommand = &command{
	name:  "features",
	args:  "[--json]",
	short: "show what this machine offers to programs",
	long: "Shows the features of the CPU that the kernel lets programs use, and what else\n" +
		"decides whether an image can be restarted here. The JSON is what the options\n" +
		"--on, --to and --cpu-like of other commands read.",
	examples: []string{
		"cr features",
		"ssh oldbox cr features --json >oldbox.json && cr verify --on oldbox.json image",
	},
	setup: func(flags *pflag.FlagSet) func([]string) (int, error) {
		asJSON := flags.Bool("json", false, "write JSON")
		return func(args []string) (int, error) {
			if len(args) > 0 {
				return 0, usageError("it takes no arguments")
			}
			m, err := kernel.Features()
			if err != nil {
				return 0, err
			}
			if *asJSON {
				return 0, convert.WriteMachine(os.Stdout, m)
			}
			return 0, showMachine(os.Stdout, m, style(os.Stdout).Width)
		}
	},
}

// showMachine writes a machine as text of a width.
func showMachine(w io.Writer, m *regset.Machine, width int) error {
	arch, err := convert.ArchOf(m)
	if err != nil {
		return err
	}
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-12s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("kernel", "%s, Linux %s, pages of %d bytes", m.Arch, m.Release, m.PageSize)
	if m.CPU != "" {
		line("cpu", "%s", m.CPU)
	}
	line("AT_HWCAP", "%#x", m.HWCAP)
	line("AT_HWCAP2", "%#x", m.HWCAP2)
	if m.Platform != "" {
		line("AT_PLATFORM", "%s", m.Platform)
	}
	if m.BasePlatform != "" {
		line("AT_BASE_PLATFORM", "%s", m.BasePlatform)
	}
	if m.CacheBlock != 0 {
		line("cache block", "%d bytes", m.CacheBlock)
	}
	for _, abi := range m.ABIs {
		if size, ok := m.TaskSizes[abi]; ok {
			line("tasks", "%s, memory below %#x", abi, size)
		} else {
			line("tasks", "%s", abi)
		}
	}
	if m.Namespaces != nil {
		line("namespaces", "%s", strings.Join(m.Namespaces, " "))
	}
	var sets []string
	for name := range m.Sizes {
		sets = append(sets, name)
	}
	sort.Strings(sets)
	for _, name := range sets {
		line("set", "%s, %d bytes", name, m.Sizes[name])
	}
	if m.DataBreakpoints+m.InstructionBreakpoints > 0 {
		ranges := ""
		if m.BreakpointRanges {
			ranges = ", on ranges"
		}
		line("breakpoints", "%d data%s, %d instruction", m.DataBreakpoints, ranges, m.InstructionBreakpoints)
	}
	name := "features"
	for _, part := range wrap(regset.Names(arch, m.Has), width-13) {
		line(name, "%s", part)
		name = ""
	}
	return nil
}

// wrap joins words to lines of a width.
func wrap(words []string, width int) []string {
	var lines []string
	line := ""
	for _, word := range words {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

// machineFrom reads the description of a machine from a file; it is this
// machine if the name is empty.
func machineFrom(file string) (*regset.Machine, error) {
	if file == "" {
		return kernel.Features()
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := convert.ReadMachine(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return m, nil
}
