package vmtests

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// compilers are the C compilers for programs of an ABI.
var compilers = map[string]string{
	"i386":    "i686-linux-gnu-gcc",
	"x86_64":  "x86_64-linux-gnu-gcc",
	"ppc":     "powerpc-linux-gnu-gcc",
	"ppc64":   "powerpc64-linux-gnu-gcc",
	"ppc64le": "powerpc64le-linux-gnu-gcc",
}

// compile makes a program for guests, linked with the C library, of
// testdata/NAME.c. It returns the program's path on the host, which is in dir.
func compile(t *testing.T, dir, abi, name string) string {
	t.Helper()
	path := filepath.Join(dir, name+"-"+abi)
	gcc, err := exec.LookPath(compilers[abi])
	require.NoError(t, err, "run scripts/setup test")
	out, err := exec.Command(gcc, "-Wall", "-O2", "-static", "-pthread", "-o", path, filepath.Join("testdata", name+".c")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}
