package main

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCoreOfHung looks with gdb at a program that hangs, through its image: the
// threads, who called whom, the arguments, memory.
func TestCoreOfHung(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip(err)
	}
	gdb, err := exec.LookPath("gdb")
	if err != nil {
		t.Skip(err)
	}
	cr, _ := programs(t)
	dir := t.TempDir()
	program, image, core := filepath.Join(dir, "hung"), filepath.Join(dir, "image"), filepath.Join(dir, "core")
	out, err := exec.Command(gcc, "-g", "-O1", "-pthread", "-o", program, "testdata/hung.c").CombinedOutput()
	require.NoError(t, err, "%s", out)

	c := exec.Command(program)
	stdout, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	defer func() {
		_ = c.Process.Kill() // it runs on
		_ = c.Wait()
	}()
	_, err = bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)

	_, said, w := run(t, cr, "checkpoint", "-o", image, strconv.Itoa(c.Process.Pid))
	require.Zero(t, w, said)
	_, said, w = run(t, cr, "core", "-o", core, image)
	require.Zero(t, w, said)
	out, err = exec.Command(gdb, "-nx", "-batch", "-iex", "set debuginfod enabled off", program, core,
		"-ex", "thread apply all backtrace", "-ex", `printf "text: %s\n", text`, "-ex", "info sharedlibrary").CombinedOutput()
	require.NoError(t, err, "%s", out)
	text := string(out)
	require.NotContains(t, text, "too small")
	require.Regexp(t, `(?s)#0 .*inner \(depth=(depth@entry=)?42\).*#1 .*middle \(n=n@entry=41\).*#2 .*main \(\)`, text)
	require.Regexp(t, `#\d+ .*other \(arg=`, text)
	require.Contains(t, text, "text: what gdb shall find\n")
	require.Regexp(t, `0x[0-9a-f]+ .*libc\.so`, text)
}
