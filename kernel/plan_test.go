package kernel

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestSpansAdd(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []span
		want spans
	}{
		{"apart", []span{{1, 2}, {5, 6}}, spans{{1, 2}, {5, 6}}},
		{"out of order", []span{{5, 6}, {1, 2}}, spans{{1, 2}, {5, 6}}},
		{"touching", []span{{1, 2}, {2, 3}}, spans{{1, 3}}},
		{"bridging", []span{{1, 2}, {5, 6}, {2, 5}}, spans{{1, 6}}},
		{"within", []span{{1, 9}, {3, 4}}, spans{{1, 9}}},
		{"over several", []span{{2, 3}, {5, 6}, {8, 9}, {1, 7}}, spans{{1, 7}, {8, 9}}},
		{"empty", []span{{3, 3}, {4, 2}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got spans
			for _, s := range c.in {
				got = got.add(s)
			}
			require.Equal(t, c.want, got)
		})
	}
}

func TestSpansOverlaps(t *testing.T) {
	s := spans{{10, 20}, {30, 40}}
	for _, c := range []struct {
		in   span
		want bool
	}{
		{span{0, 10}, false}, {span{0, 11}, true}, {span{19, 25}, true}, {span{20, 30}, false},
		{span{25, 35}, true}, {span{40, 50}, false}, {span{0, 50}, true},
	} {
		require.Equal(t, c.want, s.overlaps(c.in), "%v", c.in)
	}
}

func TestSpansWithout(t *testing.T) {
	old := spans{{10, 20}, {30, 40}, {50, 60}}
	for _, c := range []struct {
		name string
		keep spans
		want []span
	}{
		{"nothing kept", nil, []span{{10, 60}}},
		{"in a hole", spans{{22, 25}}, []span{{10, 20}, {30, 60}}},
		{"within one", spans{{33, 36}}, []span{{10, 33}, {36, 60}}},
		{"at the ends", spans{{0, 10}, {60, 70}}, []span{{10, 60}}},
		{"all kept", spans{{0, 100}}, nil},
		{"two in the same hole", spans{{22, 23}, {25, 26}}, []span{{10, 20}, {30, 60}}},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, old.without(c.keep)) })
	}
}

func TestSpaceTake(t *testing.T) {
	s := space{busy: spans{{0, 0x10000}, {0x40000000, 0x40010000}}}
	at, err := s.take(0x2000)
	require.NoError(t, err)
	require.Equal(t, uint64(0x40000000-guard-0x2000), at, "as high as the guard lets it")
	again, err := s.take(0x2000)
	require.NoError(t, err)
	require.NotEqual(t, at, again)

	small := space{busy: spans{{0, 0x10000}, {0x20000, 0x30000}}}
	at, err = small.take(0x4000)
	require.NoError(t, err, "where no room is for a guard, a page must do")
	require.True(t, at >= 0x11000 && at+0x4000 <= 0x1f000, "%#x", at)

	_, err = small.take(0x100000)
	require.ErrorIs(t, err, unix.ENOMEM)
}
