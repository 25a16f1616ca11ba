package convert

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"cr/ppc"
	"cr/regset"
	"cr/x86"
)

// CPU is what programs are told of the CPU that they run on.
type CPU struct {
	Allowed regset.Mask

	// Platform and BasePlatform are AT_PLATFORM and AT_BASE_PLATFORM. An empty
	// one is left as the kernel has it.
	Platform, BasePlatform string
}

// ErrCPU is the error for a list of features that makes no sense.
var ErrCPU = errors.New("not a list of CPU features")

// levels are the groups of features of a machine's architecture.
func levels(ppcMachine bool) map[string]regset.Mask {
	if ppcMachine {
		return ppc.Levels
	}
	return x86.Levels
}

// LevelNames lists the groups that ParseCPU knows for a machine.
func LevelNames(m *regset.Machine) []string {
	var names []string
	for name := range levels(isPPC(m)) {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func isPPC(m *regset.Machine) bool {
	abi, _ := abiNamed(m.Arch)
	return abi.IsPPC()
}

// ParseCPU reads a list of features that programs on a machine may see: names
// of features and of groups (LevelNames) with commas between them, or "all"
// for what the machine has. A minus before the name of a feature takes it, and
// what needs it, out; a list that begins with one begins with all. Nothing is
// allowed that the machine does not have. Errors wrap ErrCPU.
func ParseCPU(m *regset.Machine, list string) (*CPU, error) {
	arch, err := ArchOf(m)
	if err != nil {
		return nil, err
	}
	groups := levels(isPPC(m))
	var allowed regset.Mask
	for i, item := range strings.Split(list, ",") {
		name := strings.TrimPrefix(item, "-")
		group, isGroup := groups[name]
		switch {
		case item != name:
			bit, err := parseName(arch, name)
			if err != nil {
				return nil, fmt.Errorf("%w: %v", ErrCPU, err)
			}
			if i == 0 {
				allowed = m.Has
			}
			allowed &^= bit
		case name == "all":
			allowed |= m.Has
		case isGroup:
			allowed |= group
		default:
			bit, err := parseName(arch, name)
			if err != nil {
				return nil, fmt.Errorf("%w: %v; groups are %s", ErrCPU, err, strings.Join(LevelNames(m), ", "))
			}
			allowed |= bit
		}
	}
	return newCPU(m, allowed, "", ""), nil
}

// LikeCPU is what programs on a machine may see so that they can move to
// another, and back: what both have. It fails with ErrCPU if they are of
// different architectures.
func LikeCPU(m, other *regset.Machine) (*CPU, error) {
	if isPPC(m) != isPPC(other) {
		return nil, fmt.Errorf("%w: a machine of %s cannot look like one of %s", ErrCPU, m.Arch, other.Arch)
	}
	return newCPU(m, other.Has, other.Platform, other.BasePlatform), nil
}

func newCPU(m *regset.Machine, allowed regset.Mask, platform, base string) *CPU {
	if !isPPC(m) {
		// AT_PLATFORM of x86 names what the kernel is, not the CPU.
		return &CPU{Allowed: x86.Usable((allowed | x86.Untold) & m.Has)}
	}
	allowed = ppc.Usable((allowed | ppc.Untold()) & m.Has)
	if platform == "" && ppc.Platform(m.Has) != ppc.Platform(allowed) {
		platform = ppc.Platform(allowed)
		base = platform
	}
	return &CPU{Allowed: allowed, Platform: platform, BasePlatform: base}
}

// Hidden lists the features of a machine that programs do not see.
func (c *CPU) Hidden(m *regset.Machine) []string {
	arch, err := ArchOf(m)
	if err != nil {
		return nil
	}
	hidden := m.Has &^ c.Allowed
	if isPPC(m) {
		hidden &^= ppc.FeaturePPC64 // 64-bit programs see it all the same
	}
	return regset.Names(arch, hidden)
}

// Tunables is a value for glibc.cpu.hwcaps in GLIBC_TUNABLES that makes the C
// library do without the features of a machine that are not allowed; empty if
// the auxiliary vector tells the C library all that it needs to know.
func (c *CPU) Tunables(m *regset.Machine) string {
	if isPPC(m) {
		return ""
	}
	var off []string
	for _, t := range x86.Tunables {
		if m.Has.Has(t.Feature) && !c.Allowed.Has(t.Feature) {
			off = append(off, "-"+t.Name)
		}
	}
	return strings.Join(off, ",")
}
