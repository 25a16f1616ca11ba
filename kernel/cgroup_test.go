package kernel_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/kernel"
)

// memoryGroup makes a control group below that of this program, and returns its
// directory and the file with the limit of its memory. Where that cannot be the
// test is skipped.
func memoryGroup(t *testing.T) (dir, limit string) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/cgroup")
	require.NoError(t, err)
	top, file := "", ""
	for _, line := range strings.Split(string(b), "\n") {
		f := strings.SplitN(line, ":", 3)
		switch {
		case len(f) == 3 && f[1] == "memory":
			top, file = "/sys/fs/cgroup/memory"+f[2], "memory.limit_in_bytes"
		case len(f) == 3 && f[0] == "0" && top == "":
			top, file = "/sys/fs/cgroup"+f[2], "memory.max"
		}
	}
	dir = filepath.Join(top, fmt.Sprint("cr-test-", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("no control group can be made: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, os.Remove(dir), "a control group that is not empty") })
	limit = filepath.Join(dir, file)
	if _, err := os.Stat(limit); err != nil {
		t.Skipf("control groups have no limit of memory here: %v", err)
	}
	return dir, limit
}

// TestNoRoomInGroup restarts in callers whose control group may have less memory
// than the image: the kernel ends a task of the group then (the OOM killer), it
// gives no ENOMEM. So the caller is dead, by an error that says so, and nothing is
// left; or it is as it was.
func TestNoRoomInGroup(t *testing.T) {
	adopting(t)
	group, limit := memoryGroup(t)
	dir := t.TempDir()
	image := savedOnce(t, `
m = mmap.mmap(-1, 48 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS); m.write(b"x" * (48 << 20)); s = mmap.mmap(-1, 1 << 20); s.write(b"s" * (1 << 20))
if os.fork() == 0: signal.pause()
print("ready", flush=True); signal.pause()`)
	path := buildWaiter(t)
	dead, same, whole := 0, 0, 0
	for _, mib := range []int{8, 16, 24, 32, 40, 48, 256} {
		w := startWaiter(t, path, nil)
		// It need not be able to change its group: whoever moves it decides.
		for _, pid := range descendants(w.pid) {
			require.NoError(t, os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(fmt.Sprint(pid)), 0))
		}
		require.NoError(t, os.WriteFile(limit, []byte(fmt.Sprint(mib<<20)), 0))
		w.before = w.look()
		was, count, pid := outside(dir, w.pid), w.word(countAt), w.pid
		answered, err := kernel.RestartInto(pid, bytes.NewReader(image), kernel.RestartOptions{})
		switch {
		case err == nil:
			whole++
		case errors.Is(err, kernel.ErrKilled):
			dead++
			ws, e := awaitEnd(pid)
			require.NoError(t, e)
			require.Equal(t, unix.SIGKILL, ws.Signal())
		default:
			same++
			require.Empty(t, w.unharmed(count, answered, err), "after: %v", err)
		}
		t.Logf("%d MiB: %v", mib, err)
		w.end()
		require.Empty(t, reap(t))
		require.Empty(t, was.differs(outside(dir, pid)))
	}
	t.Logf("%d times it is dead, %d times as it was, %d times the image", dead, same, whole)
	require.NotZero(t, whole)
	require.NotZero(t, dead+same)
}
