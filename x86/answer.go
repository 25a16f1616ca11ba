package x86

import "cr/regset"

// alone are bits of cpuid of instructions that are no feature of their own, and
// that go where the one goes whose registers they work on; and those by which
// CPUs of AMD say once more what leaf 1 says (AMD64 Architecture Programmer's
// Manual volume 3, appendix E; Intel SDM volume 2, CPUID).
var alone = []rule{
	{FPU, 0, 0, []cpuidBit{{extended + 1, 0, edx, 0}}},
	{CX8, 0, 0, []cpuidBit{{extended + 1, 0, edx, 8}}},
	{CMOV, 0, 0, []cpuidBit{{extended + 1, 0, edx, 15}}},
	{MMX, 0, 0, []cpuidBit{{extended + 1, 0, edx, 22}, {extended + 1, 0, edx, 23}, {extended + 1, 0, edx, 30}, {extended + 1, 0, edx, 31}}},
	{FXSR, 0, 0, []cpuidBit{{extended + 1, 0, edx, 24}, {extended + 1, 0, edx, 25}}},
	{SSE2, 0, 0, []cpuidBit{{extended + 1, 0, ecx, 6}}},                             // SSE4A
	{AVX, 0, 0, []cpuidBit{{extended + 1, 0, ecx, 11}, {extended + 1, 0, ecx, 16}}}, // XOP, FMA4
	{AVX2, 0, 0, []cpuidBit{{7, 1, eax, 0}, {7, 1, eax, 1}, {7, 1, eax, 2}}},        // SHA512, SM3, SM4
	{AVX2, 0, 0, []cpuidBit{{7, 1, eax, 23}, {7, 1, edx, 4}, {7, 1, edx, 5}}},       // AVX-IFMA, AVX-VNNI-INT8, AVX-NE-CONVERT
	{AVX2, 0, 0, []cpuidBit{{7, 1, edx, 10}}},                                       // AVX-VNNI-INT16
	{AVX512F, 0, 0, []cpuidBit{{7, 0, ebx, 26}, {7, 0, ebx, 27}}},                   // AVX512PF, AVX512ER
	{AVX512F, 0, 0, []cpuidBit{{7, 0, edx, 2}, {7, 0, edx, 3}, {7, 0, edx, 8}}},     // 4VNNIW, 4FMAPS, VP2INTERSECT
	{AVX512F, 0, 0, []cpuidBit{{7, 1, edx, 19}}},                                    // AVX10
	{AMX, 0, 0, []cpuidBit{{7, 1, eax, 21}, {7, 1, edx, 8}}},                        // AMX-FP16, AMX-COMPLEX
	{RTM, 0, 0, []cpuidBit{{7, 0, ebx, 4}}},                                         // HLE
}

// leavesOf are leaves that say nothing but how large the parts of a feature are.
var leavesOf = []struct {
	feature regset.Mask
	fn      uint32
}{
	{XSAVE, xsaveFn}, {AMX, 0x1d}, {AMX, 0x1e}, {AVX512F, 0x24},
}

// Answer is what cpuid is to say to a task that shall see no more than the given
// features: what the CPU says without the bits of others. It says of XSAVE which
// components there are for a task to use, but leaves the sizes of the area, and
// the places of components, as they are: XCR0 has the others all the same, which
// XGETBV shows and XSAVE writes.
func Answer(allowed regset.Mask, l Leaf) Leaf {
	for _, table := range [][]rule{rules, alone} {
		for _, r := range table {
			if allowed.Has(r.feature) {
				continue
			}
			for _, b := range r.bits {
				if b.fn == l.Fn && b.sub == subleaf(l) {
					*l.at(b.reg) &^= 1 << b.bit
				}
			}
		}
	}
	for _, o := range leavesOf {
		if l.Fn == o.fn && !allowed.Has(o.feature) {
			return Leaf{Fn: l.Fn, Sub: l.Sub}
		}
	}
	if l.Fn == xsaveFn && l.Sub == 0 {
		hidden := uint64(0)
		for n, c := range xcomponents {
			if !allowed.Has(c.feature) {
				hidden |= 1 << uint(n)
			}
		}
		l.EAX &^= uint32(hidden)
		l.EDX &^= uint32(hidden >> 32)
	}
	return l
}

// subleaf is the number in ECX, 0 where the leaf has no subleaves.
func subleaf(l Leaf) uint32 {
	if l.Fn == hwcapLeaf || l.Fn >= extended {
		return 0
	}
	return l.Sub
}

func (l *Leaf) at(r output) *uint32 { return [...]*uint32{&l.EAX, &l.EBX, &l.ECX, &l.EDX}[r] }

// TellsProcessor reports whether a leaf differs between the processors of a
// machine: it has the number of the one, or what kind of core it is.
func TellsProcessor(fn uint32) bool {
	switch fn {
	case hwcapLeaf, 0xb, 0x1a, 0x1f, extended + 0x1e:
		return true
	}
	return false
}

// CPUID is the instruction.
var CPUID = []byte{0x0f, 0xa2}

// Asked is what a task that is about to execute cpuid asks for.
func Asked(prstatus []byte) (fn, sub uint32, ok bool) {
	g, ok := gprsOf(prstatus)
	if !ok {
		return 0, 0, false
	}
	return uint32(g.get(g.ax)), uint32(g.get(g.cx)), true
}

// SetAnswer takes a task behind a cpuid, with what it has said.
func SetAnswer(prstatus []byte, l Leaf) {
	g, ok := gprsOf(prstatus)
	if !ok {
		return
	}
	g.set(g.ax, uint64(l.EAX))
	g.set(g.bx, uint64(l.EBX))
	g.set(g.cx, uint64(l.ECX))
	g.set(g.dx, uint64(l.EDX))
	g.set(g.ip, g.get(g.ip)+uint64(len(CPUID)))
}
