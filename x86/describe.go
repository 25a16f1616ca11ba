package x86

import "cr/regset"

// Leaf is what the cpuid instruction gives for EAX = Fn and ECX = Sub.
type Leaf struct{ Fn, Sub, EAX, EBX, ECX, EDX uint32 }

// output is a register of a Leaf.
type output int

const (
	eax output = iota
	ebx
	ecx
	edx
)

func (l Leaf) out(r output) uint32 { return [...]uint32{l.EAX, l.EBX, l.ECX, l.EDX}[r] }

// cpuidBit is one bit of a leaf.
type cpuidBit struct {
	fn, sub uint32
	reg     output
	bit     uint
}

// rule says how cpuid shows a feature: all of the bits must be set, XCR0 must
// have the components, and the CPU the features named in needs.
type rule struct {
	feature regset.Mask
	needs   regset.Mask
	xcr0    uint64
	bits    []cpuidBit
}

const (
	xcr0AVX    = xLegacy | 1<<xAVX
	xcr0MPX    = 1<<xBndRegs | 1<<xBndCSR
	xcr0AVX512 = xcr0AVX | 1<<xOpmask | 1<<xZMMHi256 | 1<<xHi16ZMM
	xcr0AMX    = 1<<xTileCfg | 1<<xTileData

	extended = 0x80000000 // first leaf of the extended range
	xsaveFn  = 0xd
)

// rules is in an order in which features come after those they need (Intel SDM
// volume 2, CPUID).
var rules = []rule{
	{FPU, 0, 0, []cpuidBit{{1, 0, edx, 0}}},
	{CX8, 0, 0, []cpuidBit{{1, 0, edx, 8}}},
	{CMOV, 0, 0, []cpuidBit{{1, 0, edx, 15}}},
	{MMX, 0, 0, []cpuidBit{{1, 0, edx, 23}}},
	{FXSR, 0, 0, []cpuidBit{{1, 0, edx, 24}}},
	{SSE, FXSR, 0, []cpuidBit{{1, 0, edx, 25}}},
	{SSE2, SSE, 0, []cpuidBit{{1, 0, edx, 26}}},
	{SSE3, SSE2, 0, []cpuidBit{{1, 0, ecx, 0}}},
	{PCLMULQDQ, SSE2, 0, []cpuidBit{{1, 0, ecx, 1}}},
	{SSSE3, SSE2, 0, []cpuidBit{{1, 0, ecx, 9}}},
	{CX16, 0, 0, []cpuidBit{{1, 0, ecx, 13}}},
	{SSE41, SSE2, 0, []cpuidBit{{1, 0, ecx, 19}}},
	{SSE42, SSE2, 0, []cpuidBit{{1, 0, ecx, 20}}},
	{MOVBE, 0, 0, []cpuidBit{{1, 0, ecx, 22}}},
	{POPCNT, 0, 0, []cpuidBit{{1, 0, ecx, 23}}},
	{AES, SSE2, 0, []cpuidBit{{1, 0, ecx, 25}}},
	{XSAVE, FXSR, xLegacy, []cpuidBit{{1, 0, ecx, 26}, {1, 0, ecx, 27}}},
	{AVX, XSAVE, xcr0AVX, []cpuidBit{{1, 0, ecx, 28}}},
	{FMA, AVX, 0, []cpuidBit{{1, 0, ecx, 12}}},
	{F16C, AVX, 0, []cpuidBit{{1, 0, ecx, 29}}},
	{RDRAND, 0, 0, []cpuidBit{{1, 0, ecx, 30}}},
	{FSGSBASE, 0, 0, []cpuidBit{{7, 0, ebx, 0}}},
	{BMI1, 0, 0, []cpuidBit{{7, 0, ebx, 3}}},
	{AVX2, AVX, 0, []cpuidBit{{7, 0, ebx, 5}}},
	{BMI2, 0, 0, []cpuidBit{{7, 0, ebx, 8}}},
	{RTM, 0, 0, []cpuidBit{{7, 0, ebx, 11}}},
	{MPX, XSAVE, xcr0MPX, []cpuidBit{{7, 0, ebx, 14}}},
	{AVX512F, AVX, xcr0AVX512, []cpuidBit{{7, 0, ebx, 16}}},
	{AVX512DQ, AVX512F, 0, []cpuidBit{{7, 0, ebx, 17}}},
	{RDSEED, 0, 0, []cpuidBit{{7, 0, ebx, 18}}},
	{ADX, 0, 0, []cpuidBit{{7, 0, ebx, 19}}},
	{AVX512IFMA, AVX512F, 0, []cpuidBit{{7, 0, ebx, 21}}},
	{CLFLUSHOPT, 0, 0, []cpuidBit{{7, 0, ebx, 23}}},
	{CLWB, 0, 0, []cpuidBit{{7, 0, ebx, 24}}},
	{AVX512CD, AVX512F, 0, []cpuidBit{{7, 0, ebx, 28}}},
	{SHA, SSE2, 0, []cpuidBit{{7, 0, ebx, 29}}},
	{AVX512BW, AVX512F, 0, []cpuidBit{{7, 0, ebx, 30}}},
	{AVX512VL, AVX512F, 0, []cpuidBit{{7, 0, ebx, 31}}},
	{AVX512VBMI, AVX512F, 0, []cpuidBit{{7, 0, ecx, 1}}},
	{PKU, XSAVE, 1 << xPKRU, []cpuidBit{{7, 0, ecx, 3}, {7, 0, ecx, 4}}},
	{AVX512VBMI2, AVX512F, 0, []cpuidBit{{7, 0, ecx, 6}, {7, 0, ecx, 12}, {7, 0, ecx, 14}}},
	{SHSTK, XSAVE, 0, []cpuidBit{{7, 0, ecx, 7}}},
	{GFNI, SSE2, 0, []cpuidBit{{7, 0, ecx, 8}}},
	{VAES, AVX, 0, []cpuidBit{{7, 0, ecx, 9}}},
	{VPCLMULQDQ, AVX, 0, []cpuidBit{{7, 0, ecx, 10}}},
	{AVX512VNNI, AVX512F, 0, []cpuidBit{{7, 0, ecx, 11}}},
	{LA57, 0, 0, []cpuidBit{{7, 0, ecx, 16}}},
	{RDPID, 0, 0, []cpuidBit{{7, 0, ecx, 22}}},
	{AVX512FP16, AVX512F, 0, []cpuidBit{{7, 0, edx, 23}}},
	{AMX, XSAVE, xcr0AMX, []cpuidBit{{7, 0, edx, 22}, {7, 0, edx, 24}, {7, 0, edx, 25}}},
	{AVXVNNI, AVX, 0, []cpuidBit{{7, 1, eax, 4}}},
	{AVX512BF16, AVX512F, 0, []cpuidBit{{7, 1, eax, 5}}},
	{APX, XSAVE, 1 << xAPX, []cpuidBit{{7, 1, edx, 21}}},
	{XSAVEOPT, XSAVE, 0, []cpuidBit{{xsaveFn, 1, eax, 0}}},
	{XSAVEC, XSAVE, 0, []cpuidBit{{xsaveFn, 1, eax, 1}}},
	{LAHF, 0, 0, []cpuidBit{{extended + 1, 0, ecx, 0}}},
	{ABM, 0, 0, []cpuidBit{{extended + 1, 0, ecx, 5}}},
	{RDTSCP, 0, 0, []cpuidBit{{extended + 1, 0, edx, 27}}},
	{LM, 0, 0, []cpuidBit{{extended + 1, 0, edx, 29}}},
}

// Describe tells a machine's features, the state components that its tasks may
// use and their places in an NT_X86_XSTATE set, from the leaves of cpuid and the
// register XCR0 (0 if the kernel has not enabled XSAVE).
//
// cpuid does not show whether the kernel lets tasks use SHSTK (user_shstk in
// /proc/cpuinfo), FSGSBASE (bit 1 of AT_HWCAP2), LA57 (la57 in /proc/cpuinfo)
// and LDT (modify_ldt fails with ENOSYS): the caller takes those off the mask
// that it does not.
func Describe(leaves []Leaf, xcr0 uint64) (has regset.Mask, xfeatures uint64, components []regset.XComponent) {
	for _, l := range leaves {
		if l.Fn == xsaveFn && l.Sub == 0 {
			xfeatures = xcr0 & (uint64(l.EDX)<<32 | uint64(l.EAX))
		}
	}
	has = DEBUG | LDT | TLS
	for _, r := range rules {
		if has.Has(r.needs) && xfeatures&r.xcr0 == r.xcr0 && allSet(leaves, r.bits) {
			has |= r.feature
		}
	}
	if !has.Has(XSAVE) {
		return has, 0, nil
	}
	for _, l := range leaves {
		const supervisor = 1 // bit of ECX
		if l.Fn == xsaveFn && l.Sub > xSSE && l.Sub < xMax &&
			xfeatures>>l.Sub&1 != 0 && l.ECX&supervisor == 0 {
			components = append(components, regset.XComponent{
				Number: int(l.Sub), Offset: int(l.EBX), Size: int(l.EAX),
			})
		}
	}
	return has, xfeatures, components
}

func allSet(leaves []Leaf, bits []cpuidBit) bool {
	for _, b := range bits {
		set := false
		for _, l := range leaves {
			if l.Fn == b.fn && l.Sub == b.sub {
				set = l.out(b.reg)>>b.bit&1 != 0
			}
		}
		if !set {
			return false
		}
	}
	return true
}
