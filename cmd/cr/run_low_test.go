package main

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRunLow: with --3gb a 32-bit program, and what it executes, lies below 3 GiB;
// a 64-bit one where it always does.
func TestRunLow(t *testing.T) {
	gcc, err := exec.LookPath("i686-linux-gnu-gcc")
	if runtime.GOARCH != "amd64" || err != nil {
		t.Skip("no x86_64 kernel or no i686-linux-gnu-gcc to compile the program with")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "low")
	text, err := exec.Command(gcc, "-Wall", "-O2", "-static", "-o", path, "../../vmtests/testdata/low.c").CombinedOutput()
	require.NoError(t, err, "%s", text)
	cr, _ := programs(t)
	for _, argv := range [][]string{{path, dir}, {path, dir, "exec"}} {
		out, said, w := run(t, cr, append([]string{"run", "--"}, argv...)...)
		if w.ExitStatus() == notExecutable {
			t.Skipf("no 32-bit programs: %s", said)
		}
		require.Equal(t, 1, w.ExitStatus())
		require.Regexp(t, `^\d+\nstack: 0xf.*\n$`, out)

		out, said, w = run(t, cr, append([]string{"run", "--3gb", "--"}, argv...)...)
		require.Zero(t, w, "%s%s", out, said)
		require.Regexp(t, `^\d+\ndone\n$`, out)
		require.Empty(t, said)
	}
	out, _, w := run(t, cr, "run", "--3gb", "cat", "/proc/self/maps")
	require.Zero(t, w)
	require.Regexp(t, regexp.MustCompile(`(?m)^7[0-9a-f]{11}-7[0-9a-f]{11} .* \[stack\]$`), out)
}
