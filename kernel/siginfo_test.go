package kernel

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"cr/regset"
)

// A queued signal's value reaches a 32-bit task whole.
func TestSiginfoValue(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) != 8 {
		t.Skip("a 32-bit kernel side has no other layout than its tasks")
	}
	abi := regset.I386
	if hostBigEndian {
		abi = regset.PPC
	}
	info := make([]byte, siginfoSize)
	hostOrder.PutUint32(info, 34)
	code := int32(siQueue)
	hostOrder.PutUint32(info[8:], uint32(code))
	hostOrder.PutUint32(info[16:], 123)        // pid
	hostOrder.PutUint32(info[20:], 456)        // uid
	hostOrder.PutUint32(info[24:], 0x12345678) // si_int
	out := siginfoToTask(abi, info)
	require.Equal(t, uint32(34), hostOrder.Uint32(out))
	require.Equal(t, uint32(123), hostOrder.Uint32(out[12:]))
	require.Equal(t, uint32(456), hostOrder.Uint32(out[16:]))
	require.Equal(t, uint32(0x12345678), hostOrder.Uint32(out[20:]))
}
