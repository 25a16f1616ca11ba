package ppc

import (
	"math/bits"

	"cr/regset"
)

// StandIn says which features of a machine can take a feature that a state
// uses.
type StandIn struct {
	Uses   regset.Mask // one bit
	Takes  regset.Mask // any of these will do
	Reason string      // why a machine without them is refused
}

const (
	isa205 = FeatureARCH2_05 | FeatureARCH2_06
	isa200 = FeaturePOWER5 | FeaturePOWER5Plus | isa205
)

// StandIns has a row for every feature. A feature that a state does not use
// needs no row: its set is dropped.
var StandIns = []StandIn{
	{FeatureFPU, FeatureFPU | FeatureFPEMU, "floating point registers are in use"},
	{FeatureVMX, FeatureVMX, "vector registers are in use"},
	{FeatureVSX, FeatureVSX, "low halves of VSX registers are in use"},
	{FeatureSPE, FeatureSPE, "high halves of SPE registers are in use"},
	{FeatureTAR, FeatureTAR, "the target address register is in use"},
	{FeaturePPR, FeaturePPR, "a priority other than the default is set"},
	{FeatureDSCR, FeatureDSCR, "a data stream control other than zero is set"},
	{FeatureEBB, FeatureEBB, "event based branches are in use"},
	{FeaturePMU, FeaturePMU, "performance monitor registers hold values"},
	{FeatureTM, FeatureTM, "transactional memory is in use"},
	{FeatureDEXCR, FeatureDEXCR, "limits on speculation are set"},
	{FeatureHASHKEYR, FeatureHASHKEYR, "hash instructions are in use"},
	{FeaturePKEY, FeaturePKEY, "memory protection keys are in use"},
	{FeatureDABR, FeatureDABR | FeatureDAWR, "a doubleword is watched, which takes a DABR or a DAWR; a BookE DAC watches one address"},
	{FeatureDAWR, FeatureDAWR, "a range is watched"},
	{FeatureDAWR2, FeatureDAWR2, "two ranges are watched"},
	{FeatureDAC, FeatureDAC, "BookE data breakpoints are set"},
	{FeatureIAC, FeatureIAC, "instruction breakpoints are set"},
	{FeatureHWDEBUG, FeatureHWDEBUG, "breakpoints are set"},
	{FeatureFPEMU, FeatureFPU | FeatureFPEMU, "floating point is in use"},

	{FeaturePPC64, FeaturePPC64, "64-bit instructions may be in use"},
	{Feature601, Feature601, "instructions of the 601 may be in use"},
	{Feature4xxMAC, Feature4xxMAC, "multiply-accumulate instructions may be in use"},
	{FeatureEFPSingle, FeatureEFPSingle, "SPE floating point may be in use"},
	{FeatureEFPDouble, FeatureEFPDouble, "SPE double precision floating point may be in use"},
	{FeatureBookE, FeatureBookE, "BookE instructions may be in use"},
	// The kernel gives one level of these only; later ones have the earlier.
	{FeaturePOWER4, FeaturePOWER4 | isa200, "POWER4 instructions may be in use"},
	{FeaturePOWER5, isa200, "POWER5 instructions may be in use"},
	{FeaturePOWER5Plus, FeaturePOWER5Plus | isa205, "POWER5+ instructions may be in use"},
	{FeatureCell, FeatureCell, "instructions of the Cell may be in use"},
	{FeaturePA6T, FeaturePA6T, "instructions of the PA6T may be in use"},
	{FeatureARCH2_05, isa205, "ISA 2.05 instructions may be in use"},
	{FeaturePOWER6X, FeaturePOWER6X, "mffgpr and mftgpr may be in use"},
	{FeatureDFP, FeatureDFP, "decimal floating point may be in use"},
	{FeatureARCH2_06, FeatureARCH2_06, "ISA 2.06 instructions may be in use"},
	{FeatureICSnoop, FeatureICSnoop, "code may be written without flushing the instruction cache"},
	{FeatureARCH2_07, FeatureARCH2_07, "ISA 2.07 instructions may be in use"},
	{FeatureISEL, FeatureISEL, "isel may be in use"},
	{FeatureVCrypto, FeatureVCrypto, "vector cryptography may be in use"},
	{FeatureARCH3_00, FeatureARCH3_00, "ISA 3.0 instructions may be in use"},
	{FeatureIEEE128, FeatureIEEE128, "quad precision floating point may be in use"},
	{FeatureDARN, FeatureDARN, "darn may be in use"},
	{FeatureSCV, FeatureSCV, "system calls by scv may be in use"},
	{FeatureARCH3_1, FeatureARCH3_1, "ISA 3.1 instructions may be in use"},
	{FeatureMMA, FeatureMMA, "matrix multiply assist may be in use"},
}

// available reports whether the machine takes a feature.
func available(m *regset.Machine, f regset.Mask) bool {
	for _, s := range StandIns {
		if s.Uses == f {
			return m.Has&s.Takes != 0
		}
	}
	return false
}

// checkFeatures refuses the features in use that the machine does not take.
func checkFeatures(m *regset.Machine, abi regset.ABI, used regset.Mask) regset.Problems {
	var out regset.Problems
	for _, s := range StandIns {
		if used&s.Uses != 0 && m.Has&s.Takes == 0 {
			out = append(out, &regset.Problem{
				Set:     setName(abi, s.Uses),
				Feature: featureName(s.Uses),
				Reason:  s.Reason + ", and the machine has no " + featureName(s.Uses),
			})
		}
		used &^= s.Uses
	}
	for ; used != 0; used &= used - 1 {
		f := featureName(1 << uint(bits.TrailingZeros64(uint64(used))))
		out = append(out, &regset.Problem{Feature: f, Reason: "uses an unknown feature, " + f})
	}
	return out
}

// featureName names one bit.
func featureName(f regset.Mask) string { return regset.Names(arch{}, f)[0] }

// setName is the name of the set that holds a feature's state, if it has one.
func setName(abi regset.ABI, f regset.Mask) string {
	for _, s := range sets {
		if s.feature == f && s.has(abi) {
			return s.name
		}
	}
	return ""
}
