package kernel_test

import (
	"bytes"
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

// TestUndoFiles restarts an image in a process that has open files itself. The
// last of those of the image is gone: the process must be as it was.
func TestUndoFiles(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "gone")
	require.NoError(t, os.WriteFile(gone, nil, 0o600))
	p := start(t, `
d = os.path.dirname(sys.argv[1])
e = select.epoll(); r, w = os.pipe(); os.write(w, b"x"); a, b = socket.socketpair(); a.send(b"y")
m = os.memfd_create("m"); os.write(m, b"z" * 5000)
l = socket.socket(socket.AF_UNIX); l.bind(d + "/listen"); l.listen(1)
t = tempfile.TemporaryFile(); t.write(b"deleted"); t.flush()
master, slave = os.openpty()
for f in r, a.fileno(), slave: e.register(f, select.EPOLLIN)
os.dup2(os.open(sys.argv[1], os.O_RDONLY), 300)
for fd in range(slave + 1, 300):
    try: os.close(fd)
    except OSError: pass
ready()
`, gone)
	image := p.checkpoint(kernel.CheckpointOptions{Kill: true})
	_, _ = p.end()
	require.NoError(t, os.Remove(gone))
	listen := filepath.Join(filepath.Dir(gone), "listen")
	left, err := os.Lstat(listen)
	require.NoError(t, err, "what the socket has left")

	q := start(t, `
r, w = os.pipe(); fd = os.open("/dev/zero", os.O_RDONLY); os.dup2(fd, 9); os.set_inheritable(9, True)
def table():
    return sorted((n, os.readlink("/proc/self/fd/" + n), os.get_inheritable(int(n))) for n in os.listdir("/proc/self/fd") if os.path.lexists("/proc/self/fd/" + n))
maps = lambda: [l.split()[0] for l in open("/proc/self/maps")]
before = table(); maps(); b = maps()
os.write(w, b"x")
print("ready", flush=True)
same((libc.pause(), ctypes.get_errno()), (-1, errno.ENOENT))
same(table(), before)
same(len(maps()), len(b))
same(os.read(r, 9), b"x")
sys.stdin.readline()
print("ok")
`)
	require.Eventually(t, func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", q.pid))
		return err == nil && !strings.HasPrefix(string(b), "running") && !strings.HasPrefix(string(b), fmt.Sprint(unix.SYS_WRITE, " "))
	}, 30*time.Second, time.Millisecond, "it is not in its call")
	answered, err := kernel.RestartInto(q.pid, bytes.NewReader(image), kernel.RestartOptions{})
	require.ErrorIs(t, err, unix.ENOENT)
	require.ErrorContains(t, err, gone)
	require.True(t, answered)
	q.finish()
	now, err := os.Lstat(listen)
	require.NoError(t, err)
	require.True(t, os.SameFile(left, now), "the file of a socket is another one")

	require.NoError(t, os.WriteFile(gone, nil, 0o600))
	_, err = tryRestart(t, image)
	require.ErrorContains(t, err, "modified since the checkpoint")
	restart(t, image, func(o *kernel.LaunchOptions) { o.Force = true })
}
