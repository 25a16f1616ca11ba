package x86

import "cr/regset"

// Bits of AT_HWCAP, which is EDX of cpuid leaf 1, and of AT_HWCAP2
// (arch/x86/include/uapi/asm/hwcap2.h).
const (
	hwcapLeaf      = 1
	hwcap2FSGSBASE = 1 << 1
)

// hwcapOf gives the bits of AT_HWCAP and AT_HWCAP2 that tell programs of a
// feature.
func hwcapOf(r rule) (hwcap, hwcap2 uint64) {
	if r.feature == FSGSBASE {
		return 0, hwcap2FSGSBASE
	}
	for _, b := range r.bits {
		if b.fn == hwcapLeaf && b.reg == edx {
			hwcap |= 1 << b.bit
		}
	}
	return hwcap, 0
}

// FromHWCAP computes the features that the auxiliary vector tells of. Most are
// known from cpuid only.
func FromHWCAP(hwcap, hwcap2 uint64) regset.Mask {
	var m regset.Mask
	for _, r := range rules {
		if h, h2 := hwcapOf(r); hwcap&h|hwcap2&h2 != 0 {
			m |= r.feature
		}
	}
	return m
}

// MaskHWCAP clears in AT_HWCAP and AT_HWCAP2 what belongs to features that a
// program shall not use.
func MaskHWCAP(allowed regset.Mask, hwcap, hwcap2 uint64) (uint64, uint64) {
	for _, r := range rules {
		if !allowed.Has(r.feature) {
			h, h2 := hwcapOf(r)
			hwcap &^= h
			hwcap2 &^= h2
		}
	}
	return hwcap, hwcap2
}

// Usable takes off a mask the features that are of no use without others that
// it lacks.
func Usable(m regset.Mask) regset.Mask {
	for _, r := range rules {
		if !m.Has(r.needs) {
			m &^= r.feature
		}
	}
	return m
}

// Untold is the features that are the kernel's to give, and that can be hidden
// from no program.
const Untold = DEBUG | LDT | TLS | LM | IOPERM | LA57

// Enabled is the features whose state components the kernel had enabled for a
// task, used or not: a program learns of them from cpuid.
func Enabled(s *regset.State) regset.Mask {
	x := s.Find(regset.X86_XSTATE)
	if len(x) < xExtended {
		return 0
	}
	var m regset.Mask
	xcr0 := le.Uint64(x[xXCR0:])
	for n, c := range xcomponents {
		if xcr0>>uint(n)&1 != 0 {
			m |= c.feature
		}
	}
	return m
}

// Levels are groups of features by the names that compilers give CPUs: the
// levels of the x86-64 psABI.
var Levels = map[string]regset.Mask{
	"i586":      FPU | CX8,
	"i686":      FPU | CX8 | CMOV,
	"x86-64":    levelV1,
	"x86-64-v2": levelV2,
	"x86-64-v3": levelV3,
	"x86-64-v4": levelV3 | AVX512F | AVX512BW | AVX512CD | AVX512DQ | AVX512VL,
}

const (
	levelV1 = FPU | CX8 | CMOV | MMX | FXSR | SSE | SSE2 | LM
	levelV2 = levelV1 | CX16 | LAHF | POPCNT | SSE3 | SSSE3 | SSE41 | SSE42
	levelV3 = levelV2 | XSAVE | AVX | AVX2 | BMI1 | BMI2 | F16C | FMA | ABM | MOVBE
)

// Tunables names features as glibc.cpu.hwcaps of GLIBC_TUNABLES does (glibc
// manual, Hardware Capability Tunables): with a minus before its name, the C
// library does not use a feature.
var Tunables = []struct {
	Feature regset.Mask
	Name    string
}{
	{SSE3, "SSE3"}, {SSSE3, "SSSE3"}, {SSE41, "SSE4_1"}, {SSE42, "SSE4_2"}, {POPCNT, "POPCNT"}, {MOVBE, "MOVBE"},
	{XSAVE, "XSAVE"}, {XSAVEC, "XSAVEC"}, {AVX, "AVX"}, {AVX2, "AVX2"}, {F16C, "F16C"}, {FMA, "FMA"}, {BMI1, "BMI1"},
	{BMI2, "BMI2"}, {ABM, "LZCNT"}, {RTM, "RTM"}, {AVX512F, "AVX512F"}, {AVX512CD, "AVX512CD"}, {AVX512BW, "AVX512BW"},
	{AVX512DQ, "AVX512DQ"}, {AVX512VL, "AVX512VL"}, {AVX512VBMI2, "AVX512_VBMI2"}, {CMOV, "CMOV"}, {SSE2, "SSE2"},
}
