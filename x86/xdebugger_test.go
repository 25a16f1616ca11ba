package x86

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/regset"
)

// xarea is an area with components that hold their numbers.
func xarea(t *testing.T, l xlayout, xcr0 uint64) []byte {
	end, ok := l.end(xcr0)
	require.True(t, ok)
	b := make([]byte, end)
	for i := range b[:fxSize] {
		b[i] = byte(i)
	}
	le.PutUint64(b[xXCR0:], xcr0)
	for n, p := range l {
		if xcr0>>uint(n)&1 != 0 {
			copy(b[p.offset:], bytes.Repeat([]byte{byte(n)}, p.size))
		}
	}
	return b
}

func TestXStateForDebuggers(t *testing.T) {
	const avx512 = 0xe7 | 1<<xPKRU
	for _, xcr0 := range []uint64{3, 7, 0xe7, avx512} {
		want := xarea(t, layoutIntel, xcr0)
		for _, l := range []xlayout{layoutIntel, layoutAMD} {
			s := &regset.State{ABI: regset.X86_64}
			s.Put(regset.X86_XSTATE, xarea(t, l, xcr0))
			require.Equal(t, want, XStateForDebuggers(s))
		}
	}
	for _, odd := range [][]byte{nil, {1, 2}, make([]byte, 700)} {
		s := &regset.State{ABI: regset.X86_64}
		if odd != nil {
			s.Put(regset.X86_XSTATE, odd)
		}
		require.NotPanics(t, func() { XStateForDebuggers(s) })
	}
	s := &regset.State{ABI: regset.X86_64}
	short := xarea(t, layoutAMD, 0xe7)[:800]
	s.Put(regset.X86_XSTATE, short)
	require.Equal(t, short, XStateForDebuggers(s), "it does not have what it says")
}

func TestFPForDebuggers(t *testing.T) {
	area := xarea(t, layoutIntel, 7)
	want := append(append([]byte(nil), area[:fxEnd]...), make([]byte, fxSize-fxEnd)...)
	s := &regset.State{ABI: regset.X86_64}
	require.Empty(t, FPForDebuggers(s))
	s.Put(regset.X86_XSTATE, area)
	require.Equal(t, []regset.Set{{Note: regset.PRFPREG, Data: want}}, FPForDebuggers(s))

	s = &regset.State{ABI: regset.I386}
	s.Put(regset.X86_XSTATE, area)
	sets := FPForDebuggers(s)
	require.Len(t, sets, 2)
	require.Equal(t, regset.PRFPREG, sets[0].Note)
	require.Len(t, sets[0].Data, fsaveSize)
	require.Equal(t, area[fxFCW:fxFCW+2], sets[0].Data[fsFCW:fsFCW+2])
	for i := 0; i < 8; i++ {
		require.Equal(t, area[fxST+i*fxSTSpace:][:stSize], sets[0].Data[fsST+i*stSize:][:stSize])
	}
	require.Equal(t, regset.Set{Note: regset.PRXFPREG, Data: want}, sets[1])

	s.Put(regset.PRFPREG, sets[0].Data)
	require.Empty(t, FPForDebuggers(s), "the state has it")
}
