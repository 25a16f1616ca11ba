package inspect

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAddress(t *testing.T) {
	inet6 := make([]byte, 28)
	inet6[3], inet6[23] = 80, 1
	for _, c := range []struct {
		family uint32
		in     []byte
		want   string
	}{
		{afUnix, nil, ""},
		{afUnix, []byte{1, 0}, ""},
		{afUnix, []byte("\x01\x00/run/x\x00junk"), "/run/x"},
		{afUnix, []byte("\x01\x00\x00abstract"), "@abstract"},
		{afInet, []byte{0, 2, 0x1f, 0x90, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}, "127.0.0.1:8080"},
		{afInet, []byte{0, 2, 0x1f}, "00021f"},
		{afInet6, inet6, "[::1]:80"},
		{16, []byte{16, 0, 7}, "100007"},
	} {
		require.Equal(t, c.want, address(c.family, c.in))
	}
}
