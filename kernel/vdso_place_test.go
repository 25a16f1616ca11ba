package kernel

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/image"
	"cr/regset"
)

// TestLowVDSO plans where the vdso of a 64-bit kernel goes in tasks of all
// kinds.
func TestLowVDSO(t *testing.T) {
	const size = 0x6000
	high := span{0xf7ff0000, 0xf7ff0000 + size}
	program := image.VMA{Start: 0x10000000, End: 0x10200000}
	library := image.VMA{Start: 0xb7c00000, End: 0xb7e00000}
	stack := image.VMA{Start: 0xbfe00000, End: 0xbfe21000, Flags: image.VMAGrowsDown}
	low := []image.VMA{program, library, stack}
	for _, test := range []struct {
		name  string
		abi   regset.ABI
		now   span
		vmas  []image.VMA
		stack uint64 // RLIMIT_STACK
		want  uint64 // 0: it stays where it is
	}{
		{"below the libraries", regset.PPC, high, low, 8 << 20, library.Start - guard - size},
		{"i386", regset.I386, high, low, 8 << 20, library.Start - guard - size},
		{"64-bit task", regset.PPC64, high, low, 8 << 20, 0},
		{"32-bit kernel", regset.PPC, span{0xb7ff0000, 0xb7ff0000 + size}, low, 8 << 20, 0},
		{"begun on a 64-bit kernel", regset.PPC, high, []image.VMA{program, {Start: 0xffe00000, End: 0xffe21000}}, 8 << 20, 0},
		{"no libraries", regset.PPC, high, []image.VMA{program, stack}, 8 << 20, stack.Start - 128<<20 - guard - size},
		{"large stacks", regset.PPC, high, []image.VMA{program, stack}, 512 << 20, stack.Start - 512<<20 - guard - size},
		{"no limit of the stack, room below its part", regset.PPC, high, []image.VMA{program, stack}, ^uint64(0),
			stack.Start - stack.End/6*5 - guard - size},
		{"no limit of the stack, no other room", regset.PPC, high, []image.VMA{{Start: 0x20000000, End: 0x20010000}, stack}, ^uint64(0),
			stack.Start - guard - size},
		{"full", regset.PPC, high, []image.VMA{{Start: 0x10000, End: 0xbfe00000}, stack}, 8 << 20, 0},
		{"nothing above", regset.PPC, high, []image.VMA{{Start: 0x10000, End: 0x20000}, program}, 8 << 20, program.Start - guard - size},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &reborn{
				process: &process{tasks: []*task{{abi: test.abi}}},
				mm:      &image.MM{VMAs: test.vmas},
				rec:     &image.Process{Limits: make([]image.Limit, unix.RLIMIT_STACK+1)},
			}
			r.rec.Limits[unix.RLIMIT_STACK].Cur = test.stack
			busy := spans{}.add(test.now).add(span{0xfffd0000, 0xffff1000})
			for _, v := range test.vmas {
				busy = busy.add(span{v.Start, v.End})
			}
			r.space.busy = busy
			got := r.lowVDSO(test.now)
			require.Equal(t, test.want, got, "%#x", got)
			if got == 0 {
				require.Equal(t, busy, r.space.busy, "nothing is taken")
				return
			}
			require.False(t, busy.overlaps(span{got, got + size}))
			require.True(t, r.space.busy.overlaps(span{got, got + size}), "it is taken")
			require.LessOrEqual(t, got+size, endOf(r.mm), "the next image goes wherever this one can")
		})
	}
}
