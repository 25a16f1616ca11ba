package kernel

import (
	"encoding/hex"
	"os/exec"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/regset"
)

// TestCallInstead runs what stands in for functions that the vdso has not.
func TestCallInstead(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the code is run as x86_64 code")
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 to call the code from")
	}
	const script = `
import ctypes, mmap, sys, time
def function(code):
    m = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    m.write(bytes.fromhex(code))
    keep.append(m)
    return ctypes.CFUNCTYPE(ctypes.c_long, *[ctypes.c_long] * 5)(ctypes.addressof(ctypes.c_char.from_buffer(m)))
keep = []
clock_gettime, gettime, getrandom = map(function, sys.argv[1:])
b = ctypes.create_string_buffer(16)
assert clock_gettime(0, ctypes.addressof(b), 0, 0, -1) == 0
assert abs(int.from_bytes(b.raw[:8], "little") - time.time()) < 2
assert clock_gettime(99, ctypes.addressof(b), 0, 0, 0) == -22
assert abs(gettime(0, 0, 0, 0, 0) - time.time()) < 2
assert getrandom(ctypes.addressof(b), 16, 0, 1, 1) == 16
assert getrandom(0, 0, 0, ctypes.addressof(b), -1) == -38
`
	argv := []string{"-c", script}
	for _, name := range []string{"__vdso_clock_gettime", "__vdso_time", "__vdso_getrandom"} {
		code, err := callInstead(regset.X86_64, name)
		require.NoError(t, err)
		argv = append(argv, hex.EncodeToString(code))
	}
	out, err := exec.Command(python, argv...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, name := range []string{"__kernel_get_tbfreq", "__vdso_clock_gettime64"} {
		_, err := callInstead(regset.X86_64, name)
		require.ErrorIs(t, err, unix.EOPNOTSUPP)
	}
}

func TestVDSOPatches(t *testing.T) {
	for _, abi := range allABIs {
		name := "__vdso_clock_gettime"
		if abi.IsPPC() {
			name = "__kernel_clock_gettime"
		}
		code, err := callInstead(abi, name)
		require.NoError(t, err)
		require.NotEmpty(t, code)
		jump, err := jumpTo(abi, 0x1000, 0x20000)
		require.NoError(t, err)
		require.NotEmpty(t, jump)
	}
	jump, err := jumpTo(regset.PPC64, 0, 0x123456789abcdef0)
	require.NoError(t, err)
	require.Equal(t, "3d801234618c5678798c07c6658c9abc618cdef07d8903a64e800420", hex.EncodeToString(jump))
	jump, err = jumpTo(regset.I386, 0x2000, 0x1000)
	require.NoError(t, err)
	require.Equal(t, "e9fbefffff", hex.EncodeToString(jump))
}
