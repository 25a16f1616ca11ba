package kernel_test

import (
	"testing"

	"cr/image"
	"cr/kernel"
)

// far is more than any machine has been up.
const far = 1e9 // seconds

// TestKeepClocks: the clocks of a program go on from where they were, and do so
// again if it is saved in the time namespace that this takes.
func TestKeepClocks(t *testing.T) {
	p := start(t, `
def clocks():
    return [time.clock_gettime(c) for c in (time.CLOCK_MONOTONIC, time.CLOCK_BOOTTIME)]
before = clocks()
deadline = struct.pack("qq", 10**9, 0)
ready()
after = clocks()
assert before[0] < 1e9 and 1e9 <= after[0] < 1.1e9, (before, after)
assert before[1] < 1e9 and 2e9 <= after[1] < 2.1e9, (before, after)
call("clock_nanosleep", time.CLOCK_MONOTONIC, 1, deadline, None) # it has passed
print("ok", flush=True)
`)
	keep := func(o *kernel.LaunchOptions) { o.KeepClocks = true }
	b := changed(t, p.checkpoint(kernel.CheckpointOptions{Kill: true}), func(img *image.Image) {
		img.Header.Mono, img.Header.Boottime = far*1e9, 2*far*1e9
	})
	_, _ = p.end()
	first := restart(t, b, keep)
	b = first.checkpoint(kernel.CheckpointOptions{})
	first.finish()
	restart(t, b, keep).finish()
}
