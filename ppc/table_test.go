package ppc

import (
	"testing"

	"cr/regset"

	"github.com/stretchr/testify/require"
)

// Sizes as measured and as the kernel's regset tables have them.
func TestSizes(t *testing.T) {
	both := map[regset.Note]int{
		regset.PRFPREG: 264, regset.PPC_VMX: 544, regset.PPC_VSX: 256,
		regset.PPC_TAR: 8, regset.PPC_PPR: 8, regset.PPC_DSCR: 8, regset.PPC_EBB: 24,
		regset.PPC_TM_CFPR: 264, regset.PPC_TM_CVMX: 544, regset.PPC_TM_CVSX: 256, regset.PPC_TM_SPR: 24,
		regset.PPC_TM_CTAR: 8, regset.PPC_TM_CPPR: 8, regset.PPC_TM_CDSCR: 8,
		regset.NoteDebugreg: 8, regset.NotePPCPrctl: 28,
	}
	only64 := map[regset.Note]int{
		regset.PRSTATUS: 384, regset.PPC_TM_CGPR: 384, regset.PPC_PMU: 40, regset.PPC_DEXCR: 16, regset.PPC_HASHKEYR: 8,
	}
	only32 := map[regset.Note]int{regset.PRSTATUS: 192, regset.PPC_TM_CGPR: 192, regset.PPC_SPE: 140}
	for _, abi := range abis {
		sizes := only64
		if abi.WordSize() == 4 {
			sizes = only32
		}
		n := 0
		for _, m := range []map[regset.Note]int{both, sizes} {
			for note, size := range m {
				d := find(abi, note)
				require.NotNil(t, d, "%s note %#x", abi, uint32(note))
				require.Equal(t, size, d.size(abi), "%s %s", abi, d.name)
				n++
			}
		}
		for _, note := range []regset.Note{regset.PPC_PKEY, regset.NoteHWDebug} {
			if d := find(abi, note); d != nil {
				require.NotNil(t, d.sized)
				n++
			}
		}
		require.Equal(t, n, len(Arch.Table(abi)), "sets of %s not tested here", abi)
	}
	require.Nil(t, Arch.Table(regset.I386))
	require.Nil(t, Arch.Table(regset.ABI{Machine: regset.EMPPC}), "32-bit little endian")
}

func TestTable(t *testing.T) {
	for _, abi := range abis {
		seen := map[regset.Note]bool{}
		descs := Arch.Table(abi)
		require.Equal(t, regset.NotePPCPrctl, descs[0].Note, "calls are made before registers are set")
		for _, d := range descs {
			require.False(t, seen[d.Note], d.Name)
			seen[d.Note] = true
			require.NotEmpty(t, d.Name)
			require.NotNil(t, d.Regs)
			require.True(t, d.Used(abi, make([]byte, 3)), "%s: what cannot be read is not unused", d.Name)
			require.Empty(t, d.Regs(abi, make([]byte, 3)), d.Name)
			var out regset.Problems
			d.Check(power10(), abi, make([]byte, 3), &out)
			require.True(t, problem(out, d.Name, ""), d.Name)
		}
		require.Equal(t, abi.WordSize() == 4, table(abi)[regset.PPC_VSX].Access == regset.VSRRegs)
	}
}

// The fields of a set do not overlap, and fill all of it but known gaps.
func TestFields(t *testing.T) {
	gaps := map[regset.Note]int{regset.PPC_VMX: 24, regset.PPC_TM_CVMX: 24}
	for _, abi := range abis {
		for _, d := range sets {
			if !d.has(abi) || d.fields == nil {
				continue
			}
			size := sizePkey
			if d.size != nil {
				size = d.size(abi)
			}
			covered := make([]bool, size)
			names := map[string]bool{}
			for _, f := range d.fields(abi) {
				require.False(t, names[f.name], "%s %s", d.name, f.name)
				names[f.name] = true
				for i := f.off; i < f.off+f.size; i++ {
					require.False(t, covered[i], "%s %s", d.name, f.name)
					covered[i] = true
				}
			}
			gap := 0
			for _, c := range covered {
				if !c {
					gap++
				}
			}
			want := gaps[d.note]
			if d.note == regset.PRSTATUS || d.note == regset.PPC_TM_CGPR {
				want = 4 * abi.WordSize()
			}
			require.Equal(t, want, gap, "%s %s", abi, d.name)
		}
	}
}

func TestRegs(t *testing.T) {
	for _, abi := range abis {
		tab := table(abi)

		data := make([]byte, nGPR*abi.WordSize())
		g := gprs(abi, data)
		for i := 0; i < 44; i++ {
			g.set(i, 0x100+uint64(i))
		}
		regs := tab[regset.PRSTATUS].Regs(abi, data)
		require.Len(t, regs, 44)
		for name, last := range map[string]byte{
			"r0": 0, "r31": 31, "nip": 32, "msr": 33, "orig_r3": 34, "ctr": 35, "lr": 36, "xer": 37, "cr": 38,
			"trap": 40, "dar": 41, "dsisr": 42, "result": 43,
		} {
			v := reg(regs, name)
			require.Len(t, v, abi.WordSize(), name)
			require.Equal(t, []byte{1, last}, v[len(v)-2:], name)
		}

		vmx := make([]byte, sizeVMX)
		vmx[0], vmx[15] = 1, 2
		abi.Order().PutUint32(vmx[33*16:], 0x11223344)
		regs = tab[regset.PPC_VMX].Regs(abi, vmx)
		require.Len(t, regs, 34)
		require.Equal(t, []byte{0x11, 0x22, 0x33, 0x44}, reg(regs, "vrsave"))
		v0 := reg(regs, "v0")
		if abi.BigEndian {
			require.Equal(t, []byte{1, 2}, []byte{v0[0], v0[15]})
			vmx[32*16+15] = 1
		} else {
			require.Equal(t, []byte{2, 1}, []byte{v0[0], v0[15]})
			vmx[32*16] = 1
		}
		require.Equal(t, []byte{0, 0, 0, 1}, reg(tab[regset.PPC_VMX].Regs(abi, vmx), "vscr"))

		fpr := with(abi, make([]byte, sizeFPR), 31*8, 0x3ff0000000000000)
		fpr = with(abi, fpr, 32*8, 0xf8)
		regs = tab[regset.PRFPREG].Regs(abi, fpr)
		require.Equal(t, []byte{0x3f, 0xf0, 0, 0, 0, 0, 0, 0}, reg(regs, "f31"))
		require.Equal(t, []byte{0, 0, 0, 0, 0, 0, 0, 0xf8}, reg(regs, "fpscr"))

		regs = tab[regset.NoteHWDebug].Regs(abi, EncodeHWDebug(abi, []HWBreakpoint{{Version: 1}, {Version: 1, Addr: 0x1234}}))
		require.Equal(t, []byte{0, 0, 0, 1}, reg(regs, "bp0.version"))
		require.Equal(t, []byte{0, 0, 0, 0, 0, 0, 0x12, 0x34}, reg(regs, "bp1.addr"))
	}

	spe := make([]byte, sizeSPE)
	spe[0], spe[31*4+3], spe[32*4], spe[34*4+3] = 1, 2, 3, 4
	regs := table(regset.PPC)[regset.PPC_SPE].Regs(regset.PPC, spe)
	require.Len(t, regs, 34)
	require.Equal(t, []byte{1, 0, 0, 0}, reg(regs, "ev0h"))
	require.Equal(t, []byte{0, 0, 0, 2}, reg(regs, "ev31h"))
	require.Equal(t, []byte{3, 0, 0, 0, 0, 0, 0, 0}, reg(regs, "acc"))
	require.Equal(t, []byte{0, 0, 0, 4}, reg(regs, "spefscr"))

	regs = table(regset.PPC64LE)[regset.PPC_PKEY].Regs(regset.PPC64LE, u64s(regset.PPC64LE, 1))
	require.Len(t, regs, 1, "fitted: AMR alone")
}
