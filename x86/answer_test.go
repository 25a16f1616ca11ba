package x86

import (
	"testing"

	"github.com/stretchr/testify/require"

	"cr/regset"
)

// all says that a CPU has all that there is.
func all(fn, sub uint32) Leaf {
	return Leaf{fn, sub, ^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0)}
}

// TestAnswerAgreesWithDescribe: what cpuid says to a task that may see some
// features is described as a machine that has those.
func TestAnswerAgreesWithDescribe(t *testing.T) {
	const every = ^regset.Mask(0)
	for name, allowed := range Levels {
		allowed = Usable(allowed | Untold)
		var leaves []Leaf
		for _, at := range [][2]uint32{{1, 0}, {7, 0}, {7, 1}, {0xd, 0}, {0xd, 1}, {extended + 1, 0}} {
			leaves = append(leaves, Answer(allowed, all(at[0], at[1])))
		}
		has, xfeatures, _ := Describe(leaves, ^uint64(0))
		// These are not told by cpuid alone.
		const other = Untold
		require.Equal(t, regset.Names(Arch, allowed&^other), regset.Names(Arch, has&^other), name)
		require.Equal(t, allowed.Has(AVX), xfeatures>>xAVX&1 != 0, name)
		require.Equal(t, allowed.Has(AVX512F), xfeatures>>xZMMHi256&1 != 0, name)
		require.Zero(t, xfeatures>>xTileData&1, name)
	}
	for _, at := range [][2]uint32{{0, 0}, {1, 0}, {7, 0}, {7, 1}, {0xd, 0}, {0xd, 2}, {extended + 1, 0}} {
		require.Equal(t, all(at[0], at[1]), Answer(every, all(at[0], at[1])), "nothing is hidden")
	}
}

func TestAnswer(t *testing.T) {
	const v2 = levelV2 | Untold | XSAVE
	require.Equal(t, Answer(v2, all(1, 0)), func() Leaf { l := Answer(v2, all(1, 7)); l.Sub = 0; return l }(), "leaf 1 has no subleaves")
	require.Equal(t, all(7, 2), Answer(v2, all(7, 2)), "a subleaf with no features")
	require.Equal(t, ^uint32(0), Answer(v2, all(0xd, 0)).EBX, "the area is as large as XCR0 makes it")
	require.Equal(t, all(0xd, 2), Answer(v2, all(0xd, 2)))
	require.Equal(t, Leaf{Fn: 0xd, Sub: 2}, Answer(v2&^XSAVE, all(0xd, 2)))
	require.Equal(t, Leaf{Fn: 0x1d}, Answer(v2, all(0x1d, 0)))
	require.Zero(t, Answer(v2, all(7, 1)).EDX>>19&1, "AVX10")
	require.NotZero(t, Answer(v2, all(7, 0)).EBX>>1&1, "a bit of no feature")
}

func TestSetAnswer(t *testing.T) {
	for _, l := range []*gprLayout{&gpr64, &gpr32} {
		regs := make([]byte, l.size())
		g := gprs{l, regs}
		for i := range l.names {
			g.set(i, ^uint64(0)>>1)
		}
		g.set(l.ax, 0xffffffff00000007)
		g.set(l.cx, 1)
		g.set(l.ip, 0x1000)
		before := gprs{l, append([]byte(nil), regs...)}
		fn, sub, ok := Asked(regs)
		require.True(t, ok)
		require.Equal(t, [2]uint32{7, 1}, [2]uint32{fn, sub})
		SetAnswer(regs, Leaf{7, 1, 10, 11, 12, 13})
		want := map[string]uint64{"ax": 10, "bx": 11, "cx": 12, "dx": 13, "ip": 0x1002}
		for i, name := range l.names {
			v, changed := want[name[1:]]
			if changed && len(name) == 3 && name[0] != 'o' {
				require.Equal(t, v, g.get(i), name)
			} else {
				require.Equal(t, before.get(i), g.get(i), name)
			}
		}
	}
	_, _, ok := Asked([]byte{1})
	require.False(t, ok)
}
