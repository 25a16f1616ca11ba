package x86

import (
	"fmt"
	"testing"

	"cr/regset"

	"github.com/stretchr/testify/require"
)

func TestTable(t *testing.T) {
	for _, abi := range []regset.ABI{regset.I386, regset.X86_64} {
		table := Arch.Table(abi)
		seen := map[regset.Note]bool{}
		for _, d := range table {
			require.False(t, seen[d.Note], d.Name)
			seen[d.Note] = true
			require.NotNil(t, d.Regs, d.Name)
			require.NotNil(t, d.Used, d.Name)
			require.NotNil(t, d.Check, d.Name)
			require.NotNil(t, d.Fit, d.Name)
		}
		require.Equal(t, regset.PRSTATUS, table[len(table)-1].Note)
		require.Equal(t, abi == regset.I386, seen[regset.I386_TLS])
		require.Equal(t, abi == regset.X86_64, seen[regset.X86_SHSTK])
	}
	require.Nil(t, Arch.Table(regset.PPC64))
}

func TestFeatures(t *testing.T) {
	names := map[string]bool{}
	for i, f := range Arch.Features() {
		require.Equal(t, regset.Mask(1)<<uint(i), f.Bit, f.Name)
		require.False(t, names[f.Name], f.Name)
		names[f.Name] = true
		require.NotEmpty(t, f.Doc)
	}
	require.Equal(t, []string{"avx2", "0x8000000000000000"}, regset.Names(Arch, AVX2|1<<63))
}

// regs gives the registers of a set as text.
func regs(abi regset.ABI, n regset.Note, data []byte) map[string]string {
	values := map[string]string{}
	for _, d := range Arch.Table(abi) {
		if d.Note == n {
			for _, r := range d.Regs(abi, data) {
				values[r.Name] = fmt.Sprintf("%x", r.Value)
			}
		}
	}
	return values
}

func TestRegs(t *testing.T) {
	fx := usedFX()
	x := withFX(xset(server, map[int]byte{xAVX: 2, xOpmask: 5, xZMMHi256: 6, xHi16ZMM: 7, xPKRU: 9, xTileData: 8}), fx)
	s64, s32 := task64(server), task32(pc)
	for _, c := range []struct {
		name string
		abi  regset.ABI
		note regset.Note
		data []byte
		n    int
		want map[string]string
	}{
		{"gpr 64", regset.X86_64, regset.PRSTATUS, s64.Find(regset.PRSTATUS), 27, map[string]string{
			"rip": "0000000000401000", "cs": "0000000000000033", "fs_base": "00007f0000001740"}},
		{"gpr 32", regset.I386, regset.PRSTATUS, s32.Find(regset.PRSTATUS), 17, map[string]string{
			"eip": "08049000", "cs": "00000073", "orig_eax": "ffffffff"}},
		{"FXSAVE 64", regset.X86_64, regset.PRFPREG, fx, 7 + 8 + 16, map[string]string{
			"fcw": "027f", "fsw": "1800", "ftw": "ff", "fop": "05d9", "fip": "0000000008049123", "mxcsr": "00001fa0",
			"st0": "29282726252423222120", "st7": "99989796959493929190", "xmm0": "afaeadacabaaa9a8a7a6a5a4a3a2a1a0"}},
		{"FXSAVE 32", regset.I386, regset.PRXFPREG, fx, 9 + 8 + 8, map[string]string{"fip": "08049123", "fcs": "0000"}},
		{"FSAVE", regset.I386, regset.PRFPREG, fsaveOfFX(fx), 8 + 8, map[string]string{
			"fcw": "027f", "fop": "05d9", "fdp": "0804a000", "st0": "29282726252423222120"}},
		{"XSTATE", regset.X86_64, regset.X86_XSTATE, x, 7 + 8 + 16 + 2 + 16 + 8 + 16 + 16 + 1 + 1 + 8, map[string]string{
			"xcr0": "00000000000602e7", "xstate_bv": "00000000000402e7", "ymm15h": fmt.Sprintf("%x", fill(16, 2)),
			"k7": "0505050505050505", "zmm0h": fmt.Sprintf("%x", fill(32, 6)), "zmm31": fmt.Sprintf("%x", fill(64, 7)),
			"pkru": "09090909", "tmm7": fmt.Sprintf("%x", fill(1024, 8))}},
		{"debug", regset.X86_64, regset.NoteDebugreg, words64(1, 2, 3, 4, 6, 7), 6, map[string]string{"dr3": "0000000000000004", "dr6": "0000000000000006", "dr7": "0000000000000007"}},
		{"TLS", regset.I386, regset.I386_TLS, tlsSet(pc), 3, map[string]string{"tls0": "00000051000fffffb7f00a0000000006"}},
		{"LDT", regset.I386, regset.NoteX86LDT, descs(userDesc{9, 0, 1, 1}), 1, map[string]string{"ldt9": "00000001000000010000000000000009"}},
		{"shadow stack", regset.X86_64, regset.X86_SHSTK, words64(0x1000), 1, map[string]string{"ssp": "0000000000001000"}},
		{"permits", regset.X86_64, regset.NoteX86Permits, words64(7), 1, map[string]string{"xcomp_perm": "0000000000000007"}},
		{"ports", regset.I386, regset.I386_IOPERM, []byte{1, 2}, 1, map[string]string{"ioperm": "0201"}},
		{"layout", regset.I386, regset.NoteX86XLayout, Layout(laptop.XComponents), 1, map[string]string{"YMM_Hi128": "0000010000000240"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := regs(c.abi, c.note, c.data)
			require.Len(t, got, c.n)
			for n, v := range c.want {
				require.Equal(t, v, got[n], n)
			}
		})
	}
}

// The layout of AMD is told from Intel's by the size of the area.
func TestGuessLayout(t *testing.T) {
	for _, m := range []*regset.Machine{server, zen4, laptop, apx, pc} {
		got := guessLayout(xset(m, nil))
		for n, p := range machineLayout(m) {
			require.Equal(t, p, got[n], xname(n))
		}
	}
	odd := append(xset(zen4, nil), 0, 0, 0, 0, 0, 0, 0, 0)
	require.Equal(t, xlayout{xAVX: {576, 256}}, guessLayout(odd))
}

func TestLDTFromRaw(t *testing.T) {
	raw := words64(
		0,
		0x00cff3000000ffff, // flat 32-bit data
		0,
		0x12cf_fb34_5678_ffff, // 32-bit code, readable, at 0x12345678
		0x0010_7200_0000_0fff, // not present, 16-bit data, useable
		0x004f_f500_0000_ffff, // 32-bit, expands down, read-only
	)
	want := descs(
		userDesc{1, 0, descMaxLimit, descSeg32 | descPages},
		userDesc{3, 0x12345678, descMaxLimit, descSeg32 | descPages | 2<<1},
		userDesc{4, 0, 0xfff, descNotPresent | descUseable},
		userDesc{5, 0, descMaxLimit, descSeg32 | descReadExec | 1<<1},
	)
	require.Equal(t, userDescs(want), userDescs(LDTFromRaw(append(raw, 1, 2, 3))))
	require.Nil(t, LDTFromRaw(nil))
	require.Nil(t, LDTFromRaw(make([]byte, 64)))
	require.Len(t, LDTFromRaw(fill(8*(ldtEntries+9), 0xff)), ldtEntries*userDescSize)
}
