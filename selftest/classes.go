package selftest

import "cr/regset"

// Class is a class of registers, or of other state, which has a target program
// for each ABI.
type Class struct {
	Name string

	// Regs lists the registers in the order of the dump, nil if there are none
	// with this ABI. Symbol gives the address of a symbol of the program.
	Regs func(abi regset.ABI, symbol func(string) uint64) []Reg

	// Needs names what the CPU must have; zero if every CPU has it.
	Needs need

	// Lacks is why the program exits with statusLacking, "" if it never does.
	Lacks string
}

// statusLacking is the exit status of a program that finds that it cannot be
// tested on this machine.
const statusLacking = 77

// need is what a machine must have for a class of registers to be there.
type need struct {
	hwcap  uint64 // bit of AT_HWCAP
	hwcap2 uint64 // bit of AT_HWCAP2
	flag   string // of /proc/cpuinfo
	name   string // what people call it
	symbol string // without which the kernel hides it, without CONFIG_
}

// commonClasses is state that does not depend on the CPU.
var commonClasses = []*Class{
	{Name: "mem", Regs: memRegs},
	{Name: "sig", Regs: sigRegs},
	{Name: "files", Regs: filesRegs},
	{Name: "attr", Regs: attrRegs},
}

// debugClass is the variable that breakpoints watch: debugCase has its tests.
var debugClass = &Class{Name: "debug", Regs: func(abi regset.ABI, _ func(string) uint64) []Reg {
	l := &layout{abi: abi}
	l.filled("watched", abi.WordSize())
	return l.regs
}}

// classes returns the classes of a family of CPUs.
func classes(abi regset.ABI) []*Class {
	if abi.IsPPC() {
		return append(ppcClasses[:len(ppcClasses):len(ppcClasses)], commonClasses...)
	}
	return append(x86Classes[:len(x86Classes):len(x86Classes)], commonClasses...)
}

// class finds a class by name.
func class(abi regset.ABI, name string) *Class {
	for _, c := range classes(abi) {
		if c.Name == name {
			return c
		}
	}
	return nil
}
