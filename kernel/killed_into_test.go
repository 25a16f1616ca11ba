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
// caller into an image. Up to the point of no return the caller waits on in its
// call and is as it was, and nothing is left of what was staged in it; then it is
// dead, and so is all that was made.
func TestIntoKilledAtStep(t *testing.T) {
	for _, c := range []struct {
		name, script string
		stale        bool
		what         string
	}{
		{"some", modestly, false, "into"},
		{"every kind", everyKind, false, "into"},
		{"every kind, names of sockets in use", everyKind, true, "into"},
		{"by a stub", modestly, false, "into-stub"},
	} {
		t.Run(c.name, func(t *testing.T) { newFailer(t, c.script, c.stale).killedAtStep(c.what) })
	}
}

func (f *failer) killedAtStep(what string) {
	t := f.t
	image := filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(image, f.image, 0o600))
	f.w = startWaiter(t, f.path, nil)
	n := kernel.StepsInto(t, what, f.w.pid, image)
	f.end()
	f.unbind()
	waits, dead, became := []int{}, []int{}, 0
	kernel.EveryStep(t, n, 8*time.Second, func(at int) {
		if f.w == nil {
			f.w = startWaiter(t, f.path, nil)
			f.was = outside(f.dir, f.w.pid)
		}
		w := f.w
		count := w.word(countAt)
		ended := !kernel.KilledInto(t, what, at, w.pid, image) // it has made fewer steps than the first
		switch {
		case ended:
		case endsSoon(w.pid):
			ws, err := awaitEnd(w.pid)
			require.NoError(t, err)
			require.Equal(t, unix.SIGKILL, ws.Signal(), "killed before step %d of %d", at, n)
			dead = append(dead, at)
		case isProgram(w.pid, f.path):
			require.Empty(t, butVDSO(w.unharmed(count, false, nil)), "killed before step %d of %d", at, n)
			require.Empty(t, f.outside(w.pid, false), "killed before step %d of %d", at, n)
			waits = append(waits, at)
			return // with the same caller
		default:
			became++ // all was done
		}
		require.Empty(t, f.end(), "processes that are left: killed before step %d of %d", at, n)
		f.unbind()
	})
	t.Logf("%d steps: %d times the caller waits on, %d times it is dead, %d times it is the image", n, len(waits), len(dead), became)
	for _, first := range waits {
		for _, later := range dead {
			require.Less(t, first, later)
		}
	}
	require.NotEmpty(t, dead)
	if len(waits) == 0 {
		t.Log("there was time for the last steps only")
	}
}

// isProgram reports whether a process is one of a program.
func isProgram(pid int, path string) bool {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && exe == path
}

// butVDSO leaves out of differences the vdso, in which the code stays that has
// undone what was staged.
func butVDSO(list []string) (kept []string) {
	for _, d := range list {
		if first, _, _ := strings.Cut(d, "\n"); !strings.Contains(first, "[vdso]") {
			kept = append(kept, d)
		}
	}
	return kept
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
