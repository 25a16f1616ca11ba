package main

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// build compiles a program of the guests for a 32-bit or 64-bit x86 kernel.
func build(t *testing.T, gcc, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	text, err := exec.Command(gcc, "-Wall", "-O2", "-static", "-pthread", "-o", path, "../../vmtests/testdata/"+name+".c").CombinedOutput()
	require.NoError(t, err, "%s", text)
	return path
}

// gcc32 is the compiler of 32-bit programs, on x86_64 hosts that run them.
func gcc32(t *testing.T) string {
	t.Helper()
	gcc, err := exec.LookPath("i686-linux-gnu-gcc")
	if runtime.GOARCH != "amd64" || err != nil {
		t.Skip("no x86_64 kernel or no i686-linux-gnu-gcc to compile the program with")
	}
	if err := exec.Command(build(t, gcc, "caller"), "/dev/null").Run(); errors.Is(err, unix.ENOEXEC) {
		t.Skipf("no 32-bit programs: %v", err)
	}
	return gcc
}

// TestRunLow: with --3gb a 32-bit program, and what it executes, lies below 3 GiB;
// a 64-bit one where it always does.
func TestRunLow(t *testing.T) {
	path, dir := build(t, gcc32(t), "low"), t.TempDir()
	cr, _ := programs(t)
	for _, argv := range [][]string{{path, dir}, {path, dir, "exec"}} {
		out, _, w := run(t, cr, append([]string{"run", "--"}, argv...)...)
		require.Equal(t, 1, w.ExitStatus())
		require.Regexp(t, `^\d+\nstack: 0xf.*\n$`, out)

		out, said, w := run(t, cr, append([]string{"run", "--3gb", "--"}, argv...)...)
		require.Zero(t, w, "%s%s", out, said)
		require.Regexp(t, `^\d+\ndone\n$`, out)
		require.Empty(t, said)
	}
	out, _, w := run(t, cr, "run", "--3gb", "cat", "/proc/self/maps")
	require.Zero(t, w)
	require.Regexp(t, `(?m)^7[0-9a-f]{11}-7[0-9a-f]{11} .* \[stack\]$`, out)
}

// TestRestartLow: a program that lies below 3 GiB goes on doing so whatever it is
// that becomes it.
func TestRestartLow(t *testing.T) {
	gcc := gcc32(t)
	path, dir := build(t, gcc, "low"), t.TempDir()
	cr, _ := programs(t)
	image, stop := filepath.Join(dir, "image"), filepath.Join(dir, "stop")
	c := exec.Command(cr, "run", "--3gb", "--", path, stop)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	t.Cleanup(func() { _ = c.Process.Kill() }) // it may have ended
	pid, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	_, said, w := run(t, cr, "checkpoint", "--kill", "-o", image, strings.TrimSpace(pid))
	require.Zero(t, w, said)
	require.Error(t, c.Wait(), "it was killed")
	for _, argv := range [][]string{
		{"restart"},
		{"run", "--3gb", "--", cr, "restart"},
		{"run", "--", build(t, gcc, "caller")},
		{"run", "--3gb", "--", build(t, gcc, "caller")},
		{"run", "--", build(t, "gcc", "caller")},
	} {
		time.AfterFunc(500*time.Millisecond, func() { _ = os.WriteFile(stop, nil, 0o600) })
		out, said, w := run(t, cr, append(argv, image)...)
		require.Zero(t, w, "%q: %s%s", argv, out, said)
		require.Equal(t, "done\n", out)
		require.NoError(t, os.Remove(stop))
	}
}
