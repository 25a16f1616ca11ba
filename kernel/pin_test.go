package kernel_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/kernel"
)

// TestNotPinned restarts processes and threads: none of them stays on the
// processor on which it was made, nor does the one that made them.
func TestNotPinned(t *testing.T) {
	p := start(t, `
import threading
before = os.sched_getaffinity(0)
def look(): return os.sched_getaffinity(0)
step, done, found = threading.Event(), threading.Event(), []
def thread(): step.wait(); found.append(look()); done.set()
threading.Thread(target=thread, daemon=True).start()
r, w = os.pipe()
a, b = os.pipe()
if os.fork() == 0:
    os.read(r, 1)
    os.write(b, str(sorted(look())).encode())
    os._exit(0)
ready()
same(look(), before)
step.set(); done.wait()
same(found, [before])
os.write(w, b"x")
same(os.read(a, 9999).decode(), str(sorted(before)))
os.wait()
print("ok")
`)
	var before, after unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &before))
	saved := p.checkpoint(kernel.CheckpointOptions{Kill: true})
	_, _ = p.end()
	restart(t, saved).finish()
	require.NoError(t, unix.SchedGetaffinity(0, &after))
	require.Equal(t, before, after)
}
