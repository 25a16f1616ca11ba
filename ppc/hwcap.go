package ppc

import "cr/regset"

// needs lists the features that are of no use without others, in an order in
// which features come after those they need.
var needs = []struct{ feature, needs regset.Mask }{
	{FeatureDFP, FeatureFPU},
	{FeatureVSX, FeatureFPU | FeatureVMX},
	{FeatureVCrypto, FeatureVMX},
	{FeatureIEEE128, FeatureVSX},
	{FeatureMMA, FeatureVSX},
	{FeatureEFPSingle, FeatureSPE},
	{FeatureEFPDouble, FeatureSPE},
}

// Usable takes off a mask the features that are of no use without others that
// it lacks.
func Usable(m regset.Mask) regset.Mask {
	for _, n := range needs {
		if !m.Has(n.needs) {
			m &^= n.feature
		}
	}
	return m
}

// Untold is the features that the auxiliary vector does not tell of, and that
// can be hidden from no program.
func Untold() regset.Mask {
	var m regset.Mask
	for _, f := range features {
		if f.hwcap|f.hwcap2 == 0 {
			m |= f.bit
		}
	}
	return m
}

// Told is the features that the auxiliary vector tells programs of, and that m
// does not take.
func Told(m *regset.Machine, hwcap, hwcap2 uint64) regset.Mask {
	var told regset.Mask
	for _, f := range features {
		if hwcap&f.hwcap|hwcap2&f.hwcap2 != 0 && !available(m, f.bit) {
			told |= f.bit
		}
	}
	return told
}

// Levels are groups of features by the names that compilers give CPUs: what all
// machines of a kind have. Transactional memory is not among it, as many
// machines have it switched off.
var Levels = map[string]regset.Mask{
	"750":     FeatureFPU,
	"7400":    FeatureFPU | FeatureVMX,
	"e500v2":  FeatureSPE | FeatureEFPSingle | FeatureEFPDouble | FeatureBookE | FeatureFPEMU,
	"970":     FeatureFPU | FeatureVMX | FeaturePPC64 | FeaturePOWER4,
	"power4":  FeatureFPU | FeaturePPC64 | FeaturePOWER4,
	"power5":  FeatureFPU | FeaturePPC64 | FeaturePOWER5 | FeatureICSnoop,
	"power5+": FeatureFPU | FeaturePPC64 | FeaturePOWER5Plus | FeatureICSnoop,
	"power6":  levelPOWER6,
	"power7":  levelPOWER7,
	"power8":  levelPOWER8,
	"power9":  levelPOWER9,
	"power10": levelPOWER9 | FeatureARCH3_1 | FeatureMMA | FeatureDEXCR | FeatureHASHKEYR,
}

const (
	levelPOWER6 = FeatureFPU | FeatureVMX | FeaturePPC64 | FeatureARCH2_05 | FeatureDFP | FeatureICSnoop
	levelPOWER7 = levelPOWER6 | FeatureARCH2_06 | FeatureVSX | FeatureDSCR | FeaturePPR
	levelPOWER8 = levelPOWER7 | FeatureARCH2_07 | FeatureTAR | FeatureEBB | FeatureISEL | FeatureVCrypto | FeaturePMU
	levelPOWER9 = levelPOWER8 | FeatureARCH3_00 | FeatureIEEE128 | FeatureDARN | FeatureSCV
)

// platforms are the values of AT_PLATFORM of 64-bit machines by the newest
// instructions that they have, newest first.
var platforms = []struct {
	feature regset.Mask
	name    string
}{
	{FeatureARCH3_1, "power10"},
	{FeatureARCH3_00, "power9"},
	{FeatureARCH2_07, "power8"},
	{FeatureARCH2_06, "power7"},
	{FeatureARCH2_05, "power6"},
	{FeaturePOWER5Plus, "power5+"},
	{FeaturePOWER5, "power5"},
	{FeatureVMX, "ppc970"},
	{FeaturePOWER4, "power4"},
}

// Platform is the AT_PLATFORM of a 64-bit machine with these features
// (arch/powerpc/kernel/cpu_specs_book3s_64.h), empty if there is none.
func Platform(m regset.Mask) string {
	for _, p := range platforms {
		if m.Has(p.feature) {
			return p.name
		}
	}
	return ""
}
