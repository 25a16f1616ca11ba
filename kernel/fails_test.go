package kernel_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/kernel"
)

// borders lists where the records of an image begin and end (docs/format.md).
func borders(t *testing.T, b []byte) []int {
	t.Helper()
	const prefix, head = 16, 32
	list := []int{0, prefix}
	for at := prefix; at < len(b); {
		require.LessOrEqual(t, at+head, len(b))
		at += head + int(binary.LittleEndian.Uint64(b[at+8:])) + int(binary.LittleEndian.Uint32(b[at+16:]))
		list = append(list, at)
	}
	require.Equal(t, len(b), list[len(list)-1])
	return list
}

// TestCutImage restarts an image that ends at each border of its records, and
// within each record, in a live caller.
func TestCutImage(t *testing.T) {
	adopting(t)
	image := savedOnce(t, `
m = mmap.mmap(-1, 1 << 16); m[0:3] = b"abc"; r, w = os.pipe(); os.write(w, b"x")
f = tempfile.TemporaryFile(); f.write(b"deleted" * 1000); f.flush(); e = select.epoll(); e.register(r, 1)
if os.fork() == 0: signal.pause()
print("ready", flush=True); signal.pause()`)
	w := startWaiter(t, buildWaiter(t), nil)
	list := borders(t, image)
	n := 0
	for i, at := range list {
		cuts := []int{at}
		if i+1 < len(list) {
			cuts = append(cuts, at+1, (at+list[i+1])/2)
		} else {
			cuts = nil
		}
		for _, c := range cuts {
			w.refuses(image[:c], kernel.RestartOptions{})
			n++
		}
	}
	t.Logf("%d records, cut in %d places: the caller was as before each time", len(list)-2, n)
}

// TestNoRoom restarts in callers that may have a little more memory, or more
// descriptors, each time, until there is enough.
func TestNoRoom(t *testing.T) {
	adopting(t)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), []byte("contents"), 0o600))
	path := buildWaiter(t)
	for _, c := range []struct {
		name, script string
		resource     int
		step         uint64
		hard         bool
		errno        unix.Errno
	}{
		{"RLIMIT_AS", "", unix.RLIMIT_AS, 1<<20 + 4096, false, unix.ENOMEM},
		{"RLIMIT_NOFILE", "import resource; r = [os.pipe() for i in range(9)]; resource.setrlimit(resource.RLIMIT_NOFILE, (10, 20))",
			unix.RLIMIT_NOFILE, 1, true, unix.EMFILE},
		{"RLIMIT_NOFILE below a descriptor", "import resource; os.dup2(p[0][0], 300); resource.setrlimit(resource.RLIMIT_NOFILE, (10, 20))",
			unix.RLIMIT_NOFILE, 25, true, unix.EMFILE},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := savedOnce(t, `
f = open(sys.argv[1] + "/file"); m = mmap.mmap(-1, 1 << 22); m.write(b"x" * (1 << 22)); p = [os.pipe() for i in range(6)]
`+c.script+`
print("ready", flush=True); signal.pause()`, dir)
			w := startWaiter(t, path, nil)
			limit := uint64(20)
			if c.resource == unix.RLIMIT_AS {
				b, err := os.ReadFile(w.proc("statm"))
				require.NoError(t, err)
				_, err = fmt.Sscan(string(b), &limit)
				require.NoError(t, err)
				limit *= uint64(os.Getpagesize())
			}
			for n := 0; ; n++ {
				w.limit(c.resource, limit, c.hard)
				was, count := outside(w.dir, w.pid), w.word(countAt)
				answered, err := kernel.RestartInto(w.pid, bytes.NewReader(image), kernel.RestartOptions{})
				if err == nil {
					require.Greater(t, n, 5)
					t.Logf("refused %d times with %v, up to a limit of %d", n, c.errno, limit-c.step)
					return
				}
				require.NotErrorIs(t, err, kernel.ErrKilled)
				require.ErrorIs(t, err, c.errno)
				require.Empty(t, w.unharmed(count, answered, err), "after: %v", err)
				require.Empty(t, was.differs(outside(w.dir, w.pid)), "after: %v", err)
				limit += c.step
				if c.hard { // it cannot be raised again
					w.end()
					w = startWaiter(t, path, nil)
				}
			}
		})
	}
}

// limit gives the program a resource limit.
func (w *waiter) limit(resource int, limit uint64, hard bool) {
	w.t.Helper()
	l := unix.Rlimit{Cur: limit, Max: limit}
	if !hard {
		var old unix.Rlimit
		require.NoError(w.t, unix.Prlimit(w.pid, resource, nil, &old))
		l.Max = old.Max
	}
	require.NoError(w.t, unix.Prlimit(w.pid, resource, &l, nil))
	w.again()
	w.before = w.look()
}

// again has the program tell of itself anew.
func (w *waiter) again() {
	w.t.Helper()
	n := w.word(countAt)
	require.NoError(w.t, unix.Tgkill(w.pid, w.pid, unix.SIGUSR1))
	w.await(n + 1)
}

// TestOtherFiles restarts in a live caller when a file of the image is not what
// it was.
func TestOtherFiles(t *testing.T) {
	adopting(t)
	w := startWaiter(t, buildWaiter(t), nil)
	for _, c := range []struct {
		name   string
		change func(path string) error
		errno  unix.Errno
	}{
		{"gone", os.Remove, unix.ENOENT},
		{"longer", func(p string) error { return os.WriteFile(p, []byte("longer than it was"), 0o600) }, unix.ESTALE},
		{"modified", func(p string) error { return os.WriteFile(p, []byte("CONTENTS"), 0o600) }, unix.ESTALE},
		{"a directory", func(p string) error { return firstOf(os.Remove(p), os.Mkdir(p, 0o700)) }, unix.ESTALE},
		{"a FIFO", func(p string) error { return firstOf(os.Remove(p), unix.Mkfifo(p, 0o600)) }, unix.ESTALE},
		{"a symlink to itself", func(p string) error { return firstOf(os.Remove(p), os.Symlink(p, p)) }, unix.ELOOP},
		{"behind a file", func(p string) error {
			d := filepath.Dir(p)
			return firstOf(os.RemoveAll(d), os.WriteFile(d, nil, 0o600))
		}, unix.ENOTDIR},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "dir")
			path := filepath.Join(dir, "file")
			require.NoError(t, os.Mkdir(dir, 0o700))
			require.NoError(t, os.WriteFile(path, []byte("contents"), 0o600))
			image := savedOnce(t, `
f = open(sys.argv[1], "r+"); r, w = os.pipe(); e = select.epoll(); e.register(r, 1); h = os.dup(f.fileno())
print("ready", flush=True); signal.pause()`, path)
			require.NoError(t, c.change(path))
			err := w.refuses(image, kernel.RestartOptions{})
			require.ErrorIs(t, err, c.errno)
			require.ErrorContains(t, err, path)
			t.Log(err)
		})
	}
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestFullFileSystem restarts where there is no room for a deleted file.
func TestFullFileSystem(t *testing.T) {
	needs(t, "CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN)
	adopting(t)
	dir := t.TempDir()
	require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	image := savedOnce(t, `
f = tempfile.TemporaryFile(dir=sys.argv[1]); f.write(b"x" * (1 << 20)); f.flush(); os.chdir("/")
print("ready", flush=True); signal.pause()`, dir)
	w := startWaiter(t, buildWaiter(t), nil)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "big"), make([]byte, 3<<19), 0o600))
	require.ErrorIs(t, w.refuses(image, kernel.RestartOptions{}), unix.ENOSPC)
	var st unix.Statfs_t
	require.NoError(t, unix.Statfs(dir, &st))
	require.Equal(t, uint64(2<<20-3<<19), st.Bfree*uint64(st.Bsize), "the room is free again")
}

// TestSharingCaller restarts in a caller whose memory or descriptors are another
// process's as well.
func TestSharingCaller(t *testing.T) {
	adopting(t)
	image := savedOnce(t, `print("ready", flush=True); signal.pause()`)
	path := buildWaiter(t)
	for what, flags := range map[string]int{"memory": unix.CLONE_VM, "descriptors": unix.CLONE_FILES} {
		t.Run(what, func(t *testing.T) {
			t.Setenv("CALLER_SHARES", strconv.Itoa(flags))
			w := startWaiter(t, path, nil)
			err := w.refuses(image, kernel.RestartOptions{})
			require.ErrorIs(t, err, unix.EBUSY)
			other := descendants(w.pid)
			require.ErrorContains(t, err, fmt.Sprintf("it shares its %s with pid %d", what, other[len(other)-1]))
		})
	}
}
