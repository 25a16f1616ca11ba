package kernel

import (
	"testing"

	"github.com/stretchr/testify/require"

	"cr/image"
	"cr/regset"
)

var allABIs = []regset.ABI{regset.I386, regset.X86_64, regset.PPC, regset.PPC64, regset.PPC64LE}

func TestLayout(t *testing.T) {
	action := image.Action{Handler: 0x11223344, Flags: 0x55667788, Restorer: 0x99aabbcc, Mask: 0x0123456789abcdef}
	stack := image.AltStack{SP: 0x11223344, Flags: 2, Size: 0x8000}
	timer := image.Itimer{Interval: 1500000, Value: 250}
	for _, abi := range allABIs {
		t.Run(abi.String(), func(t *testing.T) {
			l := layoutOf(abi)
			b := l.putAction(action)
			require.Len(t, b, map[int]int{4: 20, 8: 32}[abi.WordSize()])
			require.Equal(t, action, l.action(b))
			b = l.putAltStack(stack)
			require.Len(t, b, map[int]int{4: 12, 8: 24}[abi.WordSize()])
			require.Equal(t, stack, l.altStack(b))
			b = l.putItimer(timer)
			require.Equal(t, timer, l.itimer(b))
		})
	}
}

// The words of a sigset_t are in the order of the signals, whatever the order
// of the bytes.
func TestSigset(t *testing.T) {
	for _, c := range []struct {
		abi  regset.ABI
		want []byte
	}{
		{regset.I386, []byte{1, 0, 0, 0, 0, 0, 0, 0x80}},
		{regset.X86_64, []byte{1, 0, 0, 0, 0, 0, 0, 0x80}},
		{regset.PPC, []byte{0, 0, 0, 1, 0x80, 0, 0, 0}},
		{regset.PPC64, []byte{0x80, 0, 0, 0, 0, 0, 0, 1}},
		{regset.PPC64LE, []byte{1, 0, 0, 0, 0, 0, 0, 0x80}},
	} {
		b := make([]byte, 8)
		layoutOf(c.abi).putSigset(b, 1<<63|1)
		require.Equal(t, c.want, b, c.abi.String())
		require.Equal(t, uint64(1<<63|1), layoutOf(c.abi).sigset(b), c.abi.String())
	}
}
