package x86

import (
	"errors"
	"testing"

	"cr/regset"

	"github.com/stretchr/testify/require"
)

// edit changes one set of a state.
type edit func(s *regset.State)

func set64(name string, v uint64) edit { return setGPR(&gpr64, name, v) }
func set32(name string, v uint64) edit { return setGPR(&gpr32, name, v) }

func setGPR(l *gprLayout, name string, v uint64) edit {
	return func(s *regset.State) {
		for i, n := range l.names {
			if n == name {
				gprs{l, s.Find(regset.PRSTATUS)}.set(i, v)
				return
			}
		}
		panic("no register " + name)
	}
}

func put(n regset.Note, data []byte) edit {
	return func(s *regset.State) { s.Put(n, data) }
}

func poke64(n regset.Note, off int, v uint64) edit {
	return func(s *regset.State) { le.PutUint64(s.Find(n)[off:], v) }
}

func poke32(n regset.Note, off int, v uint32) edit {
	return func(s *regset.State) { le.PutUint32(s.Find(n)[off:], v) }
}

// debug sets DR0 and DR7.
func debug(addr, control uint64) edit {
	return put(regset.NoteDebugreg, words64(addr, 0, 0, 0, 0, control))
}

// control makes a DR7 that enables DR0.
func control(rw, length uint64) uint64 { return 1 | rw<<16 | length<<18 }

func TestRefused(t *testing.T) {
	flat := uint32(descSeg32 | descPages | descUseable)
	for _, c := range []struct {
		name  string
		m     *regset.Machine
		state *regset.State
		edit  edit
		want  regset.Problem // Reason is not compared
	}{
		{"rip not canonical", server, task64(server), set64("rip", 1<<63), regset.Problem{Set: namePRSTATUS, Reg: "rip"}},
		{"rip of the kernel", server, task64(server), set64("rip", 0xffffffff81000000), regset.Problem{Set: namePRSTATUS, Reg: "rip"}},
		{"rip on the guard page", server, task64(server), set64("rip", limit64), regset.Problem{Set: namePRSTATUS, Reg: "rip"}},
		{"fs_base of the kernel", server, task64(server), set64("fs_base", 0xffff888000000000), regset.Problem{Set: namePRSTATUS, Reg: "fs_base"}},
		{"gs_base not canonical", server, task64(server), set64("gs_base", 1<<47), regset.Problem{Set: namePRSTATUS, Reg: "gs_base"}},
		{"IOPL", server, task64(server), set64("eflags", 0x3246), regset.Problem{Set: namePRSTATUS, Reg: "eflags"}},
		{"VM", server, task32(server), set32("eflags", 0x20246), regset.Problem{Set: namePRSTATUS, Reg: "eflags"}},
		{"cs of the kernel", server, task64(server), set64("cs", 0x10), regset.Problem{Set: namePRSTATUS, Reg: "cs"}},
		{"cs 0", server, task64(server), set64("cs", 0), regset.Problem{Set: namePRSTATUS, Reg: "cs"}},
		{"cs of ring 0", server, task64(server), set64("cs", 0x30), regset.Problem{Set: namePRSTATUS, Reg: "cs"}},
		{"cs with more than 16 bits", server, task64(server), set64("cs", 0x10033), regset.Problem{Set: namePRSTATUS, Reg: "cs"}},
		{"64-bit cs of a 32-bit task", server, task32(server), set32("cs", 0x33), regset.Problem{Set: namePRSTATUS, Reg: "cs"}},
		{"ss of the kernel", server, task64(server), set64("ss", 0x18), regset.Problem{Set: namePRSTATUS, Reg: "ss"}},
		{"ss 0", server, task64(server), set64("ss", 0), regset.Problem{Set: namePRSTATUS, Reg: "ss"}},
		{"ds of ring 0", server, task64(server), set64("ds", 0x28), regset.Problem{Set: namePRSTATUS, Reg: "ds"}},
		{"es of the TSS", server, task64(server), set64("es", 0x43), regset.Problem{Set: namePRSTATUS, Reg: "es"}},
		{"fs of TLS in a 64-bit task", server, task64(server), set64("fs", 0x63), regset.Problem{Set: namePRSTATUS, Reg: "fs"}},
		{"gs of the other kernel's TLS", server, task32(server), set32("gs", 0x3b), regset.Problem{Set: namePRSTATUS, Reg: "gs"}},
		{"fs of an LDT that is not there", server, task64(server), set64("fs", 0x7), regset.Problem{Set: namePRSTATUS, Reg: "fs"}},
		{"eip of the kernel", pc, task32(pc), set32("eip", 0xc0000000), regset.Problem{Set: namePRSTATUS, Reg: "eip"}},
		{"eip at the end", server, task32(server), set32("eip", 0xffffe000), regset.Problem{Set: namePRSTATUS, Reg: "eip"}},
		{"PRSTATUS short", server, task64(server), put(regset.PRSTATUS, make([]byte, 68)), regset.Problem{Set: namePRSTATUS}},
		{"PRSTATUS missing", server, task64(server), func(s *regset.State) { s.Drop(regset.PRSTATUS) }, regset.Problem{Set: namePRSTATUS}},

		{"PRFPREG long", server, task64(server), put(regset.PRFPREG, make([]byte, 513)), regset.Problem{Set: namePRFPREG}},
		{"PRFPREG short", pc, task32(pc), put(regset.PRFPREG, make([]byte, 107)), regset.Problem{Set: namePRFPREG}},
		{"MXCSR of PRFPREG", server, task64(server), poke32(regset.PRFPREG, fxMXCSR, 1<<31), regset.Problem{Set: namePRFPREG, Reg: "mxcsr"}},
		{"MXCSR of PRXFPREG", pc, task32(pc), poke32(regset.PRXFPREG, fxMXCSR, 1<<18), regset.Problem{Set: namePRXFPREG, Reg: "mxcsr"}},
		{"MXCSR of XSTATE", server, task64(server), poke32(regset.X86_XSTATE, fxMXCSR, 0xffffffff), regset.Problem{Set: nameXSTATE, Reg: "mxcsr"}},
		{"XSTATE short", server, task64(server), put(regset.X86_XSTATE, make([]byte, 575)), regset.Problem{Set: nameXSTATE}},
		{"XSTATE long", server, task64(server), put(regset.X86_XSTATE, make([]byte, maxXStateLen+1)), regset.Problem{Set: nameXSTATE}},
		{"compacted", server, task64(server), poke64(regset.X86_XSTATE, xCompBV, 1<<63), regset.Problem{Set: nameXSTATE, Reg: "xcomp_bv"}},
		{"header's reserved bytes", server, task64(server), poke64(regset.X86_XSTATE, xExtended-8, 1), regset.Problem{Set: nameXSTATE}},
		{"supervisor component", server, task64(server), poke64(regset.X86_XSTATE, xBV, 1<<11), regset.Problem{Set: nameXSTATE, Reg: "component 11"}},
		{"bit 63", server, task64(server), poke64(regset.X86_XSTATE, xBV, 1<<63), regset.Problem{Set: nameXSTATE, Reg: "xstate_bv"}},
		{"component beyond the end", laptop, task64(laptop), func(s *regset.State) {
			s.Put(regset.NoteX86XLayout, Layout([]regset.XComponent{{Number: xAVX, Offset: 640, Size: 256}}))
			le.PutUint64(s.Find(regset.X86_XSTATE)[xBV:], xcr0AVX)
		}, regset.Problem{Set: nameXSTATE, Reg: "YMM_Hi128"}},
		{"AVX on a machine without", qemu64, task64(server), put(regset.X86_XSTATE, xset(server, map[int]byte{xAVX: 1})), regset.Problem{Set: nameXSTATE, Reg: "YMM_Hi128", Feature: "avx"}},
		{"AVX-512 on a machine without", laptop, task64(server), put(regset.X86_XSTATE, xset(server, map[int]byte{xHi16ZMM: 1})), regset.Problem{Set: nameXSTATE, Reg: "Hi16_ZMM", Feature: "avx512f"}},
		{"AMX on a machine without", zen4, task64(server), put(regset.X86_XSTATE, xset(server, map[int]byte{xTileData: 1})), regset.Problem{Set: nameXSTATE, Reg: "XTILEDATA", Feature: "amx_tile"}},
		{"PKRU on a machine without", laptop, task64(zen4), put(regset.X86_XSTATE, xset(zen4, map[int]byte{xPKRU: 4})), regset.Problem{Set: nameXSTATE, Reg: "PKRU", Feature: "pku"}},
		{"APX on a machine without", server, task64(apx), put(regset.X86_XSTATE, xset(apx, map[int]byte{xAPX: 4})), regset.Problem{Set: nameXSTATE, Reg: "APX", Feature: "apx"}},
		{"component of another size", laptop, task64(laptop), func(s *regset.State) {
			s.Put(regset.NoteX86XLayout, Layout([]regset.XComponent{{Number: xAVX, Offset: 576, Size: 128}}))
			s.Put(regset.X86_XSTATE, xset(laptop, map[int]byte{xAVX: 1}))
		}, regset.Problem{Set: nameXSTATE, Reg: "YMM_Hi128"}},
		{"SSE on a machine without", pentium, task32(qemu32), poke64(regset.PRXFPREG, fxXMM, 1), regset.Problem{Set: namePRXFPREG, Feature: "sse"}},
		{"layout of odd size", server, task64(server), put(regset.NoteX86XLayout, make([]byte, 13)), regset.Problem{Set: nameXLayout}},
		{"layout with a hostile offset", server, task64(server), put(regset.NoteX86XLayout, Layout([]regset.XComponent{{Number: xAVX, Offset: -1, Size: 256}})), regset.Problem{Set: nameXLayout, Reg: "2"}},
		{"layout with a hostile size", server, task64(server), put(regset.NoteX86XLayout, Layout([]regset.XComponent{{Number: xAVX, Offset: 576, Size: 1<<31 - 1}})), regset.Problem{Set: nameXLayout, Reg: "2"}},
		{"layout that overlaps the header", server, task64(server), put(regset.NoteX86XLayout, Layout([]regset.XComponent{{Number: xAVX, Offset: 512, Size: 256}})), regset.Problem{Set: nameXLayout, Reg: "2"}},
		{"layout twice", server, task64(server), put(regset.NoteX86XLayout, Layout([]regset.XComponent{{Number: xAVX, Offset: 576, Size: 256}, {Number: xAVX, Offset: 576, Size: 256}})), regset.Problem{Set: nameXLayout, Reg: "2"}},

		{"TLS short", pc, task32(pc), put(regset.I386_TLS, make([]byte, 16)), regset.Problem{Set: nameTLS}},
		{"TLS entry of no kernel", pc, task32(pc), poke32(regset.I386_TLS, 0, 2), regset.Problem{Set: nameTLS, Reg: "tls0"}},
		{"TLS entry out of order", pc, task32(pc), poke32(regset.I386_TLS, userDescSize, 9), regset.Problem{Set: nameTLS, Reg: "tls1"}},
		{"TLS of 16 bits", pc, task32(pc), poke32(regset.I386_TLS, 12, flat&^descSeg32), regset.Problem{Set: nameTLS, Reg: "tls0"}},
		{"TLS code", pc, task32(pc), poke32(regset.I386_TLS, 12, flat|2<<1), regset.Problem{Set: nameTLS, Reg: "tls0"}},
		{"TLS not present", pc, task32(pc), poke32(regset.I386_TLS, 12, flat|descNotPresent), regset.Problem{Set: nameTLS, Reg: "tls0"}},
		{"TLS limit", pc, task32(pc), poke32(regset.I386_TLS, 8, 1<<20), regset.Problem{Set: nameTLS, Reg: "tls0"}},
		{"TLS of another kernel than cs", pc, task32(pc), put(regset.I386_TLS, tlsSet(server)), regset.Problem{Set: nameTLS}},

		{"LDT of odd size", pc, task32(pc), put(regset.NoteX86LDT, make([]byte, 17)), regset.Problem{Set: nameLDT}},
		{"LDT entry number", pc, task32(pc), put(regset.NoteX86LDT, descs(userDesc{8192, 0, 1, flat})), regset.Problem{Set: nameLDT, Reg: "ldt8192"}},
		{"LDT entry twice", pc, task32(pc), put(regset.NoteX86LDT, descs(userDesc{3, 0, 1, flat}, userDesc{3, 0, 1, flat})), regset.Problem{Set: nameLDT, Reg: "ldt3"}},
		{"LDT conforming code", pc, task32(pc), put(regset.NoteX86LDT, descs(userDesc{3, 0, 1, flat | 3<<1})), regset.Problem{Set: nameLDT, Reg: "ldt3"}},
		{"LDT limit", pc, task32(pc), put(regset.NoteX86LDT, descs(userDesc{3, 0, 1 << 20, flat})), regset.Problem{Set: nameLDT, Reg: "ldt3"}},

		{"DR0 of the kernel", server, task64(server), debug(0xffffffff81000000, control(1, 0)), regset.Problem{Set: nameDebugreg, Reg: "dr0"}},
		{"DR0 of the kernel, disabled", server, task64(server), debug(0xffffffff81000000, 0), regset.Problem{Set: nameDebugreg, Reg: "dr0"}},
		{"DR0 across the end", server, task64(server), debug(limit64-4, control(1, 2)), regset.Problem{Set: nameDebugreg, Reg: "dr0"}},
		{"DR0 wraps around", server, task64(server), debug(^uint64(0), control(1, 0)), regset.Problem{Set: nameDebugreg, Reg: "dr0"}},
		{"DR0 of a 32-bit task's kernel", pc, task32(pc), debug(0xc0001000, control(1, 0)), regset.Problem{Set: nameDebugreg, Reg: "dr0"}},
		{"GD", server, task64(server), debug(0x1000, dr7GD), regset.Problem{Set: nameDebugreg, Reg: "dr7"}},
		{"DR7 with more than 32 bits", server, task64(server), debug(0, 1<<32), regset.Problem{Set: nameDebugreg, Reg: "dr7"}},
		{"break on I/O", server, task64(server), debug(0x80, control(2, 0)), regset.Problem{Set: nameDebugreg, Reg: "dr0"}},
		{"break on I/O, by G0", server, task64(server), debug(0, control(2, 0)+1), regset.Problem{Set: nameDebugreg, Reg: "dr0"}},
		{"break on I/O, disabled", server, task64(server), debug(0x80, control(2, 0)-1), regset.Problem{Set: nameDebugreg, Reg: "dr0"}},
		{"length of an instruction", server, task64(server), debug(0x1000, control(0, 1)), regset.Problem{Set: nameDebugreg, Reg: "dr0"}},
		{"alignment 2", server, task64(server), debug(0x1001, control(1, 1)), regset.Problem{Set: nameDebugreg, Reg: "dr0"}},
		{"alignment 4", server, task64(server), debug(0x1002, control(3, 3)), regset.Problem{Set: nameDebugreg, Reg: "dr0"}},
		{"alignment 8", server, task64(server), debug(0x1004, control(3, 2)), regset.Problem{Set: nameDebugreg, Reg: "dr0"}},
		{"length 8 on a 32-bit kernel", pc, task32(pc), debug(0x1000, control(1, 2)), regset.Problem{Set: nameDebugreg, Reg: "dr0"}},
		{"debug registers short", server, task64(server), put(regset.NoteDebugreg, make([]byte, 40)), regset.Problem{Set: nameDebugreg}},

		{"I/O ports", server, task64(server), put(regset.I386_IOPERM, []byte{0xff, 0xfe}), regset.Problem{Set: nameIOPERM, Feature: "ioperm"}},
		{"ssp of the kernel", server, task64(server), put(regset.X86_SHSTK, words64(1<<63)), regset.Problem{Set: nameSHSTK, Reg: "ssp"}},
		{"ssp not aligned", server, task64(server), put(regset.X86_SHSTK, words64(0x7f0000000004)), regset.Problem{Set: nameSHSTK, Reg: "ssp"}},
		{"ssp short", server, task64(server), put(regset.X86_SHSTK, make([]byte, 4)), regset.Problem{Set: nameSHSTK}},
		{"shadow stack on a machine without", qemu64, task64(qemu64), put(regset.X86_SHSTK, words64(0x7f0000000000)), regset.Problem{Set: nameSHSTK, Feature: "shstk"}},
		{"permits short", server, task64(server), put(regset.NoteX86Permits, make([]byte, 4)), regset.Problem{Set: namePermits}},
		{"permit of a machine without", zen4, task64(server), put(regset.NoteX86Permits, words64(1<<xTileData)), regset.Problem{Set: namePermits, Reg: "XTILEDATA", Feature: "amx_tile"}},

		{"feature", qemu64, task64(qemu64), func(s *regset.State) { s.Used |= AVX2 }, regset.Problem{Feature: "avx2"}},
		{"unknown feature", server, task64(server), func(s *regset.State) { s.Used |= 1 << 63 }, regset.Problem{}},
		{"unknown set", server, task64(server), put(0x1234, nil), regset.Problem{}},
		{"set of the other ABI", server, task64(server), put(regset.I386_TLS, tlsSet(server)), regset.Problem{}},
		{"set twice", server, task64(server), func(s *regset.State) {
			s.Sets = append(s.Sets, s.Sets[0])
		}, regset.Problem{Set: namePRSTATUS}},
		{"64-bit task, 32-bit kernel", pc, task64(laptop), func(*regset.State) {}, regset.Problem{}},
		{"powerpc task", server, &regset.State{ABI: regset.PPC}, func(*regset.State) {}, regset.Problem{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.edit(c.state)
			problems := Arch.Check(c.m, c.state)
			require.NotEmpty(t, problems)
			found := false
			for _, p := range problems {
				require.NotEmpty(t, p.Reason)
				found = found || p.Set == c.want.Set && p.Reg == c.want.Reg && p.Feature == c.want.Feature
			}
			require.True(t, found, "problems found: %s", problems)
			fit, err := Arch.Fit(c.m, c.state)
			require.Nil(t, fit)
			var list regset.Problems
			require.True(t, errors.As(err, &list))
			require.Equal(t, problems, list)
		})
	}
}

// Every lacking feature is reported, and none twice.
func TestAllProblems(t *testing.T) {
	s := task64(server)
	s.Put(regset.X86_XSTATE, xset(server, map[int]byte{xAVX: 1, xOpmask: 1, xPKRU: 1}))
	s.Used = AVX | AVX512F | AVX2
	var got []string
	for _, p := range Arch.Check(qemu64, s) {
		got = append(got, p.Set+" "+p.Reg+" "+p.Feature)
	}
	require.Equal(t, []string{
		"NT_X86_XSTATE YMM_Hi128 avx", "NT_X86_XSTATE opmask avx512f", "NT_X86_XSTATE PKRU pku", "  avx2",
	}, got)
}

func TestPortsUnsaved(t *testing.T) {
	for _, d := range Arch.Table(regset.I386) {
		if d.Note != regset.I386_IOPERM {
			continue
		}
		require.Contains(t, d.Unsaved(regset.I386, []byte{0xff, 0xfe}), "I/O ports")
		require.Empty(t, d.Unsaved(regset.I386, []byte{0xff, 0xff}))
		return
	}
	t.Fatal("no such set")
}
