package ppc

import (
	"testing"

	"cr/regset"

	"github.com/stretchr/testify/require"
)

func TestUnused(t *testing.T) {
	for _, abi := range abis {
		s := unused(abi)
		require.Empty(t, regset.Names(Arch, Arch.Used(s)), abi)
		tab := table(abi)
		for _, set := range s.Sets {
			if set.Note != regset.PRSTATUS {
				require.False(t, tab[set.Note].Used(abi, set.Data), tab[set.Note].Name)
			}
		}
		require.False(t, InTransaction(s))
	}
}

func TestUsed(t *testing.T) {
	be, le := regset.PPC64, regset.PPC64LE
	vmx := func(abi regset.ABI, off int, v uint32) []byte {
		data := vmxSet.initial(abi)
		abi.Order().PutUint32(data[off:], v)
		return data
	}
	prctl := func(p Prctl) []byte { return p.Encode(be) }
	for _, tt := range []struct {
		name string
		abi  regset.ABI
		set  regset.Set
		used regset.Mask
	}{
		{"f31", be, regset.Set{Note: regset.PRFPREG, Data: with(be, make([]byte, sizeFPR), 31*8, 1)}, FeatureFPU},
		{"fpscr", be, regset.Set{Note: regset.PRFPREG, Data: with(be, make([]byte, sizeFPR), 32*8, 3)}, FeatureFPU},
		{"fpscr, decimal rounding", be, regset.Set{Note: regset.PRFPREG, Data: with(be, make([]byte, sizeFPR), 32*8, 1<<32)}, FeatureFPU | FeatureDFP},
		{"fpscr, decimal rounding, 32 bit", regset.PPC, regset.Set{Note: regset.PRFPREG, Data: with(be, make([]byte, sizeFPR), 32*8, 1<<32)}, FeatureFPU | FeatureDFP},
		{"fpscr, undefined bits", regset.PPC, regset.Set{Note: regset.PRFPREG, Data: with(be, make([]byte, sizeFPR), 32*8, 0xfff80000<<32)}, 0},
		{"v31", be, regset.Set{Note: regset.PPC_VMX, Data: vmx(be, 31*16, 1)}, FeatureVMX},
		{"vscr zero, BE", be, regset.Set{Note: regset.PPC_VMX, Data: vmx(be, 32*16+12, 0)}, FeatureVMX},
		{"vscr saturated, BE", be, regset.Set{Note: regset.PPC_VMX, Data: vmx(be, 32*16+12, vscrNJ|1)}, FeatureVMX},
		{"vscr saturated, LE", le, regset.Set{Note: regset.PPC_VMX, Data: vmx(le, 32*16, 1)}, FeatureVMX},
		{"vscr as exec writes it, LE", le, regset.Set{Note: regset.PPC_VMX, Data: vmx(le, 32*16+12, vscrNJ)}, 0},
		{"vrsave, which exec does not reset", le, regset.Set{Note: regset.PPC_VMX, Data: vmx(le, 33*16, 1)}, 0},
		{"vrsave's padding", le, regset.Set{Note: regset.PPC_VMX, Data: vmx(le, 33*16+4, 1)}, 0},
		{"vs0l", be, regset.Set{Note: regset.PPC_VSX, Data: with(be, make([]byte, sizeVSX), 0, 1)}, FeatureVSX},
		{"acc", regset.PPC, regset.Set{Note: regset.PPC_SPE, Data: with(be, make([]byte, sizeSPE), 32*4, 1)}, FeatureSPE},
		{"tar", be, regset.Set{Note: regset.PPC_TAR, Data: u64s(be, 1)}, FeatureTAR},
		{"ppr default", be, regset.Set{Note: regset.PPC_PPR, Data: u64s(be, pprDefault)}, 0},
		{"ppr none", be, regset.Set{Note: regset.PPC_PPR, Data: u64s(be, 0)}, 0},
		{"ppr low", be, regset.Set{Note: regset.PPC_PPR, Data: u64s(be, 2<<50)}, FeaturePPR},
		{"dscr", be, regset.Set{Note: regset.PPC_DSCR, Data: u64s(be, 1)}, FeatureDSCR},
		{"bescr", be, regset.Set{Note: regset.PPC_EBB, Data: u64s(be, 0, 0, 1)}, FeatureEBB},
		{"siar", be, regset.Set{Note: regset.PPC_PMU, Data: u64s(be, 1, 0, 0, 0, 0)}, FeaturePMU},
		{"texasr", be, regset.Set{Note: regset.PPC_TM_SPR, Data: u64s(be, 0, 1, 0)}, FeatureTM},
		{"checkpointed tar", be, regset.Set{Note: regset.PPC_TM_CTAR, Data: u64s(be, 0)}, FeatureTM},
		{"dexcr of boot", be, regset.Set{Note: regset.PPC_DEXCR, Data: u64s(be, dexcrNPHIE, 0)}, 0},
		{"dexcr srapd", be, regset.Set{Note: regset.PPC_DEXCR, Data: u64s(be, dexcrSRAPD, 0)}, FeatureDEXCR},
		{"hashkeyr", be, regset.Set{Note: regset.PPC_HASHKEYR, Data: ones(8)}, 0},
		{"amr", be, regset.Set{Note: regset.PPC_PKEY, Data: u64s(be, 0x0c<<48, 0, 0x0f<<48)}, FeaturePKEY},
		{"debugreg", be, regset.Set{Note: regset.NoteDebugreg, Data: u64s(be, 0x1007)}, FeatureDABR},
		{"breakpoint", be, regset.Set{Note: regset.NoteHWDebug, Data: EncodeHWDebug(be, []HWBreakpoint{{TriggerType: TriggerRead}})}, FeatureHWDEBUG},
		{"instruction breakpoint", be, regset.Set{Note: regset.NoteHWDebug, Data: EncodeHWDebug(be, []HWBreakpoint{{TriggerType: TriggerExecute}})}, FeatureHWDEBUG | FeatureIAC},
		{"fpexc by software", be, regset.Set{Note: regset.NotePPCPrctl, Data: prctl(Prctl{FPExc: fpexcSW})}, FeatureSPE},
		{"no modes", be, regset.Set{Note: regset.NotePPCPrctl, Data: prctl(noPrctl)}, 0},
		{"msr fp", be, regset.Set{Note: regset.PRSTATUS, Data: withWord(be, ptMSR, msrFP)}, FeatureFPU},
		{"msr vec without the set", be, regset.Set{Note: regset.PRSTATUS, Data: withWord(be, ptMSR, msrVEC)}, 0},
		{"msr tm", be, regset.Set{Note: regset.PRSTATUS, Data: withWord(be, ptMSR, msrTM)}, FeatureTM},
		{"scv", be, regset.Set{Note: regset.PRSTATUS, Data: withWord(be, ptTrap, 0x3000)}, FeatureSCV},
		{"tar of a wrong size", be, regset.Set{Note: regset.PPC_TAR, Data: []byte{0}}, FeatureTAR},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := stateOf(tt.abi)
			s.Put(tt.set.Note, tt.set.Data)
			require.Equal(t, regset.Names(Arch, tt.used), regset.Names(Arch, Arch.Used(s)))
		})
	}

	spe := unused(regset.PPC)
	spe.Put(regset.PRSTATUS, withWord(regset.PPC, ptMSR, msrVEC))
	require.Equal(t, FeatureSPE, Arch.Used(spe), "the bit is SPE's where that set is")
	spe.Drop(regset.PPC_SPE)
	require.Equal(t, FeatureVMX, Arch.Used(spe))
	vsx := unused(regset.PPC64)
	vsx.Put(regset.PRSTATUS, withWord(regset.PPC64, ptMSR, msrVSX))
	require.Equal(t, FeatureVSX, Arch.Used(vsx))
}

func TestInTransaction(t *testing.T) {
	for _, bit := range []uint64{1 << 33, 1 << 34} {
		s := stateOf(regset.PPC64LE)
		s.Put(regset.PRSTATUS, withWord(regset.PPC64LE, ptMSR, msrPR|msrSF|msrLE|bit))
		require.True(t, InTransaction(s))
		require.True(t, problem(Arch.Check(power8(), s), "NT_PRSTATUS", "msr"))
	}
	s := stateOf(regset.PPC, regset.Set{Note: regset.PPC_TM_CGPR, Data: make([]byte, 192)})
	require.True(t, InTransaction(s))
	require.True(t, problem(Arch.Check(power8(), s), "NT_PPC_TM_CGPR", ""))
	require.False(t, InTransaction(stateOf(regset.PPC, regset.Set{Note: regset.PPC_TM_SPR, Data: make([]byte, 24)})))
}
