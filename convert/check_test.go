package convert_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/convert"
	"cr/image"
	"cr/image/imagetest"
	"cr/regset"
	"cr/x86"
)

// moves are images and machines that they are taken to.
var moves = []struct {
	name    string
	img     *image.Image
	to      *regset.Machine
	reason  string // "" if the machine takes the image
	foreign bool
	warning string // "" for none
}{
	{name: "power9 to power8", img: made(power9, regset.PPC64, set(regset.PPC_VSX, 256, 3, 1)), to: power8,
		warning: "arch_3_00, ieee128, darn, scv"},
	{name: "power8 to power9", img: made(power8, regset.PPC64, vmx(1)), to: power9, warning: "htm"},
	{name: "power10 to power9", img: made(power10, regset.PPC64, vmx(1)), to: power9, warning: "arch_3_1, mma"},
	{name: "power8 to g5, vsx used", img: made(power8, regset.PPC64, set(regset.PPC_VSX, 256, 3, 1)), to: g5,
		reason: "pid 101: NT_PPC_VSX: low halves of VSX registers are in use, and the machine has no vsx", warning: "vsx"},
	{name: "power8 to g5, vsx not used", img: made(power8, regset.PPC64, vmx(1), set(regset.PPC_VSX, 256, 0, 0)), to: g5, warning: "vsx"},
	{name: "power8 to novsx, used", img: made(power8, regset.PPC64, set(regset.PPC_VSX, 256, 3, 1)), to: novsx,
		reason: "pid 101: NT_PPC_VSX: low halves", warning: "vsx"},
	{name: "power8 to novsx, not used", img: made(power8, regset.PPC64), to: novsx, warning: "vsx, dfp"},
	{name: "power8 told as novsx", img: made(novsx, regset.PPC64), to: novsx},
	{name: "g4 to g3, vmx used", img: made(g4, regset.PPC, vmx(1)), to: g3,
		reason: "pid 101: NT_PPC_VMX: vector registers are in use, and the machine has no vmx", warning: "vmx"},
	{name: "g4 to g3, vmx not used", img: made(g4, regset.PPC, vmx(0)), to: g3, warning: "vmx"},
	{name: "g3 to g4", img: made(g3, regset.PPC), to: g4},
	{name: "ppc task of ppc64 to ppc", img: made(novsx, regset.PPC, vmx(1)), to: g4, warning: "tar"},
	{name: "ppc to ppc64", img: made(g4, regset.PPC, vmx(1)), to: power8},
	{name: "ppc64 to ppc", img: made(power8, regset.PPC64), to: g4, foreign: true,
		reason: "pid 100, 101, 102: a task of ABI ppc64; the machine's kernel runs ppc"},
	{name: "ppc64 to x86_64", img: made(power8, regset.PPC64), to: server, foreign: true, reason: "the machine's kernel runs x86_64, i386"},
	{name: "ppc64 to ppc64le", img: made(power8, regset.PPC64LE), to: power8, foreign: true, reason: "ABI ppc64le"},

	{name: "avx to avx", img: made(laptop, regset.X86_64, xstate(7, 7)), to: server},
	{name: "avx512 to avx", img: made(server, regset.X86_64, xstate(0xe7, 0xe7)), to: laptop,
		reason: "pid 101: NT_X86_XSTATE: Hi16_ZMM: is in use, and the machine has no avx512f", warning: ""},
	{name: "avx512 unused to avx", img: made(server, regset.X86_64, xstate(0xe7, 7)), to: laptop, warning: ""},
	{name: "avx to none", img: made(laptop, regset.X86_64, xstate(7, 7)), to: nehalem,
		reason: "pid 101: NT_X86_XSTATE: YMM_Hi128: is in use, and the machine has no avx"},
	{name: "avx unused to none", img: made(laptop, regset.X86_64, xstate(7, 3)), to: nehalem},
	{name: "i386 to x86_64", img: made(pentium, regset.I386), to: laptop},
	{name: "i386 task of x86_64 to i386", img: made(laptop, regset.I386), to: pentium},
	{name: "x86_64 to i386", img: made(laptop, regset.X86_64), to: pentium, foreign: true, reason: "a task of ABI x86_64"},
}

func TestCheck(t *testing.T) {
	for _, test := range moves {
		t.Run(test.name, func(t *testing.T) {
			require.NoError(t, test.img.Validate())
			got := convert.Check(test.to, test.img)
			states, err := convert.Fit(test.to, test.img)
			if test.reason == "" {
				require.Empty(t, got)
				require.NoError(t, err)
				require.Len(t, states, len(test.img.Tasks))
			} else {
				require.NotEmpty(t, got)
				require.Contains(t, got.Error(), test.reason)
				require.Equal(t, error(got), err)
				require.Equal(t, test.foreign, errors.Is(err, convert.ErrForeign))
				var p *regset.Problem
				require.Equal(t, !test.foreign, errors.As(err, &p))
			}
			if test.foreign {
				require.Empty(t, convert.Warnings(test.to, test.img))
				return
			}
			warnings := convert.Warnings(test.to, test.img)
			if test.warning == "" {
				require.Empty(t, warnings, "%v", warnings)
			} else {
				require.Contains(t, warnings.Error(), test.warning)
			}
		})
	}
}

// TestCheckWarnsOfXSAVE: what cpuid told a task of is known where its registers
// are of an XSAVE area.
func TestCheckWarnsOfXSAVE(t *testing.T) {
	img := made(server, regset.X86_64, xstate(0xe7, 3))
	leader := img.CPUOf(imagetest.Root)
	leader.State.Put(regset.X86_XSTATE, xstate(0xe7, 3).Data)
	require.Empty(t, convert.Check(nehalem, img))
	require.ErrorContains(t, convert.Warnings(nehalem, img), "pid 100: was told of avx, avx512f, which the machine lacks")
}

// TestCheckWarnsOfTold: what cr run --cpu lets cpuid tell is known exactly.
func TestCheckWarnsOfTold(t *testing.T) {
	img := made(server, regset.X86_64, xstate(0xe7, 3))
	img.CPUOf(imagetest.Root).State.Put(regset.X86_XSTATE, xstate(0xe7, 3).Data)
	for _, p := range img.Processes {
		p.Told = nehalem.Has
	}
	require.Empty(t, convert.Warnings(nehalem, img))
	img.Process(imagetest.Root).Told |= x86.RDSEED
	require.ErrorContains(t, convert.Warnings(nehalem, img), "pid 100: was told of rdseed, which the machine lacks")
}

// TestCheckWarnsOfCacheBlocks: what dcbz clears is not the same everywhere.
func TestCheckWarnsOfCacheBlocks(t *testing.T) {
	img := made(g3, regset.PPC)
	for _, mm := range img.MMs {
		mm.Auxv = words(regset.PPC, 19, 32, 16, g3.HWCAP, 0, 0)
	}
	for block, want := range map[int]string{
		0: "", 32: "",
		128: "pid 100, 102: was told that cache blocks are of 32 bytes, those of the machine are of 128; it fails if it clears memory with dcbz",
	} {
		m := *g4
		m.CacheBlock = block
		got := convert.Warnings(&m, img)
		if want == "" {
			require.Empty(t, got)
			continue
		}
		require.ErrorContains(t, got, want)
	}
}

func TestCheckMachine(t *testing.T) {
	t.Run("page size", func(t *testing.T) {
		big := *power8
		big.PageSize = 65536
		got := convert.Check(&big, made(power8, regset.PPC64))
		require.ErrorIs(t, got, convert.ErrForeign)
		require.EqualError(t, got, "pages are of 4096 bytes, those of the machine of 65536: the machine has no such tasks")
	})
	t.Run("namespaces", func(t *testing.T) {
		img := made(power8, regset.PPC64)
		require.True(t, img.OwnNamespaces().Has(image.NewUTS))
		with := *power8
		for _, kinds := range [][]string{nil, {"net", "ipc", "uts", "user", "mnt"}} {
			with.Namespaces = kinds
			require.Empty(t, convert.Check(&with, img))
		}
		with.Namespaces = []string{}
		got := convert.Check(&with, img)
		require.ErrorIs(t, got, convert.ErrForeign)
		require.ErrorContains(t, got, "a namespace of kind UTS for themselves, and the machine can make none")
	})
	t.Run("address space", func(t *testing.T) {
		img := made(power8, regset.PPC)
		for _, mm := range img.MMs {
			last := &mm.VMAs[len(mm.VMAs)-1]
			last.Start, last.End = 0xffe00000, 0xffe21000
		}
		require.NoError(t, img.Validate())
		require.Empty(t, convert.Check(power9, img))
		got := convert.Check(g4, img)
		require.ErrorIs(t, got, convert.ErrForeign)
		require.ErrorContains(t, got, "pid 100, 102: [stack] is at 0xffe00000-0xffe21000, and the memory of ppc tasks ends at 0xc0000000 on the machine")
	})
	t.Run("many tasks share a line", func(t *testing.T) {
		img := made(power8, regset.PPC64, set(regset.PPC_VSX, 256, 3, 1))
		for i := uint32(0); i < 9; i++ {
			c := *img.CPUOf(imagetest.Thread)
			c.TID = 200 + i
			img.CPUs = append(img.CPUs, &c)
		}
		got := convert.Check(g5, img)
		require.Len(t, got, 1)
		require.Contains(t, got.Error(), "pid 101, 200, 201, 202 and 6 more: NT_PPC_VSX")
	})
}
