package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// callsProgram builds the program with one task that makes the calls.
func callsProgram(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("there is no gcc to build the program that makes the calls")
	}
	path := filepath.Join(t.TempDir(), "calls")
	out, err := exec.Command("gcc", "-O1", "-static", "-Wall", "-o", path, "testdata/calls.c").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// under runs the program under cr with a file as descriptor 3, and returns what
// it printed and how it ended.
func under(t *testing.T, file *os.File, cr, program string, args ...string) (out string, w syscall.WaitStatus) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c := exec.CommandContext(ctx, cr, append([]string{"run", program}, args...)...)
	c.ExtraFiles = []*os.File{file}
	c.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	require.NoError(t, ctx.Err(), "%q hangs; it said %q", args, stderr.String())
	t.Logf("%q: %q %q", args, stdout.String(), stderr.String())
	return stdout.String(), c.ProcessState.Sys().(syscall.WaitStatus)
}

// selfImage makes an image of the program that checkpoints itself.
func selfImage(t *testing.T, cr, program string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	out, w := under(t, f, cr, program, "checkpoint", "0")
	require.Equal(t, "checkpoint id\n", out)
	require.Equal(t, 0, w.ExitStatus())
	return path
}

// restartFrom makes the restart call on a file.
func restartFrom(t *testing.T, cr, program, path, id string) (string, syscall.WaitStatus) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	return under(t, f, cr, program, "restart", id)
}

func TestCallsSelf(t *testing.T) {
	cr, _ := programs(t)
	program := callsProgram(t)
	image := selfImage(t, cr, program)
	// The caller becomes the saved process, whose call returns 0.
	out, w := restartFrom(t, cr, program, image, "0")
	require.Equal(t, "checkpoint 0\n", out)
	require.Equal(t, 5, w.ExitStatus())
}

func TestCallsPipe(t *testing.T) {
	cr, _ := programs(t)
	program := callsProgram(t)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	var image bytes.Buffer
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(&image, r)
		copied <- err
	}()
	out, _ := under(t, w, cr, program, "checkpoint", "0")
	require.NoError(t, w.Close())
	require.NoError(t, <-copied)
	r.Close()
	require.Equal(t, "checkpoint id\n", out)

	r, w, err = os.Pipe()
	require.NoError(t, err)
	go func() {
		// Whether it was read shows below.
		_, _ = w.Write(image.Bytes())
		w.Close()
	}()
	out, ws := under(t, r, cr, program, "restart", "0")
	r.Close()
	require.Equal(t, "checkpoint 0\n", out)
	require.Equal(t, 5, ws.ExitStatus())
}

// target is a process to be checkpointed by another.
func target(t *testing.T, attr *syscall.SysProcAttr, program string) (pid int, alive func()) {
	t.Helper()
	c := exec.Command(program, "wait")
	c.SysProcAttr = attr
	in, err := c.StdinPipe()
	require.NoError(t, err)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	timer := time.AfterFunc(limit, func() { _ = c.Process.Kill() })
	t.Cleanup(func() {
		in.Close()
		_ = c.Wait()
		timer.Stop()
	})
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	return c.Process.Pid, func() {
		t.Helper()
		_, err := fmt.Fprintln(in, "x")
		require.NoError(t, err)
		require.True(t, lines.Scan(), "the target has ended")
		require.Equal(t, "alive", lines.Text())
	}
}

func TestCallsOther(t *testing.T) {
	cr, _ := programs(t)
	program := callsProgram(t)
	pid, alive := target(t, nil, program)
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	require.NoError(t, err)
	defer f.Close()
	out, _ := under(t, f, cr, program, "checkpoint", strconv.Itoa(pid))
	require.Equal(t, "checkpoint id\n", out)
	alive()
	st, err := f.Stat()
	require.NoError(t, err)
	require.Greater(t, st.Size(), int64(4096))
}

func TestCallsErrors(t *testing.T) {
	cr, _ := programs(t)
	program := callsProgram(t)
	dir := t.TempDir()

	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	out, w := under(t, full, cr, program, "checkpoint", "0")
	require.Equal(t, "checkpoint ENOSPC\n", out)
	require.Equal(t, 1, w.ExitStatus())

	r, broken, err := os.Pipe()
	require.NoError(t, err)
	r.Close()
	defer broken.Close()
	out, w = under(t, broken, cr, program, "checkpoint", "0")
	require.Equal(t, "checkpoint EPIPE\n", out)
	require.Equal(t, 1, w.ExitStatus(), "no SIGPIPE kills the caller")

	pid, alive := target(t, nil, program)
	out, _ = under(t, full, cr, program, "checkpoint", strconv.Itoa(pid))
	require.Equal(t, "checkpoint ENOSPC\n", out)
	alive()

	image, err := os.ReadFile(selfImage(t, cr, program))
	require.NoError(t, err)
	flipped := append([]byte(nil), image...)
	flipped[len(flipped)/2] ^= 1
	version := append([]byte(nil), image...)
	version[8] ^= 0x80
	for name, c := range map[string]struct {
		image []byte
		id    string
		want  string
	}{
		"empty":           {nil, "0", "ENOEXEC"},
		"no image":        {[]byte("#!/bin/sh\n"), "0", "ENOEXEC"},
		"cut in its head": {image[:10], "0", "ENOEXEC"},
		"cut":             {image[:len(image)-1], "0", "ENOEXEC"},
		"half":            {image[:len(image)/2], "0", "ENOEXEC"},
		"flipped bit":     {flipped, "0", "ENOEXEC"},
		"other version":   {version, "0", "ENOEXEC"},
		"other id":        {image, "-1", "EINVAL"},
	} {
		path := filepath.Join(dir, "image")
		require.NoError(t, os.WriteFile(path, c.image, 0o600))
		out, w := restartFrom(t, cr, program, path, c.id)
		require.Equal(t, "restart "+c.want+"\n", out, name)
		require.Equal(t, 1, w.ExitStatus(), "%s: the caller is as it was", name)
	}
}

// A caller has its own authority only, whatever the kernel side may do.
func TestCallsAuthority(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make processes of several users")
	}
	cr, _ := programs(t)
	program := callsProgram(t)
	open(t, program)
	user := func(uid uint32) *syscall.SysProcAttr {
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	roots, aliveRoot := target(t, nil, program)
	others, aliveOther := target(t, user(1001), program)
	same, aliveSame := target(t, user(1000), program)
	for pid, want := range map[int]string{roots: "EPERM", others: "EPERM", same: "id"} {
		f, err := os.Create(filepath.Join(t.TempDir(), "image"))
		require.NoError(t, err)
		out, _ := under(t, f, cr, "setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", program, "checkpoint", strconv.Itoa(pid))
		require.Equal(t, "checkpoint "+want+"\n", out)
		if want != "id" {
			st, err := f.Stat()
			require.NoError(t, err)
			require.Zero(t, st.Size(), "nothing of it was written")
		}
		f.Close()
	}
	aliveRoot()
	aliveOther()
	aliveSame()
}

func fileMode(t *testing.T, path string) os.FileMode {
	t.Helper()
	st, err := os.Stat(path)
	require.NoError(t, err)
	return st.Mode()
}

// Signals do not hurt: a call is done, or interrupted, and nothing else.
func TestCallsSignals(t *testing.T) {
	cr, _ := programs(t)
	program := callsProgram(t)
	pid, alive := target(t, nil, program)
	null, err := os.OpenFile("/dev/null", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer null.Close()
	for _, who := range []string{"0", strconv.Itoa(pid)} {
		for _, restart := range []string{"0", "1"} {
			out, w := under(t, null, cr, program, "storm", who, restart, "30")
			require.Equal(t, "alarms, done, 30 calls\n", out, "checkpoint of %s, SA_RESTART %s", who, restart)
			require.Equal(t, 0, w.ExitStatus())
		}
	}
	alive()
}

// TestCallOfTracedTree: a checkpoint that fails before it comes to its caller
// gives the caller the error, and is not made again.
func TestCallOfTracedTree(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the program has the number of x86_64")
	}
	cr, _ := programs(t)
	const program = `
import ctypes, errno, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
child = os.fork()
if child == 0: signal.pause()
r, w = os.pipe()
tracer = os.fork()
if tracer == 0:
    os.write(w, b"x" if libc.ptrace(0x4206, child, 0, 0) == 0 else b"?") # PTRACE_SEIZE
    signal.pause()
assert os.read(r, 1) == b"x"
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
try:
    assert libc.syscall(313, 0, fd, 1) == -1
    assert ctypes.get_errno() == errno.EBUSY, ctypes.get_errno()
finally:
    for p in child, tracer: os.kill(p, 9)
`
	out, said, w := run(t, cr, "run", "-q", "--", "/usr/bin/python3", "-c", program, filepath.Join(t.TempDir(), "image"))
	require.Zero(t, w.ExitStatus(), "%s%s", out, said)
}
