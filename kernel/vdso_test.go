package kernel_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/cpu"
	"cr/image"
	"cr/image/imagetest"
	"cr/kernel"
	"cr/regset"
)

// clock asks for the time until it is told to go on, from a signal handler, too.
const clock = `
ticks = 0
def tick(*_):
    global ticks
    ticks += 1
    assert time.time() > 1.7e9
signal.signal(signal.SIGALRM, tick)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    for i in range(5000):
        assert time.time() > 1.7e9
        assert time.monotonic() > 0
        assert time.clock_gettime(6) > 0
signal.setitimer(signal.ITIMER_REAL, 0)
assert ticks
print("ok", flush=True)
`

// changed reads an image, has it changed, and writes it again.
func changed(t *testing.T, b []byte, change func(*image.Image)) []byte {
	t.Helper()
	out, err := imagetest.Changed(b, change)
	require.NoError(t, err)
	return out
}

// TestVDSOForeign: a program whose image has the vdso of another kernel tells
// the time all the same, and so does one that has moved twice.
func TestVDSOForeign(t *testing.T) {
	foreign := func(img *image.Image) {
		for _, mm := range img.MMs {
			require.NotEmpty(t, mm.VDSO)
			mm.VDSO[len(mm.VDSO)-1] ^= 1
		}
	}
	p := start(t, clock)
	b := p.checkpoint(kernel.CheckpointOptions{})
	p.finish()
	first := restart(t, changed(t, b, foreign))
	b = first.checkpoint(kernel.CheckpointOptions{})
	first.finish()
	second := restart(t, changed(t, b, foreign))
	b = second.checkpoint(kernel.CheckpointOptions{})
	second.finish()
	restart(t, b).finish() // at home again
}

// TestVDSOLeft: no task is saved in the middle of a function that reads data of
// the kernel.
func TestVDSOLeft(t *testing.T) {
	p := start(t, clock)
	for i := 0; i < 40; i++ {
		img, _, err := image.Read(bytes.NewReader(p.checkpoint(kernel.CheckpointOptions{})))
		require.NoError(t, err)
		s := &img.CPUs[0].State
		pc := cpu.For(s.ABI).PC(s.ABI, s.Find(regset.PRSTATUS))
		for _, v := range img.MMs[0].VMAs {
			if v.Kind == image.VDSO {
				require.False(t, pc >= v.Start && pc < v.End, "%#x is in the vdso", pc)
			}
		}
	}
	p.finish()
}
