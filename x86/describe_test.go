package x86

import (
	"testing"

	"cr/regset"

	"github.com/stretchr/testify/require"
)

// serverLeaves are those of a server, cut down to what Describe looks at.
func serverLeaves() []Leaf {
	return []Leaf{
		{Fn: 1, EDX: 1<<0 | 1<<8 | 1<<15 | 1<<23 | 1<<24 | 1<<25 | 1<<26,
			ECX: 1<<0 | 1<<9 | 1<<12 | 1<<19 | 1<<20 | 1<<23 | 1<<26 | 1<<27 | 1<<28},
		{Fn: 7, EBX: 1<<0 | 1<<5 | 1<<16, ECX: 1<<3 | 1<<4, EDX: 1<<22 | 1<<24 | 1<<25},
		{Fn: 7, Sub: 1, EAX: 1 << 4},
		{Fn: 0xd, EAX: 0x602e7, EDX: 0},
		{Fn: 0xd, Sub: 1, EAX: 0xf},
		{Fn: 0xd, Sub: 2, EAX: 256, EBX: 576},
		{Fn: 0xd, Sub: 5, EAX: 64, EBX: 1088},
		{Fn: 0xd, Sub: 6, EAX: 512, EBX: 1152},
		{Fn: 0xd, Sub: 7, EAX: 1024, EBX: 1664},
		{Fn: 0xd, Sub: 8, EAX: 128, ECX: 1},
		{Fn: 0xd, Sub: 9, EAX: 8, EBX: 2688},
		{Fn: 0xd, Sub: 11, EAX: 16, ECX: 1},
		{Fn: 0xd, Sub: 17, EAX: 64, EBX: 2752, ECX: 2},
		{Fn: 0xd, Sub: 18, EAX: 8192, EBX: 2816, ECX: 6},
		{Fn: 0x80000001, ECX: 1<<0 | 1<<5, EDX: 1<<27 | 1<<29},
	}
}

func TestDescribe(t *testing.T) {
	const always = DEBUG | LDT | TLS
	const fx = always | FPU | CX8 | CMOV | MMX | FXSR | SSE | SSE2 | SSE3 | SSSE3 | SSE41 | SSE42 | POPCNT |
		FSGSBASE | LAHF | ABM | RDTSCP | LM
	const avx = fx | XSAVE | AVX | FMA | AVX2 | AVXVNNI | XSAVEOPT | XSAVEC
	for _, c := range []struct {
		name       string
		leaves     []Leaf
		xcr0       uint64
		has        regset.Mask
		xfeatures  uint64
		components []int
	}{
		{"all enabled", serverLeaves(), 0x602e7, avx | AVX512F | PKU | AMX, 0x602e7, []int{2, 5, 6, 7, 9, 17, 18}},
		{"kernel without AVX-512 and AMX", serverLeaves(), 0x207, avx | PKU, 0x207, []int{2, 9}},
		{"AVX-512 in part", serverLeaves(), 0x67, avx, 0x67, []int{2, 5, 6}},
		{"XCR0 beyond the CPU", serverLeaves(), ^uint64(0), avx | AVX512F | PKU | AMX, 0x602e7, []int{2, 5, 6, 7, 9, 17, 18}},
		{"kernel without AVX", serverLeaves(), 3, fx | XSAVE | XSAVEOPT | XSAVEC, 3, nil},
		{"kernel without XSAVE", serverLeaves(), 0, fx, 0, nil},
		{"Pentium", []Leaf{{Fn: 1, EDX: 1<<0 | 1<<8}}, 0, always | FPU | CX8, 0, nil},
		{"nothing", nil, 7, always, 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			has, xfeatures, components := Describe(c.leaves, c.xcr0)
			require.Equal(t, regset.Names(Arch, c.has), regset.Names(Arch, has))
			require.Equal(t, c.xfeatures, xfeatures)
			var numbers []int
			for _, x := range components {
				numbers = append(numbers, x.Number)
				require.Equal(t, layoutIntel[x.Number], place{x.Offset, x.Size})
			}
			require.Equal(t, c.components, numbers)
		})
	}
}

// Every feature but those that are no property of the CPU has its rule, behind
// the rules of those it needs.
func TestRules(t *testing.T) {
	var seen regset.Mask
	for _, r := range rules {
		require.True(t, seen.Has(r.needs), "%v", regset.Names(Arch, r.feature))
		require.Zero(t, seen&r.feature, "%v", regset.Names(Arch, r.feature))
		require.NotEmpty(t, r.bits)
		seen |= r.feature
	}
	var all regset.Mask
	for _, f := range features {
		all |= f.Bit
	}
	require.Equal(t, []string{"debug", "ldt", "tls", "ioperm"}, regset.Names(Arch, all&^seen))
}
