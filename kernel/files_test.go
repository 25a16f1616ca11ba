package kernel_test

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fileCases are programs with one kind of open file each. All of them can be
// saved while they run on.
var fileCases = []struct{ name, script string }{
	{"regular files", `
d = tempfile.mkdtemp()
w = open(d + "/log", "wb", buffering=0); w.write(b"one two")
r = os.open(d + "/log", os.O_RDONLY); os.read(r, 3)
r2 = os.dup(r)
ready()
same(os.read(r2, 4), b" two")
same(os.lseek(r, 0, 1), 7)
same(fcntl.fcntl(w, fcntl.F_GETFL) & 3, os.O_WRONLY)
print("ok")
`},
	{"deleted file", `
d = tempfile.mkdtemp()
fd = os.open(d + "/gone", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
os.write(fd, b"x" * 10000)
os.lseek(fd, 1 << 20, 0); os.ftruncate(fd, 1 << 20); os.write(fd, b"end")
other = os.open(d + "/gone", os.O_RDONLY)
shared = mmap.mmap(fd, 8192)
os.unlink(d + "/gone")
os.lseek(fd, 5, 0)
ready()
st = os.fstat(fd)
same((st.st_nlink, st.st_size, st.st_mode & 0o777), (0, (1 << 20) + 3, 0o640))
same(os.lseek(fd, 0, 1), 5)
same(os.read(fd, 9995), b"x" * 9995)
same(os.pread(other, 10, (1 << 20) - 2), b"\0\0end")
os.pwrite(fd, b"new", 0)  # O_APPEND: at the end
same(os.pread(other, 10, 1 << 20), b"endnew")
shared[0:3] = b"abc"
same(os.pread(other, 4, 0), b"abcx")
print("ok")
`},
	{"deleted file in a deleted directory", `
d = tempfile.mkdtemp()
f = tempfile.TemporaryFile(dir=d)
f.write(b"contents"); f.flush()
os.rmdir(d)
ready()
f.seek(0)
same(f.read(), b"contents")
print("ok")
`},
	{"named pipe", `
d = tempfile.mkdtemp()
os.mkfifo(d + "/p")
both = os.open(d + "/p", os.O_RDWR)
r = os.open(d + "/p", os.O_RDONLY | os.O_NONBLOCK)
w = os.open(d + "/p", os.O_WRONLY)
os.close(both)
os.write(w, b"queued")
ready()
same(os.read(r, 100), b"queued")
os.write(w, b"more")
same(os.read(r, 100), b"more")
try:
    os.read(r, 1)
    assert False
except BlockingIOError:
    pass
os.close(w)
same(os.read(r, 1), b"")
print("ok")
`},
	{"pipe", `
r, w = os.pipe()
fcntl.fcntl(w, 1031, 1 << 17)
os.write(w, b"q" * 70000)
ready()
same(fcntl.fcntl(r, 1032), 1 << 17)
got = b""
while len(got) < 70000: got += os.read(r, 70000)
same(got, b"q" * 70000)
print("ok")
`},
	{"memfd with seals and mappings", `
fd = os.memfd_create("scratch", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
os.write(fd, b"hello")
os.ftruncate(fd, 3 << 20)
m = mmap.mmap(fd, 8192)
m[4096:4100] = b"page"
ro = os.memfd_create("sealed", os.MFD_ALLOW_SEALING)
os.write(ro, b"constant" + b"\0" * 5000)
fcntl.fcntl(ro, 1033, 2 | 4 | 8)
rm = mmap.mmap(ro, 4096, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED)
plain = os.memfd_create("plain", 0)
os.write(plain, b"abc")
ready()
same(os.readlink("/proc/self/fd/%d" % fd), "/memfd:scratch (deleted)")
same(os.fstat(fd).st_size, 3 << 20)
same(os.pread(fd, 5, 0), b"hello")
same(os.lseek(fd, 0, 1), 5)
same(m[4096:4100], b"page")
m[0:1] = b"J"
same(os.pread(fd, 5, 0), b"Jello")
os.pwrite(fd, b"k", 4096)
same(m[4096:4100], b"kage")
same(fcntl.fcntl(fd, 1034), 0)
same(fcntl.fcntl(ro, 1034), 2 | 4 | 8)
same(rm[0:8], b"constant")
try:
    os.write(ro, b"x"); assert False
except PermissionError: pass
same(fcntl.fcntl(plain, 1034), 1)
same(os.pread(plain, 9, 0), b"abc")
print("ok")
`},
	{"eventfd", `
e = os.eventfd(5, os.EFD_NONBLOCK)
s = os.eventfd(3, os.EFD_SEMAPHORE | os.EFD_CLOEXEC)
big = os.eventfd(0); os.eventfd_write(big, 1 << 40)
zero = os.eventfd(0, os.EFD_NONBLOCK)
ready()
same(os.eventfd_read(e), 5)
same([os.eventfd_read(s) for i in range(3)], [1, 1, 1])
same(os.eventfd_read(big), 1 << 40)
for fd in e, zero:
    try:
        os.eventfd_read(fd); assert False
    except BlockingIOError: pass
assert not os.get_inheritable(s)
print("ok")
`},
	{"timerfd", `
class spec(ctypes.Structure): _fields_ = [("v", ctypes.c_long * 4)]
def make(clock, flags, value, interval=0):
    fd = call("timerfd_create", clock, os.O_NONBLOCK)
    s = spec((interval // 10**9, interval % 10**9, value // 10**9, value % 10**9))
    call("timerfd_settime", fd, flags, ctypes.byref(s), None)
    return fd
def get(fd):
    s = spec()
    call("timerfd_gettime", fd, ctypes.byref(s))
    return s.v[2] * 10**9 + s.v[3], s.v[0] * 10**9 + s.v[1]
far = make(time.CLOCK_MONOTONIC, 0, 1000 * 10**9)
wall = make(time.CLOCK_REALTIME, 1, time.time_ns() + 5000 * 10**9)
ticking = make(time.CLOCK_MONOTONIC, 0, 10**6, 10**6)
once = make(time.CLOCK_MONOTONIC, 0, 10**6)
idle = call("timerfd_create", time.CLOCK_BOOTTIME, 0)
time.sleep(0.05)
deadline = time.time() + 5000
ready()
left, _ = get(far)
assert 900 * 10**9 < left <= 1000 * 10**9, left
left, _ = get(wall)
assert abs(time.time() + left / 1e9 - deadline) < 2, left
n = struct.unpack("Q", os.read(ticking, 8))[0]
assert n >= 40, n
same(get(ticking)[1], 10**6)
same(struct.unpack("Q", os.read(once, 8))[0], 1)
same(get(idle), (0, 0))
print("ok")
`},
	{"signalfd", `
mask = (ctypes.c_ulong * 16)()
mask[0] = 1 << (signal.SIGUSR1 - 1) | 1 << (signal.SIGUSR2 - 1)
fd = call("signalfd", -1, mask, os.O_NONBLOCK)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGUSR2])
os.kill(os.getpid(), signal.SIGUSR2)
ready()
same(struct.unpack("I", os.read(fd, 128)[:4])[0], signal.SIGUSR2)
os.kill(os.getpid(), signal.SIGUSR1)
same(struct.unpack("I", os.read(fd, 128)[:4])[0], signal.SIGUSR1)
print("ok")
`},
	{"epoll", `
e = select.epoll()
r, w = os.pipe()
a, b = socket.socketpair()
ev = os.eventfd(1)
inner = select.epoll()
e.register(r, select.EPOLLIN)
e.register(a, select.EPOLLIN | select.EPOLLET)
e.register(ev, select.EPOLLIN | select.EPOLLONESHOT)
x = os.dup(r)
e.register(x, select.EPOLLIN)
os.dup2(0, x)              # the file behind it is still r
inner.register(w, select.EPOLLOUT)
e.register(inner, select.EPOLLIN)
e.unregister(ev); e.register(ev, 0)
ready()
same(sorted(e.poll(0)), [(inner.fileno(), select.EPOLLIN)])
os.write(w, b"x")
same(sorted(f for f, _ in e.poll(0)), sorted([r, x, inner.fileno()]))
b.send(b"y")
assert (a.fileno(), select.EPOLLIN) in e.poll(0)
assert a.fileno() not in [f for f, _ in e.poll(0)]   # edge triggered
e.modify(ev, select.EPOLLIN)
assert (ev, select.EPOLLIN) in e.poll(0)
print("ok")
`},
	{"O_PATH and directories", `
d = tempfile.mkdtemp()
os.symlink("nowhere", d + "/link")
for i in range(20): os.close(os.open(d + "/%d" % i, os.O_CREAT, 0o600))
p = os.open(d, os.O_PATH | os.O_DIRECTORY)
link = os.open(d + "/link", os.O_PATH | os.O_NOFOLLOW)
n = os.open("/dev/null", os.O_PATH)
directory = os.open(d, os.O_RDONLY | os.O_DIRECTORY)
buf = ctypes.create_string_buffer(256)
SYS_getdents64 = 217 if os.uname().machine == "x86_64" else 220 if os.uname().machine.startswith("i") else 202
def names():
    out = []
    while True:
        k = libc.syscall(SYS_getdents64, directory, buf, 256)
        if k <= 0: return out
        at = 0
        while at < k:
            size = struct.unpack_from("H", buf, at + 16)[0]
            out.append(buf.raw[at+19:at+size].split(b"\0")[0]); at += size
        if len(out) > 5 and not done: return out
done = False
first = names()
ready()
done = True
rest = names()
same(sorted(set(first + rest) - {b".", b".."}), sorted([b"%d" % i for i in range(20)] + [b"link"]))
same(len(first) + len(rest), 23)
same(os.readlink("", dir_fd=link), "nowhere")
same(os.fstat(n).st_rdev, os.stat("/dev/null").st_rdev)
os.close(os.open("5", os.O_RDONLY, dir_fd=p))
print("ok")
`},
	{"character devices", `
fds = [os.open("/dev/" + n, os.O_RDWR) for n in ("null", "zero", "full")] + [os.open("/dev/urandom", os.O_RDONLY)]
ready()
same(os.write(fds[0], b"x"), 1)
same(os.read(fds[1], 3), b"\0\0\0")
try:
    os.write(fds[2], b"x"); assert False
except OSError as e: same(e.errno, errno.ENOSPC)
same(len(os.read(fds[3], 8)), 8)
print("ok")
`},
	{"owner and signal", `
r, w = os.pipe()
got = []
signal.signal(signal.SIGRTMIN, lambda s, f: got.append(s))
fcntl.fcntl(r, fcntl.F_SETOWN, os.getpid())
fcntl.fcntl(r, 10, signal.SIGRTMIN)
fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
group = os.open("/dev/null", os.O_RDONLY)
a, b = socket.socketpair()
fcntl.fcntl(a, fcntl.F_SETOWN, os.getpid())
ready()
same(fcntl.fcntl(r, fcntl.F_GETOWN), os.getpid())
same(fcntl.fcntl(r, 11), signal.SIGRTMIN)
same(fcntl.fcntl(a, fcntl.F_GETOWN), os.getpid())
os.write(w, b"x")
for i in range(100):
    if got: break
    time.sleep(0.01)
same(got, [signal.SIGRTMIN])
print("ok")
`},
	{"shared anonymous memory", `
m = mmap.mmap(-1, 1 << 20)
m[0:5] = b"hello"; m[500000:500003] = b"mid"
pid = os.fork()
if pid == 0:
    while m[0:5] != b"HELLO": time.sleep(0.01)
    m[100:105] = b"child"
    os._exit(7)
ready()
same(m[500000:500003], b"mid")
m[0:5] = b"HELLO"
same(os.waitpid(pid, 0)[1] >> 8, 7)
same(m[100:105], b"child")
print("ok")
`},
	{"shared open files", `
f = tempfile.TemporaryFile(buffering=0)
f.write(b"0123456789")
r, w = os.pipe(); a, b = socket.socketpair()
pid = os.fork()
if pid == 0:
    os.read(r, 1)
    f.seek(4); a.send(b"from child")
    os._exit(0)
ready()
os.write(w, b"x")
os.waitpid(pid, 0)
same(f.read(3), b"456")
same(b.recv(100), b"from child")
print("ok")
`},
	{"pidfd", `
pid = os.fork()
if pid == 0:
    signal.pause()
    os._exit(1)
fd = os.pidfd_open(pid)
me = os.pidfd_open(os.getpid())
p = select.epoll(); p.register(fd, select.EPOLLIN)
second = os.fork()
if second == 0:
    time.sleep(0.1)
    signal.pidfd_send_signal(fd, signal.SIGTERM)
    os._exit(0)
ready()
os.waitpid(second, 0)
same(p.poll(10), [(fd, select.EPOLLIN)])
same(os.waitid(os.P_PIDFD, fd, os.WEXITED).si_status, signal.SIGTERM)
signal.pidfd_send_signal(me, 0)
print("ok")
`},
}

func TestFiles(t *testing.T) {
	for _, c := range fileCases {
		c := c
		t.Run(c.name, func(t *testing.T) { roundTrip(t, c.script) })
	}
}

// killCases are programs that cannot be there twice, or that change what is
// outside of them: they are ended by the checkpoint.
var killCases = []struct{ name, script string }{
	{"inotify", `
d = tempfile.mkdtemp()
os.mkdir(d + "/a dir"); open(d + "/file", "w").close()
i = call("inotify_init1", os.O_NONBLOCK)
w1 = call("inotify_add_watch", i, (d + "/a dir").encode(), 0x100)
w2 = call("inotify_add_watch", i, d.encode(), 0x200)
call("inotify_rm_watch", i, w1); os.read(i, 4096)
w3 = call("inotify_add_watch", i, (d + "/file").encode(), 0x2)
w4 = call("inotify_add_watch", i, (d + "/a dir").encode(), 0x100)
ready()
open(d + "/file", "a").write("x")
same(struct.unpack("iIII", os.read(i, 4096)[:16])[:2], (w3, 2))
open(d + "/a dir/new", "w").close()
same(struct.unpack("iIII", os.read(i, 4096)[:16])[:2], (w4, 0x100))
os.unlink(d + "/file")
got = os.read(i, 4096)
assert (w2, 0x200) in [struct.unpack("iI", got[k:k+8]) for k in range(0, len(got), 4) if k + 8 <= len(got)], got
os.unlink(d + "/a dir/new")
print("ok")
`},
	{"inotify of what is mapped", `
d = tempfile.mkdtemp()
f = open(d + "/file", "w+b"); f.write(b"x" * 4096); f.flush()
m = mmap.mmap(f.fileno(), 4096)
i = call("inotify_init1", os.O_NONBLOCK)
call("inotify_add_watch", i, d.encode(), 0xfff)
ready()
same(m[:], b"x" * 4096)
os.unlink(d + "/file")
assert os.read(i, 4096)
print("ok")
`},
	{"locks", `
d = tempfile.mkdtemp()
def file(name, flags=os.O_RDWR | os.O_CREAT): return os.open(d + "/" + name, flags, 0o600)
F_OFD_GETLK, F_OFD_SETLK, F_SETLEASE, F_GETLEASE = 36, 37, 1024, 1025
def lock(kind, start, size): return struct.pack("hhqqi4x", kind, 0, start, size, 0)
for n in "flock", "posix", "ofd", "lease": os.write(file(n), b"x" * 100)
ro = file("posix", os.O_RDONLY)
a, b, c = file("flock"), file("posix"), file("ofd")
l = file("lease", os.O_RDONLY)
fcntl.flock(a, fcntl.LOCK_EX)
fcntl.lockf(b, fcntl.LOCK_EX, 10, 5)
fcntl.lockf(ro, fcntl.LOCK_SH, 0, 50)
fcntl.fcntl(c, F_OFD_SETLK, lock(fcntl.F_WRLCK, 7, 1))
for fd in range(l + 1, 30):
    try: os.close(fd)
    except OSError: pass
others = []
for fd in os.listdir("/proc/self/fd"):
    fd = int(fd)
    if fd > 2 and fd not in (ro, a, b, c, l): others.append(fd)
for fd in others:
    try:
        if os.readlink("/proc/self/fd/%d" % fd) != d + "/posix": os.close(fd)
    except OSError: pass
fcntl.fcntl(l, F_SETLEASE, fcntl.F_RDLCK)
ready()
def held(name, try_it):
    if os.fork() == 0:
        fd = os.open(d + "/" + name, os.O_RDWR | os.O_NONBLOCK)
        try: try_it(fd)
        except (BlockingIOError, PermissionError): os._exit(0)
        os._exit(1)
    same(os.wait()[1], 0)
held("flock", lambda fd: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB))
held("posix", lambda fd: fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, 14))
held("posix", lambda fd: fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 0, 1 << 40))
held("ofd", lambda fd: fcntl.fcntl(fd, F_OFD_SETLK, lock(fcntl.F_WRLCK, 0, 0)))
same(fcntl.fcntl(l, F_GETLEASE), fcntl.F_RDLCK)
if os.fork() == 0:
    fd = os.open(d + "/posix", os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 0)
    fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, 10, 60)
    os._exit(0)
same(os.wait()[1], 0)
print("ok")
`},
	{"leases", `
fd, name = tempfile.mkstemp(); fcntl.fcntl(fd, 1024, fcntl.F_WRLCK)
ready(); same(fcntl.fcntl(fd, 1025), fcntl.F_WRLCK); os.unlink(name); print("ok")
`},
	{"POSIX message queue", `
name = b"/cr-test-%d" % os.getpid()
rt = ctypes.CDLL("librt.so.1", use_errno=True)
q = rt.mq_open(name, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o600, None)
assert q >= 0
assert rt.mq_send(q, b"kept", 4, 3) == 0
ready()
buf = ctypes.create_string_buffer(1 << 16)
prio = ctypes.c_uint()
same(rt.mq_receive(q, buf, 1 << 16, ctypes.byref(prio)), 4)
same((buf.raw[:4], prio.value), (b"kept", 3))
same(rt.mq_receive(q, buf, 1 << 16, None), -1)
rt.mq_unlink(name)
print("ok")
`},
}

func TestFilesKilled(t *testing.T) {
	for _, c := range killCases {
		c := c
		t.Run(c.name, func(t *testing.T) {
			if strings.HasPrefix(c.name, "inotify") {
				needs(t, "CAP_DAC_READ_SEARCH", unix.CAP_DAC_READ_SEARCH)
			}
			killAndRestart(t, c.script)
		})
	}
}
