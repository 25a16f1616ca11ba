package ppc

import (
	"errors"
	"testing"

	"cr/regset"

	"github.com/stretchr/testify/require"
)

// Values that no task can have, or that would give it what is not its own.
func TestCheckHostile(t *testing.T) {
	const user64 = msrPR | msrSF
	be, le, c32 := regset.PPC64, regset.PPC64LE, regset.PPC
	bp := func(abi regset.ABI, b HWBreakpoint) []byte { return EncodeHWDebug(abi, []HWBreakpoint{b}) }
	good := HWBreakpoint{Version: 1, TriggerType: TriggerWrite, Addr: 0x1000}
	change := func(f func(*HWBreakpoint)) HWBreakpoint { b := good; f(&b); return b }
	prctl := func(f func(*Prctl)) []byte { p := noPrctl; f(&p); return p.Encode(be) }

	for _, tt := range []struct {
		name     string
		m        *regset.Machine
		abi      regset.ABI
		note     regset.Note
		data     []byte
		set, reg string // of the problem; "" if there is none
	}{
		{"msr as the kernel shows it", power8(), be, regset.PRSTATUS, withWord(be, ptMSR, 0x900000000280f032), "", ""},
		{"msr LE as the kernel shows it", power8(), le, regset.PRSTATUS, withWord(le, ptMSR, 0x900000000280f033), "", ""},
		{"msr with SPE's fpexc mode", e500v2(), c32, regset.PRSTATUS, withWord(c32, ptMSR, 0x1fd080), "", ""},
		{"msr supervisor", power8(), be, regset.PRSTATUS, withWord(be, ptMSR, msrSF), "NT_PRSTATUS", "msr"},
		{"msr supervisor, 32 bits", g4(), c32, regset.PRSTATUS, withWord(c32, ptMSR, 0x9032), "NT_PRSTATUS", "msr"},
		{"msr 32-bit mode", power8(), be, regset.PRSTATUS, withWord(be, ptMSR, msrPR), "NT_PRSTATUS", "msr"},
		{"msr LE in BE task", power8(), be, regset.PRSTATUS, withWord(be, ptMSR, user64|msrLE), "NT_PRSTATUS", "msr"},
		{"msr LE in 32-bit task", power8(), c32, regset.PRSTATUS, withWord(c32, ptMSR, msrPR|msrLE), "NT_PRSTATUS", "msr"},
		{"msr BE in LE task", power8(), le, regset.PRSTATUS, withWord(le, ptMSR, user64), "NT_PRSTATUS", "msr"},
		{"msr suspended", power8(), be, regset.PRSTATUS, withWord(be, ptMSR, user64|1<<33), "NT_PRSTATUS", "msr"},
		{"nip of the kernel", power8(), be, regset.PRSTATUS, withWord(be, ptNIP, 0xc000000000000000), "NT_PRSTATUS", "nip"},
		{"nip at the end", power8(), be, regset.PRSTATUS, withWord(be, ptNIP, 1<<52), "NT_PRSTATUS", "nip"},
		{"nip before the end", power8(), be, regset.PRSTATUS, withWord(be, ptNIP, 1<<52-4), "", ""},
		{"nip odd", power8(), be, regset.PRSTATUS, withWord(be, ptNIP, 0x1002), "NT_PRSTATUS", "nip"},
		{"nip of the kernel, ppc32", g4(), c32, regset.PRSTATUS, withWord(c32, ptNIP, 0xc0000000), "NT_PRSTATUS", "nip"},
		{"nip high in a 32-bit task", power8(), c32, regset.PRSTATUS, withWord(c32, ptNIP, 0xc0000000), "", ""},
		{"nip that rewinds out of memory", power8(), be, regset.PRSTATUS, func() []byte {
			data := inCall(be, 0xc00, 512, crSO)
			Arch.SetPC(be, data, 0)
			return data
		}(), "NT_PRSTATUS", "nip"},
		{"lr and ctr of the kernel", power8(), be, regset.PRSTATUS, func() []byte {
			data := withWord(be, ptLink, 0xc000000000000000)
			gprs(be, data).set(ptCTR, ^uint64(0))
			return data
		}(), "", ""},
		{"prstatus of a 32-bit task", power8(), be, regset.PRSTATUS, prstatus(c32), "NT_PRSTATUS", ""},
		{"prstatus of a 64-bit task", power8(), c32, regset.PRSTATUS, prstatus(be), "NT_PRSTATUS", ""},
		{"fpregs short", power8(), be, regset.PRFPREG, make([]byte, 263), "NT_PRFPREG", ""},
		{"fpregs all ones", power10(), be, regset.PRFPREG, ones(sizeFPR), "", ""},
		{"vmx all ones", power10(), be, regset.PPC_VMX, ones(sizeVMX), "", ""},
		{"vmx without the last words", power10(), be, regset.PPC_VMX, make([]byte, 33*16+4), "NT_PPC_VMX", ""},
		{"vsx all ones", power10(), be, regset.PPC_VSX, ones(sizeVSX), "", ""},
		{"vsx long", power10(), be, regset.PPC_VSX, make([]byte, 264), "NT_PPC_VSX", ""},
		{"spe all ones", e500v2(), c32, regset.PPC_SPE, ones(sizeSPE), "", ""},
		{"spe in a 64-bit task", power10(), be, regset.PPC_SPE, make([]byte, sizeSPE), "note 0x101", ""},
		{"tar any", power10(), be, regset.PPC_TAR, ones(8), "", ""},
		{"ppr medium high", power10(), be, regset.PPC_PPR, u64s(be, 5<<50), "", ""},
		{"ppr high", power10(), be, regset.PPC_PPR, u64s(be, 6<<50), "NT_PPC_PPR", "ppr"},
		{"ppr very high", power10(), le, regset.PPC_PPR, u64s(le, 7<<50), "NT_PPC_PPR", "ppr"},
		{"dscr all bits", power10(), be, regset.PPC_DSCR, u64s(be, 1<<25-1), "", ""},
		{"dscr reserved", power10(), be, regset.PPC_DSCR, u64s(be, 1<<25), "NT_PPC_DSCR", "dscr"},
		{"ebb any", power10(), be, regset.PPC_EBB, ones(24), "", ""},
		{"pmu user bits", power10(), be, regset.PPC_PMU, u64s(be, ^uint64(0), ^uint64(0), sierUser, mmcr2User, mmcr0User), "", ""},
		{"sier", power10(), be, regset.PPC_PMU, u64s(be, 0, 0, sierUser+1, 0, 0), "NT_PPC_PMU", "sier"},
		{"mmcr2", power10(), be, regset.PPC_PMU, u64s(be, 0, 0, 0, 1, 0), "NT_PPC_PMU", "mmcr2"},
		{"mmcr0", power10(), be, regset.PPC_PMU, u64s(be, 0, 0, 0, 0, 1<<18), "NT_PPC_PMU", "mmcr0"},
		{"dexcr changed without a mode", power10(), be, regset.PPC_DEXCR, u64s(be, dexcrIBRTPD, 0), "NT_PPC_DEXCR", "ibrtpd"},
		{"hash instructions without a key", power10(), be, regset.PPC_DEXCR, u64s(be, dexcrNPHIE, 0), "NT_PPC_DEXCR", "nphie"},
		{"hash instructions of the hypervisor", power10(), be, regset.PPC_DEXCR, u64s(be, 0, dexcrNPHIE), "NT_PPC_DEXCR", "nphie"},
		{"hash key any", power10(), be, regset.PPC_HASHKEYR, ones(8), "", ""},
		{"amr any", power10(), be, regset.PPC_PKEY, ones(24), "", ""},
		{"pkey of a wrong size", power10(), be, regset.PPC_PKEY, ones(16), "NT_PPC_PKEY", ""},
		{"pkey in a 32-bit task", power10(), c32, regset.PPC_PKEY, ones(24), "note 0x110", ""},
		{"checkpointed registers", power8(), be, regset.PPC_TM_CVSX, make([]byte, 256), "NT_PPC_TM_CVSX", ""},
		{"tm sprs any", power8(), be, regset.PPC_TM_SPR, ones(24), "", ""},

		{"debugreg", power8(), be, regset.NoteDebugreg, u64s(be, 0x1007), "", ""},
		{"debugreg of the kernel", power8(), be, regset.NoteDebugreg, u64s(be, 0xc000000000001007), "PPC_DEBUGREG", "dabr"},
		{"debugreg of the kernel, ppc32", g4(), c32, regset.NoteDebugreg, u64s(c32, 0xc0000007), "PPC_DEBUGREG", "dabr"},
		{"debugreg over 4 GiB, 32-bit task", power8(), c32, regset.NoteDebugreg, u64s(c32, 0x100000007), "PPC_DEBUGREG", "dabr"},
		{"debugreg untranslated", power8(), be, regset.NoteDebugreg, u64s(be, 0x1003), "PPC_DEBUGREG", "dabr"},
		{"debugreg of BookE", g4(), c32, regset.NoteDebugreg, u64s(c32, 0x1004), "PPC_DEBUGREG", "dabr"},
		{"debugreg short", power8(), be, regset.NoteDebugreg, make([]byte, 4), "PPC_DEBUGREG", ""},

		{"breakpoint", power8(), be, regset.NoteHWDebug, bp(be, good), "", ""},
		{"breakpoint cut", power8(), be, regset.NoteHWDebug, bp(be, good)[:39], "PPC_HWDEBUG", ""},
		{"version", power8(), be, regset.NoteHWDebug, bp(be, change(func(b *HWBreakpoint) { b.Version = 2 })), "PPC_HWDEBUG", "version"},
		{"no trigger", power8(), be, regset.NoteHWDebug, bp(be, change(func(b *HWBreakpoint) { b.TriggerType = 0 })), "PPC_HWDEBUG", "trigger_type"},
		{"all triggers", e500v2(), c32, regset.NoteHWDebug, bp(c32, change(func(b *HWBreakpoint) { b.TriggerType = 7 })), "PPC_HWDEBUG", "trigger_type"},
		{"condition", power8(), be, regset.NoteHWDebug, bp(be, change(func(b *HWBreakpoint) { b.ConditionMode = 1 })), "PPC_HWDEBUG", "condition_mode"},
		{"mask", power8(), be, regset.NoteHWDebug, bp(be, change(func(b *HWBreakpoint) { b.AddrMode = ModeMask })), "PPC_HWDEBUG", "addr_mode"},
		{"unknown mode", power8(), be, regset.NoteHWDebug, bp(be, change(func(b *HWBreakpoint) { b.AddrMode = 4 })), "PPC_HWDEBUG", "addr_mode"},
		{"kernel address", power8(), be, regset.NoteHWDebug, bp(be, change(func(b *HWBreakpoint) { b.Addr = 1 << 63 })), "PPC_HWDEBUG", "addr"},
		{"range", power8(), be, regset.NoteHWDebug, bp(be, change(func(b *HWBreakpoint) { b.AddrMode, b.Addr2 = 1, 0x1200 })), "", ""},
		{"range into the kernel", power8(), be, regset.NoteHWDebug, bp(be, change(func(b *HWBreakpoint) { b.AddrMode, b.Addr2 = 1, 1<<63 })), "PPC_HWDEBUG", "addr2"},
		{"range backwards", power8(), be, regset.NoteHWDebug, bp(be, change(func(b *HWBreakpoint) { b.AddrMode, b.Addr2 = 1, 0xff0 })), "PPC_HWDEBUG", "addr2"},
		{"range empty", power8(), be, regset.NoteHWDebug, bp(be, change(func(b *HWBreakpoint) { b.AddrMode, b.Addr2 = 1, 0x1000 })), "PPC_HWDEBUG", "addr2"},
		{"range too long", power8(), be, regset.NoteHWDebug, bp(be, change(func(b *HWBreakpoint) { b.AddrMode, b.Addr2 = 1, 0x1201 })), "PPC_HWDEBUG", "addr2"},
		{"range over a boundary", power8(), be, regset.NoteHWDebug, bp(be, change(func(b *HWBreakpoint) { b.Addr, b.AddrMode, b.Addr2 = 0x11f8, 1, 0x1210 })), "PPC_HWDEBUG", "addr2"},
		{"range over a boundary, ISA 3.1", power10(), be, regset.NoteHWDebug, bp(be, change(func(b *HWBreakpoint) { b.Addr, b.AddrMode, b.Addr2 = 0x11f8, 1, 0x1210 })), "", ""},
		{"exclusive range", power10(), be, regset.NoteHWDebug, bp(be, change(func(b *HWBreakpoint) { b.AddrMode, b.Addr2 = 2, 0x1010 })), "PPC_HWDEBUG", "addr_mode"},
		{"doubleword on a DABR", g5(), be, regset.NoteHWDebug, bp(be, change(func(b *HWBreakpoint) { b.AddrMode, b.Addr2 = 1, 0x1008 })), "", ""},
		{"range on a DABR", g5(), be, regset.NoteHWDebug, bp(be, change(func(b *HWBreakpoint) { b.AddrMode, b.Addr2 = 1, 0x1009 })), "PPC_HWDEBUG", "addr2"},
		{"instruction", e500v2(), c32, regset.NoteHWDebug, bp(c32, change(func(b *HWBreakpoint) { b.TriggerType = TriggerExecute })), "", ""},
		{"instruction unaligned", e500v2(), c32, regset.NoteHWDebug, bp(c32, change(func(b *HWBreakpoint) { b.TriggerType, b.Addr = TriggerExecute, 0x1002 })), "PPC_HWDEBUG", "addr"},
		{"exclusive range on BookE", e500v2(), c32, regset.NoteHWDebug, bp(c32, change(func(b *HWBreakpoint) { b.AddrMode, b.Addr2 = 2, 0x9000 })), "", ""},
		{"two ranges on BookE", e500v2(), c32, regset.NoteHWDebug, append(
			bp(c32, change(func(b *HWBreakpoint) { b.AddrMode, b.Addr2 = 2, 0x9000 })), bp(c32, good)...), "PPC_HWDEBUG", ""},
		{"two on POWER8", power8(), be, regset.NoteHWDebug, append(bp(be, good), bp(be, good)...), "PPC_HWDEBUG", ""},
		{"two on POWER10", power10(), be, regset.NoteHWDebug, append(bp(be, good), bp(be, good)...), "", ""},
		{"instruction on POWER8", power8(), be, regset.NoteHWDebug, bp(be, change(func(b *HWBreakpoint) { b.TriggerType = TriggerExecute })), "PPC_HWDEBUG", ""},

		{"modes", power8(), be, regset.NotePPCPrctl, Prctl{FPExc: 3, Unalign: 3, DEXCR: noPrctl.DEXCR}.Encode(be), "", ""},
		{"modes short", power8(), be, regset.NotePPCPrctl, make([]byte, 27), "PPC_PRCTL", ""},
		{"fpexc", power8(), be, regset.NotePPCPrctl, prctl(func(p *Prctl) { p.FPExc = 4 }), "PPC_PRCTL", "fpexc"},
		{"fpexc of SPE", power8(), be, regset.NotePPCPrctl, prctl(func(p *Prctl) { p.FPExc = 0x10080 }), "PPC_PRCTL", "fpexc"},
		{"fpexc on SPE", e500v2(), c32, regset.NotePPCPrctl, prctl(func(p *Prctl) { p.FPExc = 0x10080 }), "", ""},
		{"fpexc unknown on SPE", e500v2(), c32, regset.NotePPCPrctl, prctl(func(p *Prctl) { p.FPExc = 0x200080 }), "PPC_PRCTL", "fpexc"},
		{"unalign", power8(), be, regset.NotePPCPrctl, prctl(func(p *Prctl) { p.Unalign = 4 }), "PPC_PRCTL", "unalign"},
		{"endian", power8(), be, regset.NotePPCPrctl, prctl(func(p *Prctl) { p.Endian = 1 }), "PPC_PRCTL", "endian"},
		{"endian of PowerPC", power8(), be, regset.NotePPCPrctl, prctl(func(p *Prctl) { p.Endian = 2 }), "PPC_PRCTL", "endian"},
		{"endian in LE task", power8(), le, regset.NotePPCPrctl, func() []byte { p := noPrctl; p.Endian = 0; return p.Encode(le) }(), "PPC_PRCTL", "endian"},
		{"endian little in LE task", power8(), le, regset.NotePPCPrctl, func() []byte { p := noPrctl; p.Endian = 1; return p.Encode(le) }(), "", ""},
		{"dexcr contradicting", power10(), be, regset.NotePPCPrctl, prctl(func(p *Prctl) { p.DEXCR[AspectSRAPD] = 6 }), "PPC_PRCTL", "srapd"},
		{"dexcr contradicting on exec", power10(), be, regset.NotePPCPrctl, prctl(func(p *Prctl) { p.DEXCR[AspectNPHIE] = 0x18 }), "PPC_PRCTL", "nphie"},
		{"dexcr unknown", power10(), be, regset.NotePPCPrctl, prctl(func(p *Prctl) { p.DEXCR[AspectSBHE] = 0x20 }), "PPC_PRCTL", "sbhe"},
		{"dexcr on POWER8", power8(), be, regset.NotePPCPrctl, prctl(func(p *Prctl) { p.DEXCR[AspectIBRTPD] = 3 }), "PPC_PRCTL", "ibrtpd"},
		{"note of x86", power8(), be, regset.X86_XSTATE, make([]byte, 8), "note 0x202", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := stateOf(tt.abi)
			s.Put(tt.note, tt.data)
			p := Arch.Check(tt.m, s)
			f, err := Arch.Fit(tt.m, s)
			if tt.set == "" {
				require.Empty(t, p)
				require.NoError(t, err)
				require.NotNil(t, f)
				return
			}
			require.True(t, problem(p, tt.set, tt.reg), "%v", p)
			require.Nil(t, f)
			var problems regset.Problems
			require.True(t, errors.As(err, &problems))
			require.Equal(t, p, problems)
		})
	}
}

func TestCheckState(t *testing.T) {
	be := regset.PPC64
	s := stateOf(be)
	s.ABI = regset.X86_64
	require.NotEmpty(t, Arch.Check(power8(), s))

	require.True(t, problem(Arch.Check(power8(), &regset.State{ABI: be}), "NT_PRSTATUS", ""), "no registers")

	tar := regset.Set{Note: regset.PPC_TAR, Data: u64s(be, 0)}
	require.True(t, problem(Arch.Check(power8(), stateOf(be, tar, tar)), "NT_PPC_TAR", ""), "a set twice")

	require.True(t, problem(Arch.Check(g4(), stateOf(be)), "", ""), "64-bit task, 32-bit kernel")

	s = stateOf(be)
	s.Used = FeatureMMA | FeatureSCV | 1<<63
	p := Arch.Check(power8(), s)
	require.Len(t, p, 3, "every reason: %v", p)
	require.Equal(t, "scv", p[0].Feature)
	require.Equal(t, "mma", p[1].Feature)
	require.Equal(t, "0x8000000000000000", p[2].Feature)

	both := stateOf(be,
		regset.Set{Note: regset.NoteDebugreg, Data: u64s(be, 0x1007)},
		regset.Set{Note: regset.NoteHWDebug, Data: EncodeHWDebug(be, []HWBreakpoint{{Version: 1, TriggerType: TriggerRead}})})
	require.True(t, problem(Arch.Check(power8(), both), "PPC_HWDEBUG", ""), "one register for two")
	require.Empty(t, Arch.Check(power10(), both))
}

// A state that uses one feature, on machines with and without it.
func TestMove(t *testing.T) {
	be, c32 := regset.PPC64, regset.PPC
	power9 := power10()
	power9.Has &^= FeatureDAWR | FeatureDAWR2 | FeatureHWDEBUG | FeatureDEXCR | FeatureHASHKEYR | FeaturePKEY | FeatureARCH3_1 | FeatureMMA
	power9.DataBreakpoints, power9.BreakpointRanges = 0, false
	noFPU := e500v2()
	noFPU.Has &^= FeatureFPEMU

	for _, tt := range []struct {
		name    string
		abi     regset.ABI
		note    regset.Note
		data    []byte
		m       *regset.Machine
		feature string // that is refused; "" if the state is taken
	}{
		{"fpu", c32, regset.PRFPREG, ones(sizeFPR)[:sizeFPR], g4(), ""},
		{"fpu", c32, regset.PRFPREG, with(c32, make([]byte, sizeFPR), 0, 1), e500v2(), ""},
		{"fpu", c32, regset.PRFPREG, with(c32, make([]byte, sizeFPR), 0, 1), noFPU, "fpu"},
		{"vmx", c32, regset.PPC_VMX, with(c32, vmxSet.initial(c32), 0, 1), g4(), ""},
		{"vmx", c32, regset.PPC_VMX, with(c32, vmxSet.initial(c32), 0, 1), e500v2(), "vmx"},
		{"vsx", be, regset.PPC_VSX, ones(sizeVSX), power8(), ""},
		{"vsx", be, regset.PPC_VSX, ones(sizeVSX), g5(), "vsx"},
		{"vsx, 32-bit task", c32, regset.PPC_VSX, ones(sizeVSX), power8(), ""},
		{"vsx, 32-bit task", c32, regset.PPC_VSX, ones(sizeVSX), g4(), "vsx"},
		{"spe", c32, regset.PPC_SPE, ones(sizeSPE), e500v2(), ""},
		{"spe", c32, regset.PPC_SPE, ones(sizeSPE), g4(), "spe"},
		{"tar", be, regset.PPC_TAR, ones(8), power8(), ""},
		{"tar", be, regset.PPC_TAR, ones(8), g5(), "tar"},
		{"ppr", be, regset.PPC_PPR, u64s(be, 2<<50), power8(), ""},
		{"ppr", be, regset.PPC_PPR, u64s(be, 2<<50), g5(), "ppr"},
		{"dscr", be, regset.PPC_DSCR, u64s(be, 7), power8(), ""},
		{"dscr", be, regset.PPC_DSCR, u64s(be, 7), g5(), "dscr"},
		{"ebb", be, regset.PPC_EBB, ones(24), power8(), ""},
		{"ebb", be, regset.PPC_EBB, ones(24), g5(), "ebb"},
		{"pmu", be, regset.PPC_PMU, u64s(be, 1, 0, 0, 0, 0), power8(), ""},
		{"pmu", be, regset.PPC_PMU, u64s(be, 1, 0, 0, 0, 0), g5(), "pmu"},
		{"tm", be, regset.PPC_TM_SPR, ones(24), power8(), ""},
		{"tm", be, regset.PPC_TM_SPR, ones(24), g5(), "htm"},
		{"dexcr", be, regset.PPC_DEXCR, u64s(be, dexcrSRAPD, 0), power8(), "dexcr"},
		{"hash key", be, regset.PPC_HASHKEYR, ones(8), power8(), ""},
		{"pkey", be, regset.PPC_PKEY, u64s(be, 0, 0, 12<<56), power10(), ""},
		{"pkey", be, regset.PPC_PKEY, u64s(be, 0, 0, 12<<56), power8(), "pkey"},
		{"dabr on DABR", be, regset.NoteDebugreg, u64s(be, 0x1007), g5(), ""},
		{"dabr on DAWR", be, regset.NoteDebugreg, u64s(be, 0x1007), power8(), ""},
		{"dabr on nothing", be, regset.NoteDebugreg, u64s(be, 0x1007), power9, "dabr"},
		{"dabr on BookE", c32, regset.NoteDebugreg, u64s(c32, 0x1007), e500v2(), "dabr"},
		{"dabr, disarmed, on nothing", be, regset.NoteDebugreg, u64s(be, 0), power9, ""},
		{"hwdebug", be, regset.NoteHWDebug, EncodeHWDebug(be, []HWBreakpoint{{Version: 1, TriggerType: TriggerRead}}), power9, "hwdebug"},
		{"scv", be, regset.PRSTATUS, withWord(be, ptTrap, 0x3000), power9, ""},
		{"scv", be, regset.PRSTATUS, withWord(be, ptTrap, 0x3000), power8(), "scv"},
		{"decimal rounding", be, regset.PRFPREG, with(be, make([]byte, sizeFPR), 32*8, 1<<32), power8(), ""},
		{"decimal rounding", be, regset.PRFPREG, with(be, make([]byte, sizeFPR), 32*8, 1<<32), g5(), "dfp"},
	} {
		name := tt.name + " taken"
		if tt.feature != "" {
			name = tt.name + " refused"
		}
		t.Run(name, func(t *testing.T) {
			s := stateOf(tt.abi)
			s.Put(tt.note, tt.data)
			p := Arch.Check(tt.m, s)
			if tt.feature == "" {
				require.Empty(t, p)
				return
			}
			found := false
			for _, e := range p {
				if e.Feature == tt.feature {
					found = true
					if e.Set != "" {
						require.Equal(t, find(tt.abi, tt.note).name, e.Set)
					}
				}
			}
			require.True(t, found, "%v", p)
		})
	}
}

// The levels of the kernel that take the place of earlier ones.
func TestMoveISA(t *testing.T) {
	for _, tt := range []struct {
		used regset.Mask
		m    *regset.Machine
		ok   bool
	}{
		{FeaturePOWER4, power10(), true},
		{FeaturePOWER5 | FeaturePOWER5Plus | FeatureARCH2_05, power8(), true},
		{FeatureARCH2_06, g5(), false},
		{FeaturePOWER5, g5(), false},
		{FeatureCell, power8(), false},
		{FeatureARCH3_00, power8(), false},
		{FeatureEFPDouble, e500v2(), true},
		{FeatureEFPDouble, g4(), false},
		{FeaturePPC64, g4(), false},
	} {
		require.Equal(t, tt.ok, len(checkFeatures(tt.m, regset.PPC, tt.used)) == 0, "%v", regset.Names(Arch, tt.used))
	}
}
