package kernel_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/image"
	"cr/kernel"
)

// What commit would fail at is refused beforehand.

// filtered is a program with a seccomp filter that allows all, and a thread with
// one more.
const filtered = `
import threading
code = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7fff0000)); prog = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 1, ctypes.addressof(code)))
libc.prctl(38, 1, 0, 0, 0); call("syscall", 317, 1, 0, prog)
up = threading.Event()
def run(): call("syscall", 317, 1, 0, prog); up.set(); time.sleep(1000)
threading.Thread(target=run, daemon=True).start(); up.wait()
print("ready", flush=True); signal.pause()`

// insns lays out instructions of classic BPF.
func insns(list ...[4]uint32) (b []byte) {
	for _, i := range list {
		b = binary.LittleEndian.AppendUint16(b, uint16(i[0]))
		b = binary.LittleEndian.AppendUint32(append(b, byte(i[1]), byte(i[2])), i[3])
	}
	return b
}

// TestFiltersNotTaken restarts images with seccomp filters that the kernel does
// not take.
func TestFiltersNotTaken(t *testing.T) {
	needs(t, "CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN)
	adopting(t)
	allow := [4]uint32{6, 0, 0, 0x7fff0000}
	long := make([][4]uint32, 4096)
	for i := range long {
		long[i] = allow
	}
	b := savedOnce(t, filtered)
	w := startWaiter(t, buildWaiter(t), nil)
	program := func(list ...[4]uint32) func(*image.Image) {
		return func(m *image.Image) { m.Seccomps[0].Program = insns(list...) }
	}
	for _, c := range []struct {
		name   string
		change func(*image.Image)
		errno  unix.Errno
	}{
		{"no such instruction", program([4]uint32{0xffff}, allow), unix.EINVAL},
		{"no return at its end", program([4]uint32{0x20}), unix.EINVAL},
		{"a jump behind its end", program([4]uint32{0x05, 0, 0, 9}, allow), unix.EINVAL},
		{"a load from behind the data", program([4]uint32{0x20, 0, 0, 64}, allow), unix.EINVAL},
		{"a load that is not aligned", program([4]uint32{0x20, 0, 0, 2}, allow), unix.EINVAL},
		{"too many instructions together", func(m *image.Image) {
			m.Seccomps[0].Program = insns(long...)
			for _, r := range m.Tasks {
				for len(r.Filters) < 9 {
					r.Filters = append(r.Filters, m.Seccomps[0].ID)
				}
			}
		}, unix.ENOMEM},
		{"of one thread only", func(m *image.Image) {
			f := &image.Seccomp{ID: 1 << 30, Program: insns([4]uint32{0xffff}, allow)}
			m.Seccomps = append(m.Seccomps, f)
			m.Tasks[1].Filters = append(m.Tasks[1].Filters, f.ID)
		}, unix.EINVAL},
		{"strict mode too", func(m *image.Image) {
			m.Tasks[0].Settings = append(m.Tasks[0].Settings, image.Setting{Option: unix.PR_SET_SECCOMP, Value: 1})
		}, unix.EINVAL},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := w.refuses(changed(t, b, c.change), kernel.RestartOptions{})
			require.ErrorIs(t, err, c.errno)
			require.ErrorContains(t, err, "this kernel does not take its seccomp filters")
			t.Log(err)
		})
	}
}

// TestFilterCallsFail is TestEveryCallFails for an image with filters, which are
// tried beforehand.
func TestFilterCallsFail(t *testing.T) {
	f := newFailer(t, filtered, false)
	lastUndone, firstKilled := f.everyCall(5 * time.Second)
	require.Less(t, lastUndone, firstKilled, "the point of no return")
}

// named is a program that has sockets with names in its directory, in which
// there are others when it is restarted that nobody has any more.
const named = `
os.chdir(sys.argv[1])
l = socket.socket(socket.AF_UNIX); l.bind(sys.argv[1] + "/listen"); l.listen(2); c = socket.socket(socket.AF_UNIX); c.connect("listen"); s = l.accept()
g = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); g.bind("dgram"); h = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); h.connect("dgram"); h.send(b"one")
print("ready", flush=True); signal.pause()`

// TestStaleSocketCallsFail is TestEveryCallFails where sockets have left files at
// the names of those of the image: they are there after a failure, the very
// same, and nothing else is.
func TestStaleSocketCallsFail(t *testing.T) {
	f := newFailer(t, named, true)
	lastUndone, firstKilled := f.everyCall(8 * time.Second)
	require.Less(t, lastUndone, firstKilled, "the point of no return")
}

// queued is a program of another user with pending signals and a timer.
const queued = `
import threading
u = int(sys.argv[1]); os.setgroups([]); os.setresgid(u, u, u); os.setresuid(u, u, u); libc.prctl(4, 1, 0, 0, 0); os.nice(max(0, 2 - os.nice(0))); os.chdir("/")
rt = signal.SIGRTMIN + 3; signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
for v in range(5): libc.sigqueue(os.getpid(), rt, ctypes.c_void_p(v))
signal.pthread_kill(threading.get_ident(), rt + 1)
ti = ctypes.c_int(); call("timer_create", 1, ctypes.byref((ctypes.c_uint64 * 8)(0, rt)), ctypes.byref(ti))
print("ready", flush=True); signal.pause()`

// queuedBy is how many signals and timers the kernel counts for the user of a
// process.
func queuedBy(t *testing.T, pid int) (n uint64) {
	t.Helper()
	_, err := fmt.Sscanf(status(pid, "SigQ"), "%d/", &n)
	require.NoError(t, err)
	return n
}

// TestQueueLimit restarts an image with pending signals and a timer under limits
// that rise: EAGAIN, until there is room for the last of them.
func TestQueueLimit(t *testing.T) {
	needs(t, "CAP_SETUID", unix.CAP_SETUID)
	adopting(t)
	const user = 54321 // of whom nothing else runs
	b := savedOnce(t, queued, fmt.Sprint(user))
	w := startWaiter(t, buildWaiter(t), &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}})
	timers, err := os.ReadFile(w.proc("timers"))
	require.NoError(t, err)
	require.Greater(t, queuedBy(t, w.pid), uint64(1))
	// Signals that wait for the caller go first. Its timers go before those of
	// the image are made, when the signals of the process have been queued.
	need := uint64(5 + 1 + 1)
	if n := 5 + uint64(bytes.Count(timers, []byte("signal: "))); n > need {
		need = n
	}
	for limit := uint64(0); ; limit++ {
		with := changed(t, b, func(m *image.Image) { m.Processes[0].Limits[unix.RLIMIT_SIGPENDING].Cur = limit })
		if limit == need {
			_, err := kernel.RestartInto(w.pid, bytes.NewReader(with), kernel.RestartOptions{})
			require.NoError(t, err)
			require.Equal(t, uint64(7), queuedBy(t, w.pid))
			t.Logf("refused %d times", limit)
			return
		}
		require.ErrorIs(t, w.refuses(with, kernel.RestartOptions{}), unix.EAGAIN)
	}
}

// TestQueueWithoutLimit restarts an image with standard signals from kill(2),
// which the kernel queues whatever the limit is.
func TestQueueWithoutLimit(t *testing.T) {
	adopting(t)
	b := savedOnce(t, `
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP, signal.SIGUSR1]); os.kill(os.getpid(), signal.SIGHUP); os.kill(os.getpid(), signal.SIGUSR1)
print("ready", flush=True); time.sleep(1000)`)
	b = changed(t, b, func(m *image.Image) {
		require.Len(t, m.Processes[0].Pending, 2)
		m.Processes[0].Limits[unix.RLIMIT_SIGPENDING].Cur = 0
	})
	w := startWaiter(t, buildWaiter(t), nil)
	_, err := kernel.RestartInto(w.pid, bytes.NewReader(b), kernel.RestartOptions{})
	require.NoError(t, err)
	require.Equal(t, "0000000000000201", status(w.pid, "ShdPnd"), "none of those that the caller had blocked")
	time.Sleep(100 * time.Millisecond)
	require.Equal(t, "S (sleeping)", status(w.pid, "State"))
}
