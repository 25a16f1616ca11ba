package ppc

import (
	"testing"

	"cr/regset"

	"github.com/stretchr/testify/require"
)

// fit fits and makes the checks that hold for every state.
func fit(t *testing.T, m *regset.Machine, s *regset.State) *regset.State {
	t.Helper()
	before := s.Clone()
	f, err := Arch.Fit(m, s)
	require.NoError(t, err)
	require.Equal(t, before, s, "Fit leaves the state it is given alone")
	require.Empty(t, Arch.Check(m, f), "what is fitted is fit")
	again, err := Arch.Fit(m, f)
	require.NoError(t, err)
	require.Equal(t, f.Sets, again.Sets, "fitting twice changes nothing")
	require.NotNil(t, f.Find(regset.PRSTATUS))
	return f
}

func TestFitGPR(t *testing.T) {
	for _, abi := range abis {
		data := prstatus(abi)
		g := gprs(abi, data)
		for i := 0; i < 32; i++ {
			g.set(i, ^uint64(i))
		}
		g.set(ptCTR, 1)
		g.set(ptLink, 3)
		g.set(ptXER, 0xffffffffe0000000)
		g.set(ptCCR, 0xffffffff12345678)
		g.set(ptMSR, g.get(ptMSR)|0xe000|1<<10|1<<9|0x32)
		for _, i := range []int{ptOrigR3, ptSofte, ptDAR, ptDSISR, ptResult, 44, 47} {
			g.set(i, 0x5a5a)
		}
		g.set(ptTrap, 0x300)

		s := unused(abi)
		s.Put(regset.PRSTATUS, data)
		f := gprs(abi, fit(t, power10(), s).Find(regset.PRSTATUS))
		for i := 0; i < 32; i++ {
			require.Equal(t, g.get(i), f.get(i), "r%d", i)
		}
		msr := uint64(msrPR)
		if abi.WordSize() == 8 {
			msr |= msrSF
		}
		if !abi.BigEndian {
			msr |= msrLE
		}
		for _, w := range []struct {
			i int
			v uint64
		}{
			{ptNIP, 0x10000100}, {ptMSR, msr}, {ptCTR, 1}, {ptLink, 3}, {ptXER, 0xe0000000}, {ptCCR, 0x12345678},
			{ptOrigR3, 0}, {ptTrap, 0}, {ptDAR, 0}, {ptDSISR, 0}, {ptResult, 0}, {44, 0}, {47, 0},
		} {
			require.Equal(t, w.v, f.get(w.i), "word %d", w.i)
		}
		require.Equal(t, uint64(abi.WordSize()/8), f.get(ptSofte))
	}
}

// A task caught in a call makes it again.
func TestFitRewinds(t *testing.T) {
	for _, abi := range abis {
		s := stateOf(abi)
		s.Put(regset.PRSTATUS, inCall(abi, 0xc00, 512, crSO))
		f := fit(t, power10(), s).Find(regset.PRSTATUS)
		require.Equal(t, uint64(0x1000), Arch.PC(abi, f))
		require.Equal(t, uint64(1), gprs(abi, f).get(3))
	}
}

func TestFitSets(t *testing.T) {
	be, le := regset.PPC64, regset.PPC64LE

	fpr := with(be, ones(sizeFPR), 32*8, ^uint64(0))
	f := fit(t, power10(), stateOf(be, regset.Set{Note: regset.PRFPREG, Data: fpr})).Find(regset.PRFPREG)
	require.Equal(t, fpr[:32*8], f[:32*8])
	require.Equal(t, uint64(0x7ffffffff), fpscr(be, f))
	fpr = with(regset.PPC, ones(sizeFPR), 32*8, 0xfff80000_000000f8)
	f = fit(t, g4(), stateOf(regset.PPC, regset.Set{Note: regset.PRFPREG, Data: fpr})).Find(regset.PRFPREG)
	require.Equal(t, uint64(0xf8), fpscr(be, f))

	for _, abi := range []regset.ABI{be, le} {
		f = fit(t, power10(), stateOf(abi, regset.Set{Note: regset.PPC_VMX, Data: ones(sizeVMX)})).Find(regset.PPC_VMX)
		require.Equal(t, ones(32*16), f[:32*16])
		require.Equal(t, uint32(vscrNJ|vscrSAT), abi.Order().Uint32(f[offVSCR(abi):]))
		require.Equal(t, ^uint32(0), abi.Order().Uint32(f[offVRSAVE:]))
		ones := 0
		for _, b := range f[32*16:] {
			if b != 0 {
				ones++
			}
		}
		require.Equal(t, 6, ones, "two bytes of VSCR, four of VRSAVE")
	}

	f = fit(t, power10(), stateOf(le, regset.Set{Note: regset.PPC_PPR, Data: u64s(le, 0)})).Find(regset.PPC_PPR)
	require.Equal(t, u64s(le, pprDefault), f)
	f = fit(t, power10(), stateOf(le, regset.Set{Note: regset.PPC_PPR, Data: u64s(le, 2<<50|0xffff)})).Find(regset.PPC_PPR)
	require.Equal(t, u64s(le, 2<<50), f)
	f = fit(t, power10(), stateOf(be, regset.Set{Note: regset.PPC_PKEY, Data: u64s(be, 1, 2, 3)})).Find(regset.PPC_PKEY)
	require.Equal(t, u64s(be, 1), f, "the kernel takes AMR alone")
}

func TestFitDrops(t *testing.T) {
	for _, tt := range []struct {
		name string
		m    *regset.Machine
		abi  regset.ABI
		kept []regset.Note
	}{
		{"power10", power10(), regset.PPC64, []regset.Note{
			regset.NotePPCPrctl, regset.PRFPREG, regset.PPC_VMX, regset.PPC_VSX, regset.PPC_TAR, regset.PPC_PPR, regset.PPC_DSCR,
			regset.PPC_EBB, regset.PPC_PMU, regset.PPC_HASHKEYR, regset.PPC_TM_SPR, regset.PPC_PKEY, regset.PRSTATUS,
			regset.NoteDebugreg}},
		{"g5", g5(), regset.PPC64, []regset.Note{
			regset.NotePPCPrctl, regset.PRFPREG, regset.PPC_VMX, regset.PRSTATUS, regset.NoteDebugreg}},
		{"g5, 32-bit task", g5(), regset.PPC, []regset.Note{
			regset.NotePPCPrctl, regset.PRFPREG, regset.PPC_VMX, regset.PRSTATUS, regset.NoteDebugreg}},
		{"g4", g4(), regset.PPC, []regset.Note{
			regset.NotePPCPrctl, regset.PRFPREG, regset.PPC_VMX, regset.PRSTATUS, regset.NoteDebugreg}},
		{"e500v2", e500v2(), regset.PPC, []regset.Note{
			regset.NotePPCPrctl, regset.PRFPREG, regset.PPC_SPE, regset.PRSTATUS}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var notes []regset.Note
			for _, s := range fit(t, tt.m, unused(tt.abi)).Sets {
				notes = append(notes, s.Note)
			}
			require.Equal(t, tt.kept, notes)
		})
	}
}

// A state from a machine without a unit leaves nothing of the caller's in it.
func TestFitAdds(t *testing.T) {
	for _, abi := range abis {
		f := fit(t, power8(), stateOf(abi))
		for _, n := range []regset.Note{
			regset.PRFPREG, regset.PPC_VMX, regset.PPC_VSX, regset.PPC_TAR, regset.PPC_PPR, regset.PPC_TM_SPR, regset.NoteDebugreg,
		} {
			require.NotNil(t, f.Find(n), find(abi, n).name)
		}
		require.Zero(t, Arch.Used(f))
		require.Nil(t, f.Find(regset.PPC_EBB))
	}
}

func TestFitDEXCR(t *testing.T) {
	be := regset.PPC64
	dexcr := regset.Set{Note: regset.PPC_DEXCR, Data: u64s(be, dexcrNPHIE|dexcrSRAPD, 0)}
	key := regset.Set{Note: regset.PPC_HASHKEYR, Data: ones(8)}
	p := Prctl{FPExc: 3, Endian: 0, DEXCR: [nAspects]uint32{
		AspectSBHE: DEXCRClear, AspectIBRTPD: 0x15, AspectSRAPD: 0xb, AspectNPHIE: 0xb,
	}}
	s := stateOf(be, dexcr, key, regset.Set{Note: regset.NotePPCPrctl, Data: p.Encode(be)})
	f := fit(t, power10(), s)
	require.Nil(t, f.Find(regset.PPC_DEXCR), "read only")
	got, err := DecodePrctl(be, f.Find(regset.NotePPCPrctl))
	require.NoError(t, err)
	want := p
	want.DEXCR[AspectSBHE] = PrctlNone // not a task's to edit
	require.Equal(t, want, got)

	p.DEXCR[AspectSRAPD] = 0x15
	s.Put(regset.NotePPCPrctl, p.Encode(be))
	require.True(t, problem(Arch.Check(power10(), s), "NT_PPC_DEXCR", "srapd"), "the register and the mode differ")

	noKey := power10()
	noKey.Has &^= FeatureHASHKEYR
	require.True(t, problem(Arch.Check(noKey, stateOf(be, key, regset.Set{Note: regset.PPC_DEXCR, Data: u64s(be, dexcrNPHIE, 0)})), "NT_PPC_DEXCR", "nphie"))

	// From POWER9 to POWER10.
	for _, s := range []*regset.State{stateOf(be), stateOf(be, regset.Set{Note: regset.NotePPCPrctl, Data: noPrctl.Encode(be)})} {
		got, err := DecodePrctl(be, fit(t, power10(), s).Find(regset.NotePPCPrctl))
		require.NoError(t, err)
		want := noPrctl
		want.DEXCR[AspectNPHIE] = dexcrEditable | DEXCRClear
		require.Equal(t, want, got)
	}
	require.Nil(t, fit(t, power10(), stateOf(regset.PPC)).Find(regset.NotePPCPrctl), "32-bit tasks have no hash instructions")
}

func TestPrctlAndHWDebugBytes(t *testing.T) {
	for _, abi := range abis {
		p := Prctl{1, 2, 3, [nAspects]uint32{4, 5, 6, 0x01020304}}
		data := p.Encode(abi)
		require.Len(t, data, 28)
		require.Equal(t, uint32(0x01020304), abi.Order().Uint32(data[24:]))
		got, err := DecodePrctl(abi, data)
		require.NoError(t, err)
		require.Equal(t, p, got)
		_, err = DecodePrctl(abi, data[:27])
		require.Error(t, err)

		list := []HWBreakpoint{{1, 2, 3, 4, 5, 6, 7}, {8, 9, 10, 11, 12, 13, 14}}
		data = EncodeHWDebug(abi, list)
		require.Len(t, data, 80)
		require.Equal(t, uint64(12), abi.Order().Uint64(data[40+16:]))
		back, err := DecodeHWDebug(abi, data)
		require.NoError(t, err)
		require.Equal(t, list, back)
		_, err = DecodeHWDebug(abi, data[:79])
		require.Error(t, err)
	}
}
