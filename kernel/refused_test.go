package kernel_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/kernel"
)

// refusedCases are programs with one thing each that cannot be saved, and the
// line that says so.
var refusedCases = []struct{ name, script, want string }{
	{"hard link of a deleted file", `
d = tempfile.mkdtemp(); f = open(d + "/a", "w"); os.link(d + "/a", d + "/b"); os.unlink(d + "/a")
ready()`, `descriptor 3 /.*/a \(deleted\): its path leads to another file, or to none, though it has not been deleted`},
	{"UNIX socket to the outside", `
import subprocess
a, b = socket.socketpair()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        a.close(); b.recv(1); os._exit(0)
    os._exit(0)
os.wait(); b.close(); time.sleep(0.3)
ready()`, `descriptor 3 socket:\[\d+\]: a UNIX socket that is connected to a process outside \(end the connection first, or checkpoint both ends\)`},
	{"raw socket", `s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); ready()`, `descriptor 3 .*: a raw socket`},
	{"packet socket", `s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0); ready()`, `descriptor 3 .*: a socket of another kind: packet`},
	{"socket filter", `
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
code = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0xffff))
s.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HxxxxxxQ", 1, ctypes.addressof(code)))
ready()`, `a socket with a BPF filter`},
	{"inotify with events", `
d = tempfile.mkdtemp(); i = call("inotify_init1", 0); call("inotify_add_watch", i, d.encode(), 0x100)
open(d + "/x", "w").close()
ready()`, `descriptor 3 anon_inode:inotify: \d+ bytes of events wait to be read`},
	{"fanotify", `f = call("fanotify_init", 0, 0); ready()`, `descriptor 3 .*fanotify.*: fanotify`},
	{"io_uring", `
p = ctypes.create_string_buffer(120); f = libc.syscall(425, 4, p); assert f >= 0
ready()`, `descriptor 3 anon_inode:\[io_uring\]: io_uring: .* \(run the program without io_uring\)`},
	{"userfaultfd", `f = libc.syscall(323, 1); assert f >= 0; ready()`, `descriptor 3 anon_inode:\[userfaultfd\]: userfaultfd`},
	{"performance counter", `
a = ctypes.create_string_buffer(struct.pack("II", 1, 112) + bytes(104)); f = libc.syscall(298, a, 0, -1, -1, 0); assert f >= 0, ctypes.get_errno()
ready()`, `descriptor 3 anon_inode:\[perf_event\]: a performance counter`},
	{"BPF map", `
a = ctypes.create_string_buffer(struct.pack("IIIII", 2, 4, 4, 1, 0) + bytes(100)); f = libc.syscall(321, 0, a, 72); assert f >= 0
ready()`, `descriptor 3 anon_inode:bpf-map: BPF`},
	{"namespace", `f = os.open("/proc/self/ns/net", os.O_RDONLY); ready()`, `descriptor 3 net:\[\d+\]: a namespace`},
	{"file of a process", `f = os.open("/proc/self/maps", os.O_RDONLY); ready()`, `descriptor 3 /proc/\d+/maps: a file of /proc that belongs to a process`},
	{"epoll target that is closed", `
e = select.epoll(); r, w = os.pipe(); e.register(r, 1); q, p = os.pipe()
child = os.fork()
if child == 0:
    os.setsid()
    if os.fork() == 0: os.close(p); os.read(q, 1)
    os._exit(0)
os.wait(); os.close(r)
ready()`, `descriptor 3 anon_inode:\[eventpoll\]: it looks at an open file, once descriptor 4, that no process has open any more`},
	{"pidfd of a process outside", `f = os.pidfd_open(os.getppid()); ready()`, `descriptor 3 .*: it refers to process \d+, which is not among those to save`},
	{"System V shared memory that others have attached", `
i = call("shmget", 0, 4096, 0o600 | 0o1000)
libc.shmat.restype = ctypes.c_void_p; libc.shmat(i, None, 0); call("shmctl", i, 0, None)
r, w = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid(); os.close(w); print("ready", flush=True); os.read(r, 1); os._exit(0)
    os._exit(0)
os.wait(); os.close(r)
sys.stdin.readline()`, `mapping .*/SYSV.*: System V shared memory that processes outside have attached 1 times`},
	{"System V semaphores with SEM_UNDO", `
s = call("semget", 0, 1, 0o1600); op = ctypes.create_string_buffer(struct.pack("Hhh", 0, 1, 0x1000)); call("semop", s, op, 1)
r, w = os.pipe()
if os.fork() == 0: # it removes the set when the program has been killed
    os.setsid()
    if os.fork() == 0: os.close(w); os.read(r, 1); call("semctl", s, 0, 0)
    os._exit(0)
os.wait(); os.close(r)
ready()`, `semaphore 0 of set \d+: it has used it last, perhaps with SEM_UNDO`},
	{"UTS namespace of a child", `
if os.fork() == 0:
    call("unshare", 0x04000000); ready()
os.wait()`, `namespace ns/uts: it is in another UTS namespace than the root of the tree \(checkpoint it alone\)`},
	{"UTS namespace of a thread", `
import threading
threading.Thread(target=lambda: (call("unshare", 0x04000000), ready())).start()`, `namespace ns/uts: it is in another UTS namespace than the root of the tree`},
	{"time namespace for children", `call("unshare", 0x80); ready()`, `namespace ns/time_for_children: its children are to be in another time namespace than it is`},
	{"pid namespace for children", `call("unshare", 0x20000000); ready()`, `namespace ns/pid_for_children: its children are to be in another pid namespace than it is`},
	{"user namespace of a child", `
p = os.fork()
if p == 0:
    call("unshare", 0x10000000); ready()
os.wait()`, `namespace ns/user: it is in another user namespace than the root of the tree`},
	{"seccomp filter with a listener", `
libc.prctl(38, 1, 0, 0, 0); code = ctypes.create_string_buffer(struct.pack("HBBIHBBIHBBIHBBI", 0x20, 0, 0, 0, 0x15, 0, 1, 319, 6, 0, 0, 0x7fc00000, 6, 0, 0, 0x7fff0000))
p = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 4, ctypes.addressof(code))); f = libc.syscall(317, 1, 8, p); assert f >= 0
ready()`, `a seccomp filter of it asks another program \(SECCOMP_RET_USER_NOTIF\)`},
	{"timer of the CPU time of one of several threads", `
import threading
ev = ctypes.create_string_buffer(struct.pack("Qii", 0, 10, 0), 64); i = ctypes.c_int(); call("timer_create", 3, ev, ctypes.byref(i))
threading.Thread(target=time.sleep, args=(5,), daemon=True).start(); ready()`, `timer 0: a timer of the CPU time of a thread`},
	{"session of two parents", `
libc.prctl(36, 1, 0, 0, 0)
q = os.fork()
if q == 0:
    r, w = os.pipe(); p, u = os.pipe()
    def orphan():
        m = os.fork()
        if m == 0:
            if os.fork() == 0: signal.pause()
            os._exit(0)
        os.waitpid(m, 0)
    if os.fork() == 0:
        os.setsid(); orphan(); os.write(w, b"x"); os.read(p, 1); orphan(); os._exit(0)
    os.read(r, 1); libc.prctl(36, 1, 0, 0, 0); os.write(u, b"x"); os.wait(); print("ready", flush=True); signal.pause()
sys.stdin.readline()`, `process python3: it is in session \d+, in which its parent is not, nor a child of its parent`},
	{"shared memory of a process with a sibling", `
if os.uname().machine != "x86_64" or sys.maxsize < 2**32: skip("the numbers of the calls are those of x86_64")
libc.prctl(36, 1, 0, 0, 0)
p = os.fork()
if p == 0:
    stack = mmap.mmap(-1, 1 << 20); at = ctypes.addressof(ctypes.c_char.from_buffer(stack)) + (1 << 20) - 64
    libc.clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    assert libc.clone(ctypes.cast(libc.pause, ctypes.c_void_p), at, 0x8000 | 0x100 | 17, None) > 0
    print("ready", flush=True); signal.pause()
sys.stdin.readline()`, `process: it shares its memory with pid \d+ \(clone, vfork\)`},
	{"descriptors that threads share, but not with their process", `
import threading
up = threading.Event()
def child(): up.set(); time.sleep(9)
def run(): call("unshare", 0x400); threading.Thread(target=child, daemon=True).start(); time.sleep(9)
threading.Thread(target=run, daemon=True).start(); up.wait(); ready()`, `thread \d+: it shares its descriptors with task \d+, and not with its process \(unshare\)`},
	{"deleted working directory", `d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d); ready()`, `working directory /.*: it is deleted`},
	{"output of a pseudoterminal that was not read", `
m, s = os.openpty(); os.write(s, b"x"); time.sleep(0.2)
ready()`, `descriptor 3 /dev/p.*: \d+ bytes of output wait to be read`},
}

// refusedNeeds are the capabilities that some of them take.
var refusedNeeds = map[string]uint{
	"raw socket": unix.CAP_NET_RAW, "packet socket": unix.CAP_NET_RAW, "fanotify": unix.CAP_SYS_ADMIN,
	"UTS namespace of a child": unix.CAP_SYS_ADMIN, "UTS namespace of a thread": unix.CAP_SYS_ADMIN,
	"time namespace for children": unix.CAP_SYS_ADMIN, "pid namespace for children": unix.CAP_SYS_ADMIN, "seccomp filter with a listener": unix.CAP_SYS_ADMIN,
	"userfaultfd": unix.CAP_SYS_PTRACE, "performance counter": unix.CAP_PERFMON, "BPF map": unix.CAP_BPF,
}

func TestRefused(t *testing.T) {
	for _, c := range refusedCases {
		c := c
		t.Run(c.name, func(t *testing.T) {
			if capability, ok := refusedNeeds[c.name]; ok {
				needs(t, "a capability", capability)
			}
			p := start(t, c.script)
			require.Regexp(t, regexp.MustCompile(`(?m)^pid \d+: `+`.*`+c.want), p.refused())
		})
	}
}

// TestIdentity restarts a program whose file has changed.
func TestIdentity(t *testing.T) {
	const script = `
f = os.open(sys.argv[1], int(sys.argv[2]))
ready()
print("ok")
`
	for _, c := range []struct {
		name   string
		flags  int
		change func(path string) error
		want   string
	}{
		{"read: longer", os.O_RDONLY, func(p string) error { return os.WriteFile(p, []byte("longer than it was"), 0o600) }, "its size has changed from 8 to 18 bytes since the checkpoint (--force restarts all the same)"},
		{"read: as long, but newer", os.O_RDONLY, func(p string) error { return os.WriteFile(p, []byte("CONTENTS"), 0o600) }, "it was modified since the checkpoint"},
		{"read and written: newer", os.O_RDWR, func(p string) error { return os.WriteFile(p, []byte("CONTENTS"), 0o600) }, "it was modified since the checkpoint"},
		{"written: longer", os.O_WRONLY, func(p string) error { return os.WriteFile(p, []byte("longer than it was"), 0o600) }, ""},
		{"written: shorter", os.O_WRONLY, func(p string) error { return os.Truncate(p, 3) }, "it has shrunk from 8 to 3 bytes"},
		{"gone", os.O_RDONLY, os.Remove, "no such file or directory"},
		{"a named pipe now", os.O_RDONLY, func(p string) error {
			if err := os.Remove(p); err != nil {
				return err
			}
			return unix.Mkfifo(p, 0o600)
		}, "it has become a file of another kind"},
		{"replaced by a copy", os.O_RDWR, func(p string) error {
			st, err := os.Stat(p)
			if err != nil {
				return err
			}
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			if err := os.Remove(p); err != nil {
				return err
			}
			if err := os.WriteFile(p, b, 0o600); err != nil {
				return err
			}
			return os.Chtimes(p, st.ModTime(), st.ModTime())
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			require.NoError(t, os.WriteFile(path, []byte("contents"), 0o600))
			p := start(t, script, path, []string{"0", "1", "2"}[c.flags])
			image := p.checkpoint(kernel.CheckpointOptions{Kill: true})
			_, _ = p.end()
			require.NoError(t, c.change(path))
			q, err := tryRestart(t, image)
			if c.want == "" {
				require.NoError(t, err)
				q.finish()
				return
			}
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, path)
			if _, e := os.Stat(path); e != nil || c.name == "a named pipe now" {
				return
			}
			restart(t, image, func(o *kernel.LaunchOptions) { o.Force = true }).finish()
		})
	}
}
