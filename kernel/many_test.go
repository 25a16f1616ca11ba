package kernel_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/kernel"
)

// TestManyDescriptors has ten thousand open files of several kinds, which an
// epoll descriptor looks at where it can.
func TestManyDescriptors(t *testing.T) {
	const count = 10000
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	if limit.Max < count+100 {
		t.Skipf("RLIMIT_NOFILE is %d here", limit.Max)
	}
	p := start(t, `
import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
d = tempfile.mkdtemp()
e = select.epoll()
names = []
while len(names) < 10000:
    f = os.open(d + "/f%d" % len(names), os.O_RDWR | os.O_CREAT); os.write(f, b"x"); names.append(f)
    ev = os.eventfd(len(names)); names.append(ev); e.register(ev, select.EPOLLIN)
    r, w = os.pipe(); names += [r, w]
    a, b = socket.socketpair(); names += [a.detach(), b.detach()]; e.register(names[-1], select.EPOLLIN)
os.write(w, b"!")
ready()
same(os.read(r, 5), b"!")
same(os.eventfd_read(names[1]), 1)
same(os.lseek(names[0], 0, 1), 1)
same(len(e.poll(0, 100000)), len(names) // 6 - 1)
for f in names: os.fstat(f)
print("ok")
`)
	begin, cpu := time.Now(), cpuTime(t)
	image := p.checkpoint(kernel.CheckpointOptions{Kill: true})
	saved, savedCPU := time.Since(begin), cpuTime(t)-cpu
	_, _ = p.end()
	begin, cpu = time.Now(), cpuTime(t)
	q := restart(t, image)
	t.Logf("%d descriptors: checkpoint %v (%v of CPU time), restart %v (%v)", count,
		saved, savedCPU, time.Since(begin), cpuTime(t)-cpu)
	q.finish()
}

// cpuTime is how long this program has run on CPUs.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	require.NoError(t, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
