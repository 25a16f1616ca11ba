package kernel_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/kernel"
)

// modestly is a program with a thread, a child, a pipe and a deleted file. It
// blocks all signals: those that wait for the caller stay with it, as in execve.
const modestly = `
import threading
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
m = mmap.mmap(-1, 1 << 16); m[0:3] = b"abc"; r, w = os.pipe(); os.write(w, b"x")
f = tempfile.TemporaryFile(dir=sys.argv[1]); f.write(b"deleted" * 1000); f.flush(); e = select.epoll(); e.register(r, 1)
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
if os.fork() == 0: signal.pause()
print("ready", flush=True); signal.pause()`

// TestIntoKilledAtStep kills the kernel side before each step in which it makes a
// caller into an image: the caller waits on in its call and is as it was, it is
// the image, or it is dead and nothing is left of what was staged.
func TestIntoKilledAtStep(t *testing.T) {
	needs(t, "CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN)
	adopting(t)
	dir := t.TempDir()
	image := filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(image, savedOnce(t, modestly, dir), 0o600))
	path := buildWaiter(t)
	w := startWaiter(t, path, nil)
	n := kernel.StepsInto(t, w.pid, image)
	w.end()
	reap(t)
	waits, dead, became := []int{}, []int{}, []int{}
	kernel.EveryStep(t, n, 10*time.Second, func(at int) {
		w := startWaiter(t, path, nil)
		defer w.end()
		was, count := outside(dir, w.pid), w.word(countAt)
		if !kernel.KilledInto(t, at, w.pid, image) {
			return // it has made fewer steps than the first
		}
		if endsSoon(w.pid) {
			ws, err := awaitEnd(w.pid)
			require.NoError(t, err)
			require.Equal(t, unix.SIGKILL, ws.Signal())
			dead = append(dead, at)
		} else if exe, err := os.Readlink(w.proc("exe")); err == nil && exe == path {
			require.Empty(t, w.unharmed(count, false, nil), "killed before step %d of %d", at, n)
			waits = append(waits, at)
		} else {
			require.Len(t, w.tasks(), 2, "threads of the image")
			require.Len(t, descendants(w.pid), 3, "processes of the image, and the caller's child, which stays")
			became = append(became, at)
		}
		pid := w.pid
		w.end()
		require.Empty(t, reap(t), "killed before step %d of %d", at, n)
		require.Empty(t, was.differs(outside(dir, pid)), "killed before step %d of %d", at, n)
	})
	t.Logf("%d steps: %d times the caller waits on, %d times it is dead, %d times it is the image", n, len(waits), len(dead), len(became))
	for _, first := range waits {
		for _, later := range append(dead, became...) {
			require.Less(t, first, later)
		}
	}
	for _, first := range dead {
		for _, later := range became {
			require.Less(t, first, later)
		}
	}
	require.NotEmpty(t, dead)
}

// endsSoon reports whether a process has ended, or is about to because it has
// been sent SIGKILL.
func endsSoon(pid int) bool {
	for i := 0; i < 50; i++ {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		text := string(b)
		if err != nil || strings.Contains(text, "State:\tZ") || strings.Contains(text, "State:\tX") {
			return true
		}
		for _, key := range []string{"SigPnd", "ShdPnd"} {
			var set uint64
			_, _ = fmt.Sscanf(status(pid, key), "%x", &set)
			if set>>(unix.SIGKILL-1)&1 != 0 {
				return true
			}
		}
		time.Sleep(time.Millisecond)
	}
	return false
}
