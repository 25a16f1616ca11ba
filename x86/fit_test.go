package x86

import (
	"bytes"
	"testing"

	"cr/regset"

	"github.com/stretchr/testify/require"
)

func fit(t *testing.T, m *regset.Machine, s *regset.State) *regset.State {
	t.Helper()
	before := s.Clone()
	f, err := Arch.Fit(m, s)
	require.NoError(t, err)
	requireSame(t, before, s)
	require.Empty(t, Arch.Check(m, f))
	again, err := Arch.Fit(m, f)
	require.NoError(t, err)
	requireSame(t, f, again)
	return f
}

// requireSame compares states, and names the sets that differ.
func requireSame(t *testing.T, want, got *regset.State) {
	t.Helper()
	require.Equal(t, want.ABI, got.ABI)
	require.Equal(t, want.Used, got.Used)
	require.Equal(t, notes(want), notes(got))
	for i, set := range want.Sets {
		require.True(t, bytes.Equal(set.Data, got.Sets[i].Data), "set %#x", uint32(set.Note))
	}
}

func notes(s *regset.State) []regset.Note {
	var list []regset.Note
	for _, set := range s.Sets {
		list = append(list, set.Note)
	}
	return list
}

// A state goes back to its own machine unchanged, but for the sets that hold
// what another holds too.
func TestFitSameMachine(t *testing.T) {
	for _, m := range machines {
		states := []*regset.State{task32(m)}
		if m.Runs(regset.X86_64) {
			states = append(states, task64(m))
		}
		for _, s := range states {
			f := fit(t, m, s)
			for _, set := range f.Sets {
				require.Equal(t, s.Find(set.Note), set.Data, "%s on %v: set %#x", s.ABI, m, uint32(set.Note))
			}
		}
	}
}

func TestFitSets(t *testing.T) {
	for _, c := range []struct {
		name  string
		m     *regset.Machine
		state *regset.State
		want  []regset.Note
	}{
		{"64-bit, XSAVE", server, task64(server), []regset.Note{regset.NoteX86Permits, regset.X86_XSTATE, regset.NoteDebugreg, regset.PRSTATUS}},
		{"64-bit, FXSAVE", qemu64, task64(server), []regset.Note{regset.NoteX86Permits, regset.PRFPREG, regset.NoteDebugreg, regset.PRSTATUS}},
		{"32-bit, XSAVE", pc, task32(pentium), []regset.Note{regset.I386_TLS, regset.X86_XSTATE, regset.NoteDebugreg, regset.PRSTATUS}},
		{"32-bit, FXSAVE", qemu32, task32(server), []regset.Note{regset.I386_TLS, regset.PRXFPREG, regset.NoteDebugreg, regset.PRSTATUS}},
		{"32-bit, FSAVE", pentium, task32(server), []regset.Note{regset.I386_TLS, regset.PRFPREG, regset.NoteDebugreg, regset.PRSTATUS}},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, notes(fit(t, c.m, c.state)))
		})
	}
}

func TestFitFlags(t *testing.T) {
	for _, c := range []struct {
		name     string
		m        *regset.Machine
		state    *regset.State
		in, want uint64
	}{
		{"arithmetic flags stay", server, task64(server), 0xed7, 0xed7 | flagIF},
		{"NT stays on a 64-bit kernel", server, task64(server), 0x4246, 0x4246},
		{"NT goes on a 32-bit kernel", pc, task32(pc), 0x4246, 0x246},
		{"IF and the fixed bit are set", server, task64(server), 0, 0x202},
		{"RF and AC stay", server, task64(server), 0x50246, 0x50246},
		{"ID, VIF, VIP and what lies above go", server, task64(server), 0xffffffff_00380246, 0x246},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := gprLayoutOf(c.state.ABI)
			setGPR(l, "eflags", c.in)(c.state)
			f := fit(t, c.m, c.state)
			require.Equal(t, c.want, gprValues(c.state.ABI, f.Find(regset.PRSTATUS))["eflags"])
		})
	}
}

// A 32-bit task moves between a 32-bit and a 64-bit kernel.
func TestFitSelectors(t *testing.T) {
	for _, c := range []struct{ from, to *regset.Machine }{
		{pc, server}, {server, pc}, {pc, qemu32}, {server, laptop},
	} {
		s := task32(c.from)
		set32("fs", uint64(gdtOf(c.from).selector(segTLS+2)))(s)
		set32("es", 0)(s)
		set32("ds", 0x0f)(s) // LDT entry 1
		s.Put(regset.NoteX86LDT, descs(userDesc{1, 0, descMaxLimit, descSeg32}))
		f := fit(t, c.to, s)

		want := values32(c.to)
		want["fs"] = uint64(gdtOf(c.to).selector(segTLS + 2))
		want["ds"] = 0x0f
		delete(want, "es")
		want["orig_eax"] = 0xffffffff
		require.Equal(t, want, nonZero(gprValues(regset.I386, f.Find(regset.PRSTATUS))))
		require.Equal(t, tlsSet(c.to), f.Find(regset.I386_TLS))
		require.Equal(t, s.Find(regset.NoteX86LDT), f.Find(regset.NoteX86LDT))
	}
}

// A task whose code lies in its LDT is told by its stack segment.
func TestFitLDTCode(t *testing.T) {
	s := task32(pc)
	set32("cs", 0x0f)(s)
	s.Put(regset.NoteX86LDT, descs(userDesc{1, 0, descMaxLimit, descSeg32 | 2<<1}))
	v := gprValues(regset.I386, fit(t, server, s).Find(regset.PRSTATUS))
	require.Equal(t, uint64(0x0f), v["cs"])
	require.Equal(t, uint64(0x2b), v["ss"])
	require.Equal(t, uint64(0x63), v["gs"])
}

func TestFitDescriptors(t *testing.T) {
	const lm = 1 << 7
	s := task32(pc)
	poke32(regset.I386_TLS, 12, 0xffffff00|lm|descSeg32|descPages|descUseable)(s)
	s.Put(regset.NoteX86LDT, descs(userDesc{7, 0x1000, 0xfff, lm | descSeg32}))
	f := fit(t, pc, s)
	require.Equal(t, tlsSet(pc), f.Find(regset.I386_TLS))
	require.Equal(t, descs(userDesc{7, 0x1000, 0xfff, descSeg32}), f.Find(regset.NoteX86LDT))
}

func TestFitDebug(t *testing.T) {
	s := task64(server)
	// DR0 writes 4 bytes, DR1 executes, DR2 is set and disabled, DR3 is not
	// set and has fields that the kernel would mind if it were.
	const control = 1 | 1<<2 | 0xd<<16 | 0<<20 | 1<<24 | 6<<28
	s.Put(regset.NoteDebugreg, words64(0x1000, 0x2001, 0x3000, 0, 1<<40|0xffff0ff1, control|dr7Reserved|0x700))
	f := fit(t, server, s)
	require.Equal(t, words64(0x1000, 0x2001, 0x3000, 0, 0xffff0ff1, control&^(0xf<<28)|0x700), f.Find(regset.NoteDebugreg))

	s.Put(regset.NoteDebugreg, words64(0x1000, 0, 0, 0, 0, 1|9<<16)) // 8 bytes
	require.Equal(t, s.Find(regset.NoteDebugreg), fit(t, server, s).Find(regset.NoteDebugreg))
}

func TestFitIOPerm(t *testing.T) {
	s := task64(server)
	s.Put(regset.I386_IOPERM, fill(8192, 0xff))
	require.Nil(t, fit(t, server, s).Find(regset.I386_IOPERM))
}

func TestFitLA57(t *testing.T) {
	s := task64(server)
	set64("fs_base", 1<<50)(s)
	require.NotEmpty(t, Arch.Check(server, s))
	m := *server
	m.Has |= LA57
	require.Equal(t, s.Find(regset.PRSTATUS), fit(t, &m, s).Find(regset.PRSTATUS))
}

func TestFitPermits(t *testing.T) {
	s := task64(server)
	s.Put(regset.NoteX86Permits, words64(server.XFeatures))
	require.Equal(t, words64(server.XFeatures), fit(t, server, s).Find(regset.NoteX86Permits))
	s.Put(regset.NoteX86Permits, words64(server.XFeatures&^xPermit))
	require.Equal(t, words64(bitsAVX), fit(t, laptop, s).Find(regset.NoteX86Permits))
}

// A process without an LDT may say so by a set without entries.
func TestFitEmptyLDT(t *testing.T) {
	s := task64(server)
	s.Put(regset.NoteX86LDT, []byte{})
	require.NotContains(t, notes(fit(t, server, s)), regset.NoteX86LDT)
}
