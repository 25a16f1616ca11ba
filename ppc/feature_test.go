package ppc

import (
	"testing"

	"cr/regset"

	"github.com/stretchr/testify/require"
)

func TestFeatures(t *testing.T) {
	var all regset.Mask
	var hwcap, hwcap2 uint64
	names := map[string]bool{}
	last := regset.Mask(0)
	for _, f := range features {
		require.Equal(t, f.bit, f.bit&-f.bit, "%s is one bit", f.name)
		require.Greater(t, uint64(f.bit), uint64(last), "%s: lowest bit first", f.name)
		require.False(t, names[f.name], f.name)
		require.Zero(t, hwcap&f.hwcap|hwcap2&f.hwcap2, "%s: bits have one owner", f.name)
		require.NotEmpty(t, f.doc)
		names[f.name] = true
		last = f.bit
		all |= f.bit
		hwcap |= f.hwcap
		hwcap2 |= f.hwcap2
	}
	require.Len(t, Arch.Features(), len(features))
	require.Equal(t, all, all&(1<<32-1)|Unseen)
	require.Zero(t, Unseen&(1<<32-1))
	require.Equal(t, []string{"fpu", "mma"}, regset.Names(Arch, FeatureFPU|FeatureMMA))

	// Numbers in images stay what they are.
	for f, bit := range map[regset.Mask]uint{FeatureFPU: 0, FeatureHASHKEYR: 11, FeatureFPEMU: 19, FeaturePPC64: 32, FeatureMMA: 56} {
		require.Equal(t, regset.Mask(1)<<bit, f)
	}
}

func TestStandIns(t *testing.T) {
	seen := map[regset.Mask]bool{}
	for _, s := range StandIns {
		require.False(t, seen[s.Uses], featureName(s.Uses))
		seen[s.Uses] = true
		require.True(t, s.Takes.Has(s.Uses), "%s stands in for itself", featureName(s.Uses))
		require.NotEmpty(t, s.Reason)
	}
	for _, f := range features {
		require.True(t, seen[f.bit], "%s has no row", f.name)
	}
	require.Len(t, StandIns, len(features))
}

func TestFromHWCAP(t *testing.T) {
	for _, tt := range []struct {
		name     string
		m        *regset.Machine
		has, not regset.Mask
	}{
		{"power10", power10(),
			FeatureFPU | FeatureVMX | FeatureVSX | FeatureTAR | FeaturePPR | FeatureDSCR | FeatureEBB | FeaturePMU | FeatureDEXCR |
				FeatureHASHKEYR | FeaturePKEY | FeatureDAWR | FeatureDAWR2 | FeatureHWDEBUG | FeatureARCH3_1 | FeatureMMA | FeatureSCV | FeatureDFP,
			FeatureDABR | FeatureSPE | FeatureIAC | FeatureFPEMU | FeaturePOWER4},
		{"power8", power8(), FeatureTM | FeatureDAWR | FeatureARCH2_07 | FeatureEBB, FeatureDAWR2 | FeatureARCH3_00 | FeatureDEXCR | FeatureSCV},
		{"g5", g5(), FeatureFPU | FeatureVMX | FeatureDABR | FeaturePOWER4 | FeaturePPC64, FeatureVSX | FeaturePPR | FeatureTAR | FeatureDSCR | FeatureDAWR},
		{"g4", g4(), FeatureFPU | FeatureVMX | FeatureDABR, FeaturePPC64 | FeatureFPEMU},
		{"e500v2", e500v2(), FeatureSPE | FeatureEFPSingle | FeatureEFPDouble | FeatureBookE | FeatureISEL | FeatureIAC | FeatureDAC | FeatureFPEMU,
			FeatureFPU | FeatureVMX | FeatureDABR},
	} {
		require.Equal(t, regset.Names(Arch, tt.has), regset.Names(Arch, tt.m.Has&tt.has), tt.name)
		require.Empty(t, regset.Names(Arch, tt.m.Has&tt.not), tt.name)
	}
	none := FromHWCAP(regset.PPC64, 0, 0, Info{FPEmulation: true})
	require.Zero(t, none, "no 64-bit kernel emulates an FPU")
	noBreakpoints := FromHWCAP(regset.PPC64, 0, 0, Info{DebugFeatures: DebugDataRange | DebugDAWR})
	require.Zero(t, noBreakpoints, "POWER9: the features of no breakpoints")
}

func TestMaskHWCAP(t *testing.T) {
	const hwcap, hwcap2 = 0xdc0065c2, 0xfe000000 // POWER8
	for _, tt := range []struct {
		name          string
		allowed       regset.Mask
		hwcap, hwcap2 uint64
	}{
		{"all", ^regset.Mask(0), hwcap, hwcap2},
		{"none", 0, 0x84004042, 0},
		{"not vsx", ^FeatureVSX, hwcap &^ 0x80, hwcap2},
		{"not htm", ^FeatureTM, hwcap, hwcap2 &^ 0x41000000},
		{"not vmx, 2.07", ^(FeatureVMX | FeatureARCH2_07), hwcap &^ 0x10000000, hwcap2 &^ 0x80000000},
		{"ppc64 and fpu", FeaturePPC64 | FeatureFPU, 0xcc004042, 0},
	} {
		h, h2 := MaskHWCAP(tt.allowed, hwcap, hwcap2)
		require.Equal(t, tt.hwcap, h, "%s: %#x", tt.name, h)
		require.Equal(t, tt.hwcap2, h2, "%s: %#x", tt.name, h2)
	}
}

// A feature that is masked out is not found again in the masked words.
func TestMaskHWCAPHides(t *testing.T) {
	for _, f := range features {
		h, h2 := MaskHWCAP(^f.bit, 0xffffffff, 0xffffffff)
		require.Zero(t, FromHWCAP(regset.PPC64, h, h2, Info{})&f.bit&^FeaturePPR, f.name)
	}
}
