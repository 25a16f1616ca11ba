package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// built is cr as a file of its own, which selftest runs by its path.
func built(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	path := filepath.Join(dir, "cr")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// selftestOf runs a few cases of cr selftest.
func selftestOf(t *testing.T, argv ...string) (out string, status int) {
	t.Helper()
	b, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(b), exit.ExitCode()
	}
	require.NoError(t, err, "%s", b)
	return string(b), 0
}

// TestSelftestNative runs the tests with the emulation off, once in a kernel
// that has the two calls (here cr run is that kernel) and once in one that has
// not.
func TestSelftestNative(t *testing.T) {
	cr := built(t)
	argv := []string{cr, "selftest", "--native", "--run=^(gpr|sig|call|corrupt)/(self|external|restart|gpr)$"}
	for _, numbers := range []string{"", "--numbers=500,501"} {
		run := []string{cr, "run"}
		test := argv
		if numbers != "" {
			run, test = append(run, numbers), append(test[:len(test):len(test)], numbers)
		}
		out, status := selftestOf(t, append(append(run, "--"), test...)...)
		require.Zero(t, status, out)
		require.Contains(t, out, "# Totals: pass:6 fail:0 xfail:0 xpass:0 skip:0 error:0\n")
	}
	t.Setenv("CR_NUMBERS", "500,501")
	out, status := selftestOf(t, append([]string{cr, "run", "--numbers=500,501", "--"}, argv...)...)
	require.Zero(t, status, out)

	out, status = selftestOf(t, argv...)
	require.Equal(t, selftestFailed, status, out)
	require.Contains(t, out, "original: checkpoint returned -38\n")
	require.Contains(t, out, "cr call: checkpoint of ")
	require.Contains(t, out, ": function not implemented\n")
}

func TestSelftestStatus(t *testing.T) {
	cr := built(t)
	out, status := selftestOf(t, cr, "selftest", "--run=^call/owners$", "--native")
	require.Equal(t, selftestSkipped, status, out)
	t.Setenv("CR_NUMBERS", "1")
	out, status = selftestOf(t, cr, "selftest")
	require.Equal(t, failed, status)
	require.Contains(t, out, "CR_NUMBERS=1: two numbers are needed")
	out, status = selftestOf(t, cr, "selftest", "--numbers=40000,1")
	require.Equal(t, failed, status)
	require.Contains(t, out, "40000 is higher than 32767")
}
