package kernel_test

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/kernel"
)

// prelude is what all programs of the tests begin with. A program sets
// something up and calls ready; when that returns it may have been
// restarted.
const prelude = `
import ctypes, errno, fcntl, mmap, os, select, signal, socket, struct, sys, tempfile, time
def ready():
    print("ready", flush=True)
    line = sys.stdin.readline()
    assert line == "go\n", line
def same(got, want):
    assert got == want, ("got %r, want %r" % (got, want))[:500]
def skip(why):
    print("skip: " + why, flush=True)
    sys.exit(0)
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *args):
    r = getattr(libc, name)(*args)
    if r < 0:
        e = ctypes.get_errno()
        raise OSError(e, name + ": " + os.strerror(e))
    return r
`

// program is a running program of a test.
type program struct {
	t   *testing.T
	pid int
	in  io.WriteCloser
	out *bufio.Reader
	err *bytes.Buffer
	end func() (unix.WaitStatus, error)
}

// start starts a Python program and waits until it is ready.
func start(t *testing.T, script string, args ...string) *program {
	t.Helper()
	return startBy(t, nil, script, args...)
}

// startBy starts a Python program by a command that executes it.
func startBy(t *testing.T, by []string, script string, args ...string) *program {
	t.Helper()
	// Debian's own: one of another name may be a script that starts it.
	const python = "/usr/bin/python3"
	if _, err := os.Stat(python); err != nil {
		t.Skipf("no python3 to run the program with: %v", err)
	}
	argv := append(append(by[:len(by):len(by)], python, "-c", prelude+script), args...)
	c := exec.Command(argv[0], argv[1:]...)
	p := &program{t: t, err: new(bytes.Buffer)}
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	require.NoError(t, err)
	p.in = in
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	p.out = bufio.NewReader(out)
	require.NoError(t, c.Start())
	p.pid = c.Process.Pid
	t.Cleanup(func() {
		if c.ProcessState != nil {
			return // its pid may be another's by now
		}
		for _, pid := range descendants(p.pid)[1:] {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		_ = c.Process.Kill()
	})
	p.end = func() (unix.WaitStatus, error) {
		err := c.Wait()
		if c.ProcessState == nil {
			return 0, err
		}
		return unix.WaitStatus(c.ProcessState.Sys().(interface{ ExitStatus() int }).ExitStatus() << 8), nil
	}
	p.expect("ready")
	return p
}

// expect reads one line.
func (p *program) expect(want string) {
	p.t.Helper()
	got := make(chan string, 1)
	go func() {
		line, err := p.out.ReadString('\n')
		if err != nil {
			line += "(" + err.Error() + ")"
		}
		got <- strings.TrimSuffix(line, "\n")
	}()
	select {
	case line := <-got:
		if why, ok := strings.CutPrefix(line, "skip: "); ok && want == "ready" {
			p.t.Skip(why)
		}
		require.Equal(p.t, want, line)
	case <-time.After(30 * time.Second):
		require.FailNow(p.t, "the program is silent", "waiting for %q", want)
	}
}

// finish lets a program go on, and makes sure that it is content.
func (p *program) finish() {
	p.t.Helper()
	_, err := io.WriteString(p.in, "go\n")
	require.NoError(p.t, err)
	p.expect("ok")
	ws, err := p.end()
	require.NoError(p.t, err)
	require.Zero(p.t, ws.ExitStatus(), "exit status")
	require.False(p.t, ws.Signaled(), "it was killed: %v", ws)
}

// checkpoint saves a program and its descendants.
func (p *program) checkpoint(o kernel.CheckpointOptions) []byte {
	p.t.Helper()
	o.Tree = true
	var b bytes.Buffer
	_, err := kernel.Checkpoint(p.pid, &b, o)
	require.NoError(p.t, err)
	return b.Bytes()
}

// refused makes sure that a program cannot be saved, and returns why.
func (p *program) refused() string {
	p.t.Helper()
	_, err := kernel.Checkpoint(p.pid, io.Discard, kernel.CheckpointOptions{Tree: true})
	var list kernel.RefusedErrors
	require.ErrorAs(p.t, err, &list)
	return err.Error()
}

// needs skips a test that takes a capability which this program has not got.
func needs(t *testing.T, name string, capability uint) {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	require.NoError(t, unix.Capget(&header, &data[0]))
	if data[capability/32].Effective>>(capability%32)&1 == 0 {
		t.Skipf("it takes %s", name)
	}
}

// restart makes a program of an image.
func restart(t *testing.T, image []byte, change ...func(*kernel.LaunchOptions)) *program {
	t.Helper()
	p, err := tryRestart(t, image, change...)
	require.NoError(t, err)
	return p
}

func tryRestart(t *testing.T, image []byte, change ...func(*kernel.LaunchOptions)) (*program, error) {
	t.Helper()
	inRead, inWrite, err := os.Pipe()
	require.NoError(t, err)
	outRead, outWrite, err := os.Pipe()
	require.NoError(t, err)
	o := kernel.LaunchOptions{Files: []*os.File{inRead, outWrite, os.Stderr}}
	for _, c := range change {
		c(&o)
	}
	made, err := kernel.Restart(bytes.NewReader(image), o)
	inRead.Close()
	outWrite.Close()
	t.Cleanup(func() { inWrite.Close(); outRead.Close() })
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = unix.Kill(made.PID, unix.SIGKILL) })
	return &program{t: t, pid: made.PID, in: inWrite, out: bufio.NewReader(outRead), end: made.Wait}, nil
}

// roundTrip saves a program, which must not notice, and makes sure that it
// comes back from the image as it was.
func roundTrip(t *testing.T, script string, args ...string) {
	t.Helper()
	p := start(t, script, args...)
	image := p.checkpoint(kernel.CheckpointOptions{})
	p.finish()
	restart(t, image).finish()
}

// killAndRestart saves a program, ends it, and makes sure that it comes back.
func killAndRestart(t *testing.T, script string, args ...string) {
	t.Helper()
	p := start(t, script, args...)
	image := p.checkpoint(kernel.CheckpointOptions{Kill: true})
	_, _ = p.end()
	restart(t, image).finish()
}
