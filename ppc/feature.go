package ppc

import "cr/regset"

// Features with registers that a task may hold values in. The numbers are part
// of the image format.
const (
	FeatureFPU regset.Mask = 1 << iota
	FeatureVMX
	FeatureVSX
	FeatureSPE
	FeatureTAR
	FeaturePPR
	FeatureDSCR
	FeatureEBB
	FeaturePMU
	FeatureTM
	FeatureDEXCR
	FeatureHASHKEYR
	FeaturePKEY
	FeatureDABR
	FeatureDAWR
	FeatureDAWR2
	FeatureDAC
	FeatureIAC
	FeatureHWDEBUG
	FeatureFPEMU
)

// Features that are instructions only: no register tells that a task used
// them.
const (
	FeaturePPC64 regset.Mask = 1 << (iota + 32)
	Feature601
	Feature4xxMAC
	FeatureEFPSingle
	FeatureEFPDouble
	FeatureBookE
	FeaturePOWER4
	FeaturePOWER5
	FeaturePOWER5Plus
	FeatureCell
	FeaturePA6T
	FeatureARCH2_05
	FeaturePOWER6X
	FeatureDFP
	FeatureARCH2_06
	FeatureICSnoop
	FeatureARCH2_07
	FeatureISEL
	FeatureVCrypto
	FeatureARCH3_00
	FeatureIEEE128
	FeatureDARN
	FeatureSCV
	FeatureARCH3_1
	FeatureMMA
)

// Unseen is all of the latter: what Arch.Used cannot find in a state, but for
// decimal rounding modes and tasks caught in scv.
const Unseen = FeatureMMA<<1 - FeaturePPC64

// feature is a row of the table of features.
type feature struct {
	bit  regset.Mask
	name string
	doc  string

	// Bits of AT_HWCAP and AT_HWCAP2 that tell programs of the feature
	// (asm/cputable.h). Bits that no feature has are of no use to a program
	// that wants to stay movable: they say what the machine is, not what it
	// can do.
	hwcap, hwcap2 uint64
}

// features is the table of features, lowest bit first. The names are those of
// the C library's LD_SHOW_AUXV where it has one.
var features = []feature{
	{FeatureFPU, "fpu", "floating point", 0x08000000, 0},
	{FeatureVMX, "vmx", "AltiVec vector unit", 0x10000000, 0},
	{FeatureVSX, "vsx", "vector-scalar extension", 0x00000080, 0},
	{FeatureSPE, "spe", "signal processing engine", 0x00800000, 0},
	{FeatureTAR, "tar", "target address register", 0, 0x04000000},
	{FeaturePPR, "ppr", "program priority register", 0, 0},
	{FeatureDSCR, "dscr", "data stream control register", 0, 0x20000000},
	{FeatureEBB, "ebb", "event based branches", 0, 0x10000000},
	{FeaturePMU, "pmu", "performance monitor registers of programs", 0, 0},
	{FeatureTM, "htm", "transactional memory", 0, 0x41080000},
	{FeatureDEXCR, "dexcr", "dynamic execution control register", 0, 0},
	{FeatureHASHKEYR, "hashkeyr", "key of the hash instructions", 0, 0},
	{FeaturePKEY, "pkey", "memory protection keys", 0, 0},
	{FeatureDABR, "dabr", "data breakpoint on one doubleword", 0, 0},
	{FeatureDAWR, "dawr", "data breakpoint on a range", 0, 0},
	{FeatureDAWR2, "dawr2", "second data breakpoint on a range", 0, 0},
	{FeatureDAC, "dac", "data breakpoints of BookE", 0, 0},
	{FeatureIAC, "iac", "instruction breakpoints of BookE", 0, 0},
	{FeatureHWDEBUG, "hwdebug", "breakpoints by PPC_PTRACE_SETHWDEBUG", 0, 0},
	{FeatureFPEMU, "fpemu", "floating point by the kernel's emulation", 0, 0},

	{FeaturePPC64, "ppc64", "64-bit instructions", 0x40000000, 0},
	{Feature601, "ppc601", "instructions of the 601", 0x20000000, 0},
	{Feature4xxMAC, "4xxmac", "multiply-accumulate of the 4xx", 0x02000000, 0},
	{FeatureEFPSingle, "efpsingle", "SPE single precision floating point", 0x00400000, 0},
	{FeatureEFPDouble, "efpdouble", "SPE double precision floating point", 0x00200000, 0},
	{FeatureBookE, "booke", "BookE instructions", 0x00008000, 0},
	{FeaturePOWER4, "power4", "POWER4 instructions", 0x00080000, 0},
	{FeaturePOWER5, "power5", "POWER5 instructions", 0x00040000, 0},
	{FeaturePOWER5Plus, "power5+", "POWER5+ instructions", 0x00020000, 0},
	{FeatureCell, "cellbe", "instructions of the Cell", 0x00010000, 0},
	{FeaturePA6T, "pa6t", "instructions of the PA6T", 0x00000800, 0},
	{FeatureARCH2_05, "arch_2_05", "Power ISA 2.05", 0x00001000, 0},
	{FeaturePOWER6X, "power6x", "POWER6 mffgpr and mftgpr", 0x00000200, 0},
	{FeatureDFP, "dfp", "decimal floating point", 0x00000400, 0},
	{FeatureARCH2_06, "arch_2_06", "Power ISA 2.06", 0x00000100, 0},
	{FeatureICSnoop, "ic_snoop", "instruction cache that snoops stores", 0x00002000, 0},
	{FeatureARCH2_07, "arch_2_07", "Power ISA 2.07", 0, 0x80000000},
	{FeatureISEL, "isel", "integer select", 0, 0x08000000},
	{FeatureVCrypto, "vcrypto", "vector cryptography", 0, 0x02000000},
	{FeatureARCH3_00, "arch_3_00", "Power ISA 3.0", 0, 0x00800000},
	{FeatureIEEE128, "ieee128", "quad precision floating point", 0, 0x00400000},
	{FeatureDARN, "darn", "random number instruction", 0, 0x00200000},
	{FeatureSCV, "scv", "system calls by scv", 0, 0x00100000},
	{FeatureARCH3_1, "arch_3_1", "Power ISA 3.1", 0, 0x00040000},
	{FeatureMMA, "mma", "matrix multiply assist", 0, 0x00020000},
}

// Features names the bits of a Mask, lowest bit first.
func (arch) Features() []regset.Feature {
	list := make([]regset.Feature, len(features))
	for i, f := range features {
		list[i] = regset.Feature{Bit: f.bit, Name: f.name, Doc: f.doc}
	}
	return list
}

// Features of struct ppc_debug_info (asm/ptrace.h).
const (
	DebugDataRange = 0x04 // PPC_DEBUG_FEATURE_DATA_BP_RANGE
	DebugDAWR      = 0x10 // PPC_DEBUG_FEATURE_DATA_BP_DAWR
)

// Info is what a machine's kernel tells of itself beyond the auxiliary vector.
type Info struct {
	// From PPC_PTRACE_GETHWDBGINFO, struct ppc_debug_info.
	DataBreakpoints        int
	InstructionBreakpoints int
	DebugFeatures          uint64

	// Sets are the notes that PTRACE_GETREGSET knows: it gives data, or
	// fails with ENODATA.
	Sets []regset.Note

	// FPEmulation reports whether the kernel emulates an FPU that the CPU
	// lacks (CONFIG_MATH_EMULATION): any program that uses floating
	// point instructions and lives tells.
	FPEmulation bool
}

// FromHWCAP computes what a machine has, from the auxiliary vector of a task of
// the ABI and from info.
func FromHWCAP(abi regset.ABI, hwcap, hwcap2 uint64, info Info) regset.Mask {
	var m regset.Mask
	for _, f := range features {
		if hwcap&f.hwcap|hwcap2&f.hwcap2 != 0 {
			m |= f.bit
		}
	}
	if m.Has(FeaturePPC64 | FeatureARCH2_06) {
		m |= FeaturePPR // CPU_FTR_HAS_PPR: from POWER7 on
	}
	for _, n := range info.Sets {
		switch n {
		case regset.PPC_PMU:
			m |= FeaturePMU
		case regset.PPC_DEXCR:
			m |= FeatureDEXCR
		case regset.PPC_HASHKEYR:
			m |= FeatureHASHKEYR
		case regset.PPC_PKEY:
			m |= FeaturePKEY
		}
	}
	switch {
	case info.InstructionBreakpoints > 0:
		m |= FeatureHWDEBUG | FeatureIAC | FeatureDAC
	case info.DataBreakpoints > 0 && info.DebugFeatures&DebugDAWR != 0:
		m |= FeatureHWDEBUG | FeatureDAWR
		if info.DataBreakpoints > 1 {
			m |= FeatureDAWR2
		}
	case info.DataBreakpoints > 0:
		m |= FeatureHWDEBUG | FeatureDABR
	}
	if abi == regset.PPC && !m.Has(FeatureFPU) && info.FPEmulation {
		m |= FeatureFPEMU
	}
	return m
}

// MaskHWCAP clears in AT_HWCAP and AT_HWCAP2 what belongs to features that a
// program shall not use. A 64-bit program needs FeaturePPC64 allowed.
func MaskHWCAP(allowed regset.Mask, hwcap, hwcap2 uint64) (uint64, uint64) {
	for _, f := range features {
		if !allowed.Has(f.bit) {
			hwcap &^= f.hwcap
			hwcap2 &^= f.hwcap2
		}
	}
	return hwcap, hwcap2
}
