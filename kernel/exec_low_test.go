package kernel

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestStackToMove finds the stack of a new 32-bit program, and what is in the way.
func TestStackToMove(t *testing.T) {
	program := area{start: 0x10000000, end: 0x100c0000, name: "/bin/true"}
	vdso := area{start: 0x40000000, end: 0x40006000, name: "[vdso]"}
	stack := area{start: 0xffa40000, end: 0xffa62000, name: "[stack]"}
	const sp = 0xffa61230
	for _, test := range []struct {
		name  string
		areas []area
		sp    uint64
		want  span
		err   string
	}{
		{"as powerpc has it", []area{program, vdso, stack}, sp, span{stack.start, stack.end}, ""},
		{"low already", []area{program, vdso, {start: 0xbfe00000, end: 0xbfe22000}}, 0xbfe21000, span{}, ""},
		{"vdso too high", []area{program, {start: 0xf7fe0000, end: 0xf7fe6000, name: "[vdso]"}, stack}, sp, span{},
			"[vdso] is mapped at 0xf7fe0000 (its personality has been changed)"},
		{"something where it should go", []area{program, {start: 0xafa00000, end: 0xafa41000}, stack}, sp, span{},
			"memory is mapped at 0xafa00000, where its stack should go: cannot allocate memory"},
		{"something right below", []area{program, {start: 0xaf900000, end: 0xafa3f000}, stack}, sp, span{}, "memory is mapped at 0xaf900000"},
		{"something far below", []area{program, {start: 0xae000000, end: 0xaf000000}, stack}, sp, span{stack.start, stack.end}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := stackToMove(test.areas, test.sp)
			require.Equal(t, test.want, got)
			if test.err == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.err)
			require.ErrorAs(t, err, new(*highError))
		})
	}
	require.Less(t, uint64(1<<32-stackDrop), uint64(lowEnd), "the highest stack is low")
}
