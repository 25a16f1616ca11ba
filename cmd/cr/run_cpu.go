package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"cr/convert"
	"cr/kernel"
	"cr/regset"
)

// cpuOptions are the options of `cr run` that say what programs are told of the
// CPU.
type cpuOptions struct {
	list, like string
	cpuid      string
	machine    *regset.Machine
	told       *convert.CPU // nil: what the kernel tells them
}

func (o *cpuOptions) declare(flags *pflag.FlagSet) {
	flags.StringVar(&o.list, "cpu", "", "tell programs of the CPU features in `LIST` only: names of features and of\n"+
		"groups (power8, x86-64-v2, ...), or -NAME for all but that (cr features)")
	flags.StringVar(&o.cpuid, "cpuid", cpuidAuto, "what programs see that ask the CPU itself (x86): `HOW` is \"fault\" (no more;\n"+
		"all are traced), \"leave\" (all of it), or \"auto\" (fault, if the CPU can)")
	flags.StringVar(&o.like, "cpu-like", "", "tell programs of what the machine that `FILE` describes has too (cr features --json)")
}

// resolve reads what the options name.
func (o *cpuOptions) resolve() (err error) {
	if err := o.resolveCPUID(); err != nil {
		return err
	}
	if o.list == "" && o.like == "" {
		return nil
	}
	if o.list != "" && o.like != "" {
		return usageError("--cpu and --cpu-like exclude each other")
	}
	if o.machine, err = kernel.Features(); err != nil {
		return err
	}
	if o.list != "" {
		o.told, err = convert.ParseCPU(o.machine, o.list)
		if err != nil {
			return fmt.Errorf("--cpu=%s: %w", o.list, err)
		}
		return nil
	}
	other, err := machineFrom(o.like)
	if err != nil {
		return err
	}
	if o.told, err = convert.LikeCPU(o.machine, other); err != nil {
		return fmt.Errorf("%s: %w", o.like, err)
	}
	return nil
}

// args are the same options for another process of cr run.
func (o *cpuOptions) args() []string {
	switch {
	case o.list != "":
		return []string{"--cpu=" + o.list, "--cpuid=" + o.cpuid}
	case o.like != "":
		return []string{"--cpu-like=" + o.like, "--cpuid=" + o.cpuid}
	}
	return nil
}

// Values of --cpuid.
const (
	cpuidAuto  = "auto"
	cpuidFault = "fault"
	cpuidLeave = "leave"
)

// resolveCPUID finds out whether cpuid shall fault.
func (o *cpuOptions) resolveCPUID() error {
	switch o.cpuid {
	case cpuidFault:
		if !kernel.CPUIDFaults() {
			return errors.New("--cpuid=fault: the CPU, or the kernel, cannot make cpuid fault")
		}
	case cpuidAuto:
		if o.cpuid = cpuidLeave; kernel.CPUIDFaults() {
			o.cpuid = cpuidFault
		}
	case cpuidLeave:
	default:
		return usageError(fmt.Sprintf("--cpuid=%s: it is fault, leave or auto", o.cpuid))
	}
	return nil
}

// faults reports whether cpuid is to fault in programs.
func (o *cpuOptions) faults() bool { return o.told != nil && o.cpuid == cpuidFault }

// tunables is where the C library is told what it shall do without.
const tunables = "GLIBC_TUNABLES"

// environment tells the C library of the features that it must not use, where
// the auxiliary vector is not what it goes by.
func (o *cpuOptions) environment() error {
	if o.told == nil {
		return nil
	}
	off := o.told.Tunables(o.machine)
	if off == "" {
		return nil
	}
	var list []string
	for _, t := range strings.Split(os.Getenv(tunables), ":") {
		if value := strings.TrimPrefix(t, "glibc.cpu.hwcaps="); value != t {
			off = value + "," + off
		} else if t != "" {
			list = append(list, t)
		}
	}
	return os.Setenv(tunables, strings.Join(append(list, "glibc.cpu.hwcaps="+off), ":"))
}

// warn says what programs can find out all the same.
func (o *cpuOptions) warn() {
	if o.told == nil || o.faults() || !asksCPU(o.machine) {
		return
	}
	if hidden := o.told.Hidden(o.machine); len(hidden) > 0 {
		fmt.Fprintf(os.Stderr, "cr run: warning: the C library does without %s, but programs that ask the CPU itself (cpuid) see it\n",
			strings.Join(hidden, ", "))
	}
}

// asksCPU reports whether programs learn of features from the CPU.
func asksCPU(m *regset.Machine) bool {
	return strings.HasSuffix(m.Arch, "86") || m.Arch == regset.X86_64.String()
}
