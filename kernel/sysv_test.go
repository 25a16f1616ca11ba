package kernel_test

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/image"
	"cr/kernel"
)

// sysvKey is the key of what the tests of this program make.
func sysvKey() int { return 0x63000000 + os.Getpid() }

// sysvNumbers lists the queues ("msg") or sets of semaphores ("sem") that have a
// key: their numbers, and the lines of /proc/sysvipc.
func sysvNumbers(kind string, key int) map[int]string {
	b, _ := os.ReadFile("/proc/sysvipc/" + kind)
	list := make(map[int]string)
	for _, line := range strings.Split(string(b), "\n") {
		if f := strings.Fields(line); len(f) > 3 && f[0] == strconv.Itoa(key) {
			n, _ := strconv.Atoi(f[1])
			list[n] = line
		}
	}
	return list
}

// removeSysV removes the queues and sets that have a key.
func removeSysV(key int) {
	for n := range sysvNumbers("msg", key) {
		_, _, _ = unix.Syscall(unix.SYS_MSGCTL, uintptr(n), 0, 0)
	}
	for n := range sysvNumbers("sem", key) {
		_, _, _ = unix.Syscall(unix.SYS_SEMCTL, uintptr(n), 0, 0)
	}
}

const sysvScript = `
key = int(sys.argv[1])
def send(q, t, b): call("msgsnd", q, struct.pack("l", t) + b, ctypes.c_size_t(len(b)), 0o4000)
def receive(q, t):
    b = ctypes.create_string_buffer(1 << 17); n = call("msgrcv", q, b, ctypes.c_size_t(len(b) - 8), ctypes.c_long(t), 0o4000); k = struct.calcsize("l")
    return struct.unpack("l", b.raw[:k])[0], b.raw[k:k + n]
def value(s, n): return call("semctl", s, n, 12)
def setall(s, *v): call("semctl", s, 0, 17, struct.pack("%dH" % len(v), *v))
def operate(s, *ops): call("semop", s, b"".join(struct.pack("Hhh", *o) for o in ops), len(ops))
def permissions(kind, i):
    for line in open("/proc/sysvipc/" + kind).read().split("\n")[1:]:
        f = line.split()
        if f and int(f[1]) == i: return int(f[0]), f[2], f[7 if kind == "msg" else 4], f[8 if kind == "msg" else 5]
`

// sysvCases have a queue or a set, which they remove in the end.
var sysvCases = []struct{ name, script string }{
	{"queue", `
q = call("msgget", key, 0o1640)
ds = ctypes.create_string_buffer(256); call("msgctl", q, 2, ds); had = ds.raw[88:96]
for t, b in (5, b"first"), (2, b"second"), (5, b"third" * 1000), (7, b""), (1 << 40 if struct.calcsize("l") == 8 else 9, b"far"): send(q, t, b)
was = permissions("msg", q); ready(); same(permissions("msg", q), was); same(call("msgget", key, 0), q)
same(receive(q, 2), (2, b"second")); same(receive(q, 0), (5, b"first")); same(receive(q, -6), (5, b"third" * 1000))
same(receive(q, 0), (7, b"")); same(receive(q, 0)[1], b"far")
try: receive(q, 0); assert False
except OSError as e: same(e.errno, errno.ENOMSG)
ds = ctypes.create_string_buffer(256); call("msgctl", q, 2, ds); same(ds.raw[88:96], had)
call("msgctl", q, 0, 0); print("ok")`},
	{"queue of two processes", `
q = call("msgget", key, 0o1600)
r, w = os.pipe()
child = os.fork()
if child == 0: send(q, 1, b"of the child"); os.write(w, b"x"); time.sleep(0.1); os.read(r, 1); same(receive(q, 3), (3, b"of the parent")); os._exit(5)
same(os.read(r, 1), b"x"); send(q, 2, b"x"); same(receive(q, 2), (2, b"x")); send(q, 4, b"last"); ready()
same(receive(q, 1), (1, b"of the child")); same(receive(q, 0), (4, b"last")); send(q, 3, b"of the parent"); os.write(w, b"y"); same(os.wait()[1], 5 << 8)
call("msgctl", q, 0, 0); print("ok")`},
	{"queue that holds less than it did", `
q = call("msgget", key, 0o1600)
ds = ctypes.create_string_buffer(256); send(q, 1, b"x" * 3000); call("msgctl", q, 2, ds); ds[88:96] = struct.pack("L", 2000); call("msgctl", q, 1, ds)
ready(); ds = ctypes.create_string_buffer(256); call("msgctl", q, 2, ds); same(ds.raw[88:96], struct.pack("L", 2000)); same(receive(q, 0), (1, b"x" * 3000))
call("msgctl", q, 0, 0); print("ok")`},
	{"processes that wait", `
q = call("msgget", key, 0o1600); s = call("semget", key, 1, 0o1600); operate(s, (0, 2, 0)); send(q, 2, b"other"); b = ctypes.create_string_buffer(99); one = os.getpid(); l = []
def wait(f):
    l.append(os.fork())
    if l[-1] == 0: f(); os._exit(7)
def waits(pid):
    while open("/proc/%d/stat" % pid).read().split()[2] != "S": time.sleep(0.01)
wait(lambda: operate(s, (0, -5, 0))); wait(lambda: operate(s, (0, 0, 0))); wait(lambda: same(call("msgrcv", q, b, ctypes.c_size_t(9), ctypes.c_long(3), 0), 4)); time.sleep(0.2)
for p in l: waits(p)
ready(); time.sleep(0.1)
for p in l: same(os.waitpid(p, os.WNOHANG), (0, 0))
operate(s, (0, 3, 0)); same(os.waitpid(l[0], 0)[1], 7 << 8); same(os.waitpid(l[1], 0)[1], 7 << 8); send(q, 3, b"last"); same(os.waitpid(l[2], 0)[1], 7 << 8); same(receive(q, 0), (2, b"other"))
call("msgctl", q, 0, 0); call("semctl", s, 0, 0); print("ok")`},
	{"semaphores", `
s = call("semget", key, 3, 0o1604); setall(s, 7, 0, 32767); operate(s, (0, -2, 0), (1, 1, 0))
was = permissions("sem", s); ready(); same(permissions("sem", s), was); same(call("semget", key, 3, 0), s)
same([value(s, n) for n in range(3)], [5, 1, 32767]); operate(s, (1, -1, 0o4000))
try: operate(s, (1, -1, 0o4000)); assert False
except OSError as e: same(e.errno, errno.EAGAIN)
call("semctl", s, 0, 0); print("ok")`},
}

func TestSysV(t *testing.T) {
	t.Cleanup(func() { removeSysV(sysvKey()) })
	key := strconv.Itoa(sysvKey())
	for _, c := range sysvCases {
		c := c
		removeSysV(sysvKey()) // of a case that has failed
		t.Run(c.name, func(t *testing.T) {
			p := start(t, sysvScript+c.script, key)
			saved := p.checkpoint(kernel.CheckpointOptions{Kill: true})
			_, _ = p.end()
			removeSysV(sysvKey())
			restart(t, saved).finish()
			// A second one is of what the first has left: nothing.
			restart(t, saved).finish()
		})
		t.Run(c.name+" that goes on", func(t *testing.T) {
			p := start(t, sysvScript+c.script, key)
			p.checkpoint(kernel.CheckpointOptions{})
			p.finish()
		})
		t.Run(c.name+" still there", func(t *testing.T) {
			p := start(t, sysvScript+c.script, key)
			saved := p.checkpoint(kernel.CheckpointOptions{Kill: true})
			_, _ = p.end()
			restart(t, saved).finish()
		})
	}
}

// sysvPair is a queue and a set, with the keys that the first arguments say.
const sysvPair = sysvScript + `
q = call("msgget", key, 0o1600); send(q, 1, b"message"); s = call("semget", key, 1, 0o1600); operate(s, (0, 3, 0))
ready(); same(receive(q, 1), (1, b"message")); same(value(s, 0), 3); call("msgctl", q, 0, 0); call("semctl", s, 0, 0); print("ok")`

// savedPair saves sysvPair, which is gone then, but not what it has made.
func savedPair(t *testing.T) []byte {
	t.Helper()
	p := start(t, sysvPair, strconv.Itoa(sysvKey()))
	saved := p.checkpoint(kernel.CheckpointOptions{Kill: true})
	_, _ = p.end()
	return saved
}

// metadata is that of an image.
func metadata(t *testing.T, saved []byte) *image.Image {
	t.Helper()
	m, _, err := image.Read(bytes.NewReader(saved))
	require.NoError(t, err)
	return m
}

func TestSysVInTheWay(t *testing.T) {
	key := sysvKey()
	t.Cleanup(func() { removeSysV(key) })
	for _, c := range []struct {
		name string
		get  func(key int) (uintptr, unix.Errno)
		want string
	}{
		{"queue", func(key int) (uintptr, unix.Errno) {
			id, _, e := unix.Syscall(unix.SYS_MSGGET, uintptr(key), 0o1600, 0)
			return id, e
		}, `System V message queue \d+: number \d+ has its key, 0x[0-9a-f]+ \(remove that \(ipcrm -q\)\)`},
		{"semaphores", func(key int) (uintptr, unix.Errno) {
			id, _, e := unix.Syscall(unix.SYS_SEMGET, uintptr(key), 1, 0o1600)
			return id, e
		}, `System V semaphores \d+: number \d+ has its key, 0x[0-9a-f]+ \(remove that \(ipcrm -s\)\)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			saved := savedPair(t)
			removeSysV(key)
			_, e := c.get(key)
			require.Zero(t, e)
			_, err := tryRestart(t, saved)
			require.Error(t, err)
			require.Regexp(t, c.want, err.Error())
			left := len(sysvNumbers("msg", key)) + len(sysvNumbers("sem", key))
			require.Equal(t, 1, left, "what was in the way, and nothing of the restart")
			removeSysV(key)
			restart(t, saved).finish()
		})
	}
	t.Run("changed since", func(t *testing.T) {
		earlier := changed(t, savedPair(t), func(m *image.Image) { m.Queues[0].IPC.Changed -= 100 })
		_, err := tryRestart(t, earlier)
		require.ErrorContains(t, err, "one of that number and key was made or changed after the checkpoint (remove it (ipcrm -q), or use it as it is (--force))")
		restart(t, earlier, func(o *kernel.LaunchOptions) { o.Force = true }).finish()
	})
	t.Run("in use", func(t *testing.T) {
		p := start(t, sysvPair, strconv.Itoa(key))
		saved := p.checkpoint(kernel.CheckpointOptions{})
		_, err := tryRestart(t, saved)
		require.ErrorContains(t, err, fmt.Sprintf("it is in use, by pid %d (end those who use it, or share it with them (--force))", p.pid))
		require.NoError(t, unix.Kill(p.pid, unix.SIGKILL))
		_, _ = p.end()
		restart(t, saved).finish()
	})
	t.Run("a restart that fails leaves none", func(t *testing.T) {
		saved := savedPair(t)
		removeSysV(key)
		_, err := tryRestart(t, changed(t, saved, func(m *image.Image) {
			m.Queues[0].Messages = append(m.Queues[0].Messages, image.QueueMessage{Type: 1, Data: make([]byte, 1<<20)})
		}))
		require.ErrorContains(t, err, "message 1 of 1048576 bytes has no room in it (raise kernel.msgmnb and kernel.msgmax)")
		require.Empty(t, sysvNumbers("msg", key))
		restart(t, saved).finish()
	})
}

// TestSysVOfOthers has queues and sets that somebody outside has used: they are
// left alone.
func TestSysVOfOthers(t *testing.T) {
	key := sysvKey()
	t.Cleanup(func() { removeSysV(key) })
	p := start(t, sysvPair, strconv.Itoa(key))
	require.Len(t, metadata(t, p.checkpoint(kernel.CheckpointOptions{})).Queues, 1)
	for n := range sysvNumbers("msg", key) {
		m := struct {
			kind int64
			data [8]byte
		}{kind: 2}
		_, _, e := unix.Syscall6(unix.SYS_MSGSND, uintptr(n), uintptr(unsafe.Pointer(&m)), 8, 0, 0, 0)
		require.Zero(t, e)
	}
	for n := range sysvNumbers("sem", key) {
		const setValue = 16
		_, _, e := unix.Syscall6(unix.SYS_SEMCTL, uintptr(n), 0, setValue, 3, 0, 0)
		require.Zero(t, e)
	}
	m := metadata(t, p.checkpoint(kernel.CheckpointOptions{}))
	require.Empty(t, m.Queues, "this program has sent a message")
	require.Empty(t, m.Semaphores, "this program has set it")
	p.finish()
	require.Empty(t, fmt.Sprint(sysvNumbers("msg", key), sysvNumbers("sem", key))[len("map[] map[]"):])
}
