package kernel_test

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/image"
	"cr/kernel"
)

// TestLow: a 32-bit program that lies below 3 GiB does so after restarts under
// 64-bit kernels that are not the one that it is from, whatever it maps then; one
// that does not is left alone.
func TestLow(t *testing.T) {
	gcc, err := exec.LookPath("i686-linux-gnu-gcc")
	if runtime.GOARCH != "amd64" || err != nil {
		t.Skip("no x86_64 kernel or no i686-linux-gnu-gcc to compile the program with")
	}
	dir := t.TempDir()
	path, stop := filepath.Join(dir, "low"), filepath.Join(dir, "stop")
	out, err := exec.Command(gcc, "-Wall", "-O2", "-static", "-o", path, "../vmtests/testdata/low.c").CombinedOutput()
	require.NoError(t, err, "%s", out)
	if err := exec.Command(path, dir).Run(); errors.As(err, new(*os.PathError)) {
		t.Skipf("no 32-bit programs: %v", err)
	}

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c := exec.Command(path, stop)
	c.Stderr = os.Stderr
	stdout, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, kernel.StartLow(c))
	t.Cleanup(func() { _ = c.Process.Kill() })
	first := &program{t: t, pid: c.Process.Pid, out: bufio.NewReader(stdout)}
	_, err = first.out.ReadString('\n')
	require.NoError(t, err)
	b := first.checkpoint(kernel.CheckpointOptions{})
	require.NoError(t, c.Process.Kill())
	_ = c.Wait() // it was killed

	foreign := func(img *image.Image) {
		mm := img.MMs[0]
		require.NotEmpty(t, mm.VDSO)
		mm.VDSO[len(mm.VDSO)-1] ^= 1
	}
	var p *program
	for i := 0; i < 3; i++ {
		p = restart(t, changed(t, b, foreign))
		b = p.checkpoint(kernel.CheckpointOptions{})
		img, _, err := image.Read(bytes.NewReader(b))
		require.NoError(t, err)
		for _, v := range img.MMs[0].VMAs {
			require.LessOrEqual(t, v.End, uint64(0xc0000000), "%s", v.Name)
		}
		if i < 2 {
			require.NoError(t, unix.Kill(p.pid, unix.SIGKILL))
			_, err = p.end()
			require.NoError(t, err)
		}
	}
	require.NoError(t, os.WriteFile(stop, nil, 0o600))
	p.expect("done")
	ws, err := p.end()
	require.NoError(t, err)
	require.Zero(t, ws)
}
