package kernel_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/kernel"
)

// family is a program of three processes, one with two threads.
const family = `
import threading
r, w = os.pipe()
for i in range(2):
    if os.fork() == 0:
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        os.write(w, b"x")
        time.sleep(1000)
for i in range(2): os.read(r, 1)
b = bytearray(os.urandom(8 << 20))
ready()
print("ok")
`

// TestAllUpOrNone kills one of the processes while they are made: none of the
// others is left, and the error names it.
func TestAllUpOrNone(t *testing.T) {
	p := start(t, family)
	image := p.checkpoint(kernel.CheckpointOptions{Kill: true})
	_, _ = p.end()
	before := descendants(os.Getpid())
	for _, how := range []kernel.PIDs{kernel.NamespacePIDs, kernel.FreshPIDs} {
		killed := 0
		_, err := tryRestart(t, image, func(o *kernel.LaunchOptions) {
			o.PIDs = how
			o.Progress = func(uint64, uint64) {
				if killed != 0 {
					return
				}
				old := make(map[int]bool)
				for _, pid := range before {
					old[pid] = true
				}
				var made []int
				for _, pid := range descendants(os.Getpid()) {
					if !old[pid] {
						made = append(made, pid)
					}
				}
				if len(made) < 3 {
					return // what processes have in common is filled in before there are all
				}
				killed = made[len(made)-1]
				require.NoError(t, unix.Kill(killed, unix.SIGKILL))
			}
			o.Ready = func(*kernel.Restarted) error {
				require.Fail(t, "not all of them are there")
				return nil
			}
		})
		require.NotZero(t, killed)
		require.Error(t, err)
		require.Regexp(t, `process \d+ did not come up`, err.Error())
		t.Log(err)
		require.Subset(t, before, descendants(os.Getpid()))
	}
}

// TestReady is called when all are there and none runs; if it fails none is
// left.
func TestReady(t *testing.T) {
	p := start(t, family)
	image := p.checkpoint(kernel.CheckpointOptions{Kill: true})
	_, _ = p.end()
	before := descendants(os.Getpid())
	refused := errors.New("refused")
	for _, how := range []kernel.PIDs{kernel.NamespacePIDs, kernel.FreshPIDs} {
		_, err := tryRestart(t, image, func(o *kernel.LaunchOptions) {
			o.PIDs = how
			o.Ready = func(m *kernel.Restarted) error {
				require.Equal(t, 5, m.Tasks)
				require.Len(t, descendants(m.PID)[1:], 2)
				return refused
			}
		})
		require.ErrorIs(t, err, refused)
		require.Subset(t, before, descendants(os.Getpid()))
	}
}

// TestWhole fails when the image has been written: the program runs on.
func TestWhole(t *testing.T) {
	p := start(t, `ready(); print("ok")`)
	refused := errors.New("refused")
	_, err := kernel.Checkpoint(p.pid, new(strings.Builder), kernel.CheckpointOptions{Kill: true, Whole: func() error { return refused }})
	require.ErrorIs(t, err, refused)
	p.finish()
}
