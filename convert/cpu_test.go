package convert_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/convert"
	"cr/ppc"
	"cr/regset"
	"cr/x86"
)

func TestParseCPU(t *testing.T) {
	for _, test := range []struct {
		m        *regset.Machine
		list     string
		has, not regset.Mask
		platform string
		hidden   []string
		tunables string
		errPart  string
	}{
		{m: power9, list: "all", has: ppc.FeatureVSX | ppc.FeatureSCV},
		{m: power9, list: "-vsx", has: ppc.FeatureVMX | ppc.FeatureARCH3_00, not: ppc.FeatureVSX | ppc.FeatureIEEE128,
			hidden: []string{"vsx", "ieee128"}},
		{m: power9, list: "-vmx", has: ppc.FeatureFPU, not: ppc.FeatureVSX | ppc.FeatureVCrypto | ppc.FeatureVMX},
		{m: power9, list: "power8", has: ppc.FeatureVSX | ppc.FeatureARCH2_07, not: ppc.FeatureARCH3_00 | ppc.FeatureSCV | ppc.FeatureDARN, platform: "power8"},
		{m: power10, list: "power8,-vsx", has: ppc.FeatureVMX, not: ppc.FeatureVSX | ppc.FeatureMMA, platform: "power8"},
		{m: power8, list: "power10", has: ppc.FeatureVSX, not: ppc.FeatureMMA | ppc.FeatureARCH3_1 | ppc.FeatureTM},
		{m: power8, list: "970", has: ppc.FeatureVMX, not: ppc.FeatureVSX | ppc.FeatureARCH2_06, platform: "ppc970"},
		{m: power8, list: "970,htm", has: ppc.FeatureTM, platform: "ppc970"},
		{m: g4, list: "750", has: ppc.FeatureFPU, not: ppc.FeatureVMX, hidden: []string{"vmx"}},
		{m: laptop, list: "-avx", has: x86.SSE42 | x86.BMI2, not: x86.AVX | x86.AVX2 | x86.FMA | x86.F16C,
			hidden: []string{"avx", "f16c", "fma", "avx2"}, tunables: "-AVX,-AVX2,-F16C,-FMA"},
		{m: server, list: "x86-64-v3", has: x86.AVX2, not: x86.AVX512F | x86.AVX512VL},
		{m: power9, list: "", errPart: `no feature is called ""`},
		{m: power9, list: "vsx,-mmx", errPart: `no feature is called "mmx"`},
		{m: power9, list: "-power8", errPart: `no feature is called "power8"`},
		{m: power9, list: "power11", errPart: "groups are 7400, 750, 970, e500v2, power10, power4"},
	} {
		t.Run(test.m.Arch+" "+test.list, func(t *testing.T) {
			c, err := convert.ParseCPU(test.m, test.list)
			if test.errPart != "" {
				require.ErrorIs(t, err, convert.ErrCPU)
				require.ErrorContains(t, err, test.errPart)
				return
			}
			require.NoError(t, err)
			require.True(t, c.Allowed.Has(test.has))
			require.Zero(t, c.Allowed&test.not)
			require.True(t, test.m.Has.Has(c.Allowed))
			require.Equal(t, test.platform, c.Platform)
			require.Equal(t, test.platform, c.BasePlatform)
			if test.hidden != nil {
				require.Equal(t, test.hidden, c.Hidden(test.m))
			}
			if test.tunables != "" {
				require.Equal(t, test.tunables, c.Tunables(test.m))
			}
		})
	}
}

func TestLikeCPU(t *testing.T) {
	c, err := convert.LikeCPU(power9, novsx)
	require.NoError(t, err)
	require.Equal(t, "power8", c.Platform)
	require.Equal(t, power9.Has&novsx.Has, c.Allowed)
	_, err = convert.LikeCPU(power9, server)
	require.ErrorIs(t, err, convert.ErrCPU)
}

// stack is the memory of a new program from sp on.
type stack struct {
	sp uint64
	b  []byte
}

func (s *stack) read(addr uint64, b []byte) error {
	if addr < s.sp || addr+uint64(len(b)) > s.sp+uint64(len(s.b)) {
		return fmt.Errorf("no memory at %#x", addr)
	}
	copy(b, s.b[addr-s.sp:])
	return nil
}

const (
	stackAt   = 0x7ffe1000
	stringsAt = stackAt + 0x800
)

func newStack(abi regset.ABI, list ...uint64) *stack {
	s := &stack{sp: stackAt, b: make([]byte, 0x900)}
	copy(s.b, words(abi, list...))
	copy(s.b[stringsAt-stackAt:], "power10\x00power9\x00tail\x00")
	return s
}

func TestTell(t *testing.T) {
	const hwcap, hwcap2 = 0xdc0065c2, 0xaee60000 // of a POWER10
	cpu, err := convert.LikeCPU(power10, novsx)
	require.NoError(t, err)
	for _, test := range []struct {
		abi           regset.ABI
		hwcap, hwcap2 uint64
	}{
		{regset.PPC64, 0xdc006142, 0xae000000},
		{regset.PPC64LE, 0xdc006142, 0xae000000},
		{regset.PPC, 0xdc006142, 0xae000000}, // told of PPC64, as novsx has it
	} {
		t.Run(test.abi.String(), func(t *testing.T) {
			s := newStack(test.abi, 2, 0x1111, 0x2222, 0, 0x3333, 0,
				6, 4096, 16, hwcap, 15, stringsAt, 24, stringsAt+8, 26, hwcap2, 29, 7, 51, 1, 0, 0, 0xbad)
			addr, auxv, err := convert.Auxv(test.abi, s.sp, s.read)
			require.NoError(t, err)
			require.EqualValues(t, s.sp+6*uint64(test.abi.WordSize()), addr)
			require.Len(t, auxv, 16*test.abi.WordSize())

			told, patches, err := cpu.Tell(test.abi, addr, auxv, s.read)
			require.NoError(t, err)
			require.Equal(t, words(test.abi, 6, 4096, 16, test.hwcap, 15, stringsAt, 24, stringsAt+8, 26, test.hwcap2, 29, 0, 51, 1, 0, 0), told)
			require.Equal(t, []convert.Patch{{stringsAt, []byte("power8\x00\x00")}, {stringsAt + 8, []byte("power8\x00")}, {addr, told}}, patches)
		})
	}
	t.Run("a name too long for its place", func(t *testing.T) {
		s := newStack(regset.PPC64, 0, 0, 0, 15, stringsAt+8, 16, hwcap, 0, 0)
		c := convert.CPU{Allowed: ppc.FeatureFPU, Platform: "power10"}
		addr, auxv, err := convert.Auxv(regset.PPC64, s.sp, s.read)
		require.NoError(t, err)
		told, patches, err := c.Tell(regset.PPC64, addr, auxv, s.read)
		require.NoError(t, err)
		require.Equal(t, words(regset.PPC64, 1, stringsAt+8, 16, 0xcc004042, 0, 0), told)
		require.Len(t, patches, 1)
	})
	t.Run("x86", func(t *testing.T) {
		c, err := convert.ParseCPU(laptop, "-sse2")
		require.NoError(t, err)
		s := newStack(regset.I386, 0, 0, 0, 16, 0x07808111, 26, 2, 15, stringsAt, 0, 0)
		addr, auxv, err := convert.Auxv(regset.I386, s.sp, s.read)
		require.NoError(t, err)
		told, patches, err := c.Tell(regset.I386, addr, auxv, s.read)
		require.NoError(t, err)
		require.Equal(t, words(regset.I386, 16, 0x03808111, 26, 2, 15, stringsAt, 0, 0), told)
		require.Len(t, patches, 1)
	})
}

func TestAuxvHostile(t *testing.T) {
	for name, list := range map[string][]uint64{
		"too many arguments":        {1 << 40},
		"arguments beyond the end":  {300},
		"no end of the arguments":   {1, 0x1111, 0x2222, 0},
		"no end of the environment": {0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStack(regset.X86_64, list...)
			if name == "no end of the environment" {
				for i := 16; i < len(s.b); i++ {
					s.b[i] = 1
				}
			}
			_, _, err := convert.Auxv(regset.X86_64, s.sp, s.read)
			require.Error(t, err)
		})
	}
	t.Run("no end of the vector", func(t *testing.T) {
		s := newStack(regset.X86_64, 0, 0, 0)
		for i := 24; i < len(s.b); i++ {
			s.b[i] = 1
		}
		_, _, err := convert.Auxv(regset.X86_64, s.sp, s.read)
		require.ErrorIs(t, err, convert.ErrStack)
	})
}

func TestMovePointers(t *testing.T) {
	const down = 0x50000000
	const start, end = stackAt, stackAt + 0x900
	before := []uint64{stackAt, // that many arguments
		start, end - 1, 0, start + 8, end, start - 1, 0,
		6, stackAt, 15, stringsAt, 24, 0x1000, 25, stringsAt + 8, 9, stringsAt, 31, stringsAt + 16, 33, start, 0, 0}
	after := []uint64{stackAt,
		start - down, end - 1 - down, 0, start + 8 - down, end, start - 1, 0,
		6, stackAt, 15, stringsAt - down, 24, 0x1000, 25, stringsAt + 8 - down, 9, stringsAt, 31, stringsAt + 16 - down, 33, start, 0, 0}
	for _, abi := range []regset.ABI{regset.PPC, regset.I386, regset.PPC64} {
		b := words(abi, before...)
		convert.MovePointers(abi, b, 8*abi.WordSize(), start, end, down)
		require.Equal(t, words(abi, after...), b)
	}
}

func TestHideCacheBlock(t *testing.T) {
	for abi, want := range map[regset.ABI]uint64{regset.PPC: 1, regset.PPC64: 19, regset.I386: 19} {
		b := words(abi, 6, 19, 19, 128, 20, 128, 0, 0)
		convert.HideCacheBlock(abi, b)
		require.Equal(t, words(abi, 6, 19, want, 128, 20, 128, 0, 0), b)
	}
}
