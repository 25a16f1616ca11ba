package x86

import (
	"testing"

	"cr/regset"

	"github.com/stretchr/testify/require"
)

// usedFX is an FXSAVE area with every register in use.
func usedFX() []byte {
	fx := make([]byte, fxSize)
	for i := fxST; i < fxEnd; i++ {
		fx[i] = byte(i)
	}
	for i := 0; i < 8; i++ {
		copy(fx[fxST+i*fxSTSpace+stSize:fxST+(i+1)*fxSTSpace], make([]byte, fxSTSpace-stSize))
	}
	le.PutUint16(fx[fxFCW:], 0x27f)
	le.PutUint16(fx[fxFSW:], 3<<11)
	fx[fxFTW] = 0xff
	le.PutUint16(fx[fxFOP:], 0x5d9)
	le.PutUint32(fx[fxFIP:], 0x8049123)
	le.PutUint32(fx[fxFDP:], 0x804a000)
	le.PutUint32(fx[fxMXCSR:], 0x1fa0)
	return fx
}

func withFX(x, fx []byte) []byte {
	copy(x[:fxEnd], fx)
	return x
}

func bv(x []byte) uint64 { return le.Uint64(x[xBV:]) }

func component(m *regset.Machine, x []byte, n int) []byte {
	p := machineLayout(m)[n]
	return x[p.offset : p.offset+p.size]
}

// Components move to where the machine has them.
func TestXStateLayouts(t *testing.T) {
	all := map[int]byte{xAVX: 2, xOpmask: 5, xZMMHi256: 6, xHi16ZMM: 7, xPKRU: 9}
	for _, c := range []struct{ from, to *regset.Machine }{{server, zen4}, {zen4, server}, {zen4, apx}} {
		s := task64(c.from)
		s.Put(regset.X86_XSTATE, withFX(xset(c.from, all), usedFX()))
		x := fit(t, c.to, s).Find(regset.X86_XSTATE)
		require.Len(t, x, xstateLen(c.to))
		require.Equal(t, usedFX()[:fxEnd], x[:fxEnd])
		require.Equal(t, uint64(bitsAVX512|bitPKRU), bv(x))
		require.Equal(t, c.to.XFeatures, le.Uint64(x[xXCR0:]))
		for n := range all {
			require.Equal(t, component(c.from, s.Find(regset.X86_XSTATE), n), component(c.to, x, n), xname(n))
		}

		// The layout need not be said.
		s.Drop(regset.NoteX86XLayout)
		require.Equal(t, x, fit(t, c.to, s).Find(regset.X86_XSTATE))
	}
}

// What the machine lacks is left out while it is in its initial state.
func TestXStateShrinks(t *testing.T) {
	initial := map[int]byte{xOpmask: 0, xHi16ZMM: 0, xPKRU: 0, xTileData: 0, xAVX: 2}
	s := task64(server)
	s.Put(regset.X86_XSTATE, xset(server, initial))
	require.NotZero(t, bv(s.Find(regset.X86_XSTATE))&(1<<xTileData))
	x := fit(t, laptop, s).Find(regset.X86_XSTATE)
	require.Len(t, x, 832)
	require.Equal(t, uint64(bitsAVX), bv(x))
	require.Equal(t, fill(256, 2), component(laptop, x, xAVX))

	// PKRU of the kernel's own is worth no more than none.
	poke32(regset.X86_XSTATE, layoutIntel[xPKRU].offset, pkruDefault)(s)
	require.Equal(t, x, fit(t, laptop, s).Find(regset.X86_XSTATE))
}

func TestXStateGrows(t *testing.T) {
	s := task64(laptop)
	s.Put(regset.X86_XSTATE, withFX(xset(laptop, map[int]byte{xAVX: 2}), usedFX()))
	x := fit(t, server, s).Find(regset.X86_XSTATE)
	require.Equal(t, uint64(bitsAVX|bitPKRU), bv(x))
	require.Equal(t, fill(256, 2), component(server, x, xAVX))
	require.Equal(t, uint32(pkruDefault), le.Uint32(component(server, x, xPKRU)))
	require.True(t, zero(component(server, x, xHi16ZMM)))

	// A task that has reset PKRU to 0 on a machine with keys keeps that.
	s = task64(zen4)
	require.Zero(t, bv(s.Find(regset.X86_XSTATE))&bitPKRU)
	x = fit(t, server, s).Find(regset.X86_XSTATE)
	require.Zero(t, bv(x)&bitPKRU)
}

func TestXStateToFX(t *testing.T) {
	s := task64(server)
	s.Put(regset.X86_XSTATE, withFX(xset(server, map[int]byte{xAVX: 0}), usedFX()))
	require.Equal(t, usedFX(), fit(t, qemu64, s).Find(regset.PRFPREG))

	// The bytes of components that are in their initial state are not looked at.
	poke64(regset.X86_XSTATE, xBV, 0)(s)
	require.Equal(t, initFX(), fit(t, qemu64, s).Find(regset.PRFPREG))
	require.Zero(t, Arch.Used(s)&(FPU|SSE|AVX))
}

// AVX without SSE in XSTATE_BV still means that MXCSR is valid.
func TestMXCSROfAVX(t *testing.T) {
	s := task64(laptop)
	x := xset(laptop, map[int]byte{xAVX: 0})
	le.PutUint32(x[fxMXCSR:], 0x1fa0)
	le.PutUint64(x[xBV:], 1<<xAVX)
	s.Put(regset.X86_XSTATE, x)
	fx := fit(t, qemu64, s).Find(regset.PRFPREG)
	require.Equal(t, uint32(0x1fa0), le.Uint32(fx[fxMXCSR:]))
}

func TestFXToXState(t *testing.T) {
	s := task64(qemu64)
	s.Put(regset.PRFPREG, usedFX())
	x := fit(t, laptop, s).Find(regset.X86_XSTATE)
	require.Equal(t, usedFX()[:fxEnd], x[:fxEnd])
	require.Equal(t, uint64(xLegacy), bv(x))
	require.True(t, zero(component(laptop, x, xAVX)))
}

// A state without any floating point set begins with an empty FPU, not with
// what the task that becomes it had.
func TestNoFP(t *testing.T) {
	s := task64(server)
	s.Drop(regset.X86_XSTATE)
	s.Drop(regset.PRFPREG)
	require.Equal(t, initFX()[:fxEnd], fit(t, server, s).Find(regset.X86_XSTATE)[:fxEnd])
	require.Equal(t, initFX(), fit(t, qemu64, s).Find(regset.PRFPREG))
}

func TestFSAVE(t *testing.T) {
	fx := usedFX()
	copy(fx[fxXMM:fxEnd], make([]byte, fxEnd-fxXMM))
	le.PutUint32(fx[fxMXCSR:], initMXCSR)
	require.Equal(t, fx, fxOfFSAVE(fsaveOfFX(fx)))

	s := task32(qemu32)
	s.Put(regset.PRXFPREG, fx)
	fs := fit(t, pentium, s).Find(regset.PRFPREG)
	require.Equal(t, fsaveOfFX(fx), fs)

	back := task32(pentium)
	back.Put(regset.PRFPREG, fs)
	require.Equal(t, fx, fit(t, qemu32, back).Find(regset.PRXFPREG))
}

func TestFSAVETags(t *testing.T) {
	st := func(significand uint64, exponent uint16) []byte {
		b := make([]byte, stSize)
		le.PutUint64(b, significand)
		le.PutUint16(b[8:], exponent)
		return b
	}
	for _, c := range []struct {
		name string
		st   []byte
		tag  uint32
	}{
		{"1.0", st(1<<63, 0x3fff), tagValid},
		{"-0.0", st(0, 0x8000), tagZero},
		{"infinity", st(1<<63, 0x7fff), tagSpecial},
		{"denormal", st(1, 0), tagSpecial},
		{"unnormal", st(1, 0x3fff), tagSpecial},
	} {
		t.Run(c.name, func(t *testing.T) {
			fx := initFX()
			copy(fx[fxST:], c.st)
			// ST(0) is register 5: the stack has grown down by three.
			le.PutUint16(fx[fxFSW:], 5<<11)
			fx[fxFTW] = 1 << 5
			fs := fsaveOfFX(fx)
			require.Equal(t, uint32(0xffffffff)&^(3<<10)|c.tag<<10, le.Uint32(fs[fsFTW:]))
			require.Equal(t, fx[fxFTW], fxOfFSAVE(fs)[fxFTW])
		})
	}
}

// The 64-bit kernel has no place for FCS and FDS of a 32-bit task.
func TestFCS(t *testing.T) {
	s := task32(qemu32)
	fx := usedFX()
	le.PutUint16(fx[fxFCS:], 0x73)
	le.PutUint16(fx[fxFDS:], 0x7b)
	s.Put(regset.PRXFPREG, fx)
	require.Equal(t, fx, fit(t, qemu32, s).Find(regset.PRXFPREG))
	x := fit(t, server, s).Find(regset.X86_XSTATE)
	require.Equal(t, usedFX()[:fxEnd], x[:fxEnd])
}

func TestXStateUsed(t *testing.T) {
	for _, c := range []struct {
		name       string
		components map[int]byte
		want       regset.Mask
	}{
		{"initial", nil, 0},
		{"initial, with bits set", map[int]byte{xAVX: 0, xPKRU: 0}, 0},
		{"AVX", map[int]byte{xAVX: 1}, AVX},
		{"masks", map[int]byte{xOpmask: 1}, AVX512F},
		{"ZMM", map[int]byte{xZMMHi256: 1}, AVX512F},
		{"PKRU of the kernel", map[int]byte{xPKRU: 0x55}, PKU},
		{"tiles", map[int]byte{xTileCfg: 1, xTileData: 1}, AMX},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := task64(server)
			s.Put(regset.X86_XSTATE, xset(server, c.components))
			require.Equal(t, c.want|LM, Arch.Used(s))
		})
	}
	s := task64(server)
	s.Put(regset.X86_XSTATE, withFX(xset(server, nil), usedFX()))
	require.Equal(t, FPU|SSE|LM, Arch.Used(s))
}

func TestUsed(t *testing.T) {
	flat := uint32(descSeg32)
	for _, c := range []struct {
		name  string
		state *regset.State
		edit  edit
		want  regset.Mask
	}{
		{"64-bit", task64(server), func(*regset.State) {}, LM},
		{"32-bit", task32(server), func(*regset.State) {}, TLS},
		{"no TLS", task32(pc), put(regset.I386_TLS, descs(userDesc{6, 0, 0, 0}, userDesc{7, 0, 0, 0}, userDesc{8, 0, 0, 0})), 0},
		{"x87 of FSAVE", task32(pentium), put(regset.PRFPREG, fsaveOfFX(usedFX())), FPU | TLS},
		{"x87 and SSE", task64(qemu64), put(regset.PRFPREG, usedFX()), FPU | SSE | LM},
		{"MXCSR", task32(qemu32), poke32(regset.PRXFPREG, fxMXCSR, 0x1f00), SSE | TLS},
		{"FCW", task32(qemu32), poke32(regset.PRXFPREG, fxFCW, 0x27f), FPU | TLS},
		{"DR0", task64(server), debug(0x1000, 0), DEBUG | LM},
		{"DR7", task64(server), debug(0, control(0, 0)), DEBUG | LM},
		{"LDT", task64(server), put(regset.NoteX86LDT, descs(userDesc{0, 0, 1, flat})), LDT | LM},
		{"LDT of empty entries", task64(server), put(regset.NoteX86LDT, descs(userDesc{0, 0, 0, 0})), LM},
		{"I/O ports", task64(server), put(regset.I386_IOPERM, []byte{0xff, 0x7f}), IOPERM | LM},
		{"no I/O ports", task64(server), put(regset.I386_IOPERM, []byte{0xff, 0xff}), LM},
		{"shadow stack", task64(server), put(regset.X86_SHSTK, words64(0x7f0000000000)), SHSTK | LM},
		{"permit", task64(server), put(regset.NoteX86Permits, words64(1<<xTileData|bitsAVX)), AMX | LM},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.edit(c.state)
			require.Equal(t, c.want, Arch.Used(c.state), "%v", regset.Names(Arch, Arch.Used(c.state)))
		})
	}
}
