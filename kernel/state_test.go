package kernel_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/kernel"
)

// stateCases are programs that set something about themselves and make sure
// that it is still so.
var stateCases = []struct {
	name, script string
	needs        uint // capability + 1
}{
	{name: "affinity", script: `
os.sched_setaffinity(0, {0}); ready(); same(os.sched_getaffinity(0), {0}); print("ok")`},
	{name: "nice and batch policy", script: `
n = os.nice(3); os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)); ready()
same((os.nice(0), os.sched_getscheduler(0)), (n, os.SCHED_BATCH)); print("ok")`},
	{name: "nice and idle policy", script: `
n = os.nice(3); os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)); ready()
same((os.nice(0), os.sched_getscheduler(0)), (n, os.SCHED_IDLE)); print("ok")`},
	{name: "real-time policy that children do not get", needs: unix.CAP_SYS_NICE + 1, script: `
p = os.SCHED_RR | os.SCHED_RESET_ON_FORK
os.sched_setscheduler(0, p, os.sched_param(7)); ready()
same((os.sched_getscheduler(0), os.sched_getparam(0).sched_priority), (p, 7)); print("ok")`},
	{name: "deadline policy", needs: unix.CAP_SYS_NICE + 1, script: `
a = ctypes.create_string_buffer(struct.pack("IIQiIQQQ", 48, 6, 0, 0, 0, 5000000, 60000000, 90000000), 48)
r = libc.syscall(314, 0, a, 0); assert r == 0, ctypes.get_errno()
ready()
b = ctypes.create_string_buffer(48); assert libc.syscall(315, 0, b, 48, 0) == 0
same(b.raw[4:48], a.raw[4:48]); print("ok")`},
	{name: "I/O priority", script: `
io = 2 << 13 | 6
assert libc.syscall(251, 1, 0, io) == 0; ready(); same(libc.syscall(252, 1, 0), io); print("ok")`},
	{name: "oom_score_adj", script: `
open("/proc/self/oom_score_adj", "w").write("77"); ready()
same(open("/proc/self/oom_score_adj").read(), "77\n"); print("ok")`},
	{name: "coredump_filter", script: `
open("/proc/self/coredump_filter", "w").write("0x11"); ready()
same(int(open("/proc/self/coredump_filter").read(), 16), 0x11); print("ok")`},
	{name: "securebits and keepcaps", needs: unix.CAP_SETPCAP + 1, script: `
assert libc.prctl(28, 0x0f, 0, 0, 0) == 0; assert libc.prctl(8, 1, 0, 0, 0) == 0
ready(); same((hex(libc.prctl(27)), libc.prctl(7)), ("0x1f", 1)); print("ok")`},
	{name: "bounding set", needs: unix.CAP_SETPCAP + 1, script: `
assert libc.prctl(24, 21, 0, 0, 0) == 0; ready(); same(libc.prctl(23, 21), 0); same(libc.prctl(23, 20), 1); print("ok")`},
	{name: "capabilities and ambient ones", needs: unix.CAP_SETPCAP + 1, script: `
h = struct.pack("II", 0x20080522, 0)
def sets():
    b = ctypes.create_string_buffer(24); assert libc.capset is not None; assert libc.capget(ctypes.c_char_p(h), b) == 0
    return struct.unpack("6I", b.raw) + (libc.prctl(47, 1, 10, 0, 0), libc.prctl(47, 1, 12, 0, 0))
b = ctypes.create_string_buffer(struct.pack("6I", 1 << 10, 1 << 10 | 1 << 12, 1 << 10, 0, 0, 0))
assert libc.capset(ctypes.c_char_p(h), b) == 0
assert libc.prctl(47, 2, 10, 0, 0) == 0
was = sets(); same(was[6:], (1, 0)); ready(); same(sets(), was); print("ok")`},
	{name: "another user", needs: unix.CAP_SETUID + 1, script: `
os.chdir("/"); os.setgroups([5, 6]); os.setresgid(1000, 1001, 1002); os.setresuid(1000, 1001, 1002); ready()
same((os.getresuid(), os.getresgid(), os.getgroups()), ((1000, 1001, 1002), (1000, 1001, 1002), [5, 6])); print("ok")`},
	{name: "timer slack, name, death signal, subreaper, dumpable", script: `
def state():
    v = ctypes.c_int(); out = [libc.prctl(30)]
    for n in (2, 37):
        assert libc.prctl(n, ctypes.byref(v), 0, 0, 0) == 0; out.append(v.value)
    return out + [libc.prctl(3), libc.prctl(39, 0, 0, 0, 0), libc.prctl(42, 0, 0, 0, 0), open("/proc/self/comm").read()]
libc.prctl(29, 70000); libc.prctl(1, 12); libc.prctl(36, 1); libc.prctl(4, 0); libc.prctl(15, b"renamed"); libc.prctl(38, 1, 0, 0, 0); libc.prctl(41, 1, 0, 0, 0)
was = state(); same(was, [70000, 12, 1, 0, 1, 1, "renamed\n"]); ready(); same(state(), was); print("ok")`, needs: unix.CAP_SYS_PTRACE + 1},
	{name: "personality", script: `
libc.personality(0x0040000); ready(); same(libc.personality(0xffffffff), 0x40000); print("ok")`},
	{name: "memory that children merge", needs: unix.CAP_SYS_RESOURCE + 1, script: `
assert libc.prctl(67, 1, 0, 0, 0) == 0; ready(); same(libc.prctl(68, 0, 0, 0, 0), 1); print("ok")`},
	{name: "memory deny write execute", script: `
assert libc.prctl(65, 1, 0, 0, 0) == 0; ready(); same(libc.prctl(66, 0, 0, 0, 0), 1); print("ok")`},
	{name: "time stamp counter", script: `
# Where the C library reads the time by rdtsc, Python cannot run without. So a child has that, which only waits.
v = ctypes.c_int(); r, w = os.pipe(); c, d = os.pipe(); b = ctypes.create_string_buffer(1); sys.setswitchinterval(1000)
read, prctl, _exit = libc.read, libc.prctl, libc._exit
p = os.fork()
if p == 0:
    prctl(26, 2, 0, 0, 0); read(r, b, 1); prctl(25, ctypes.byref(v), 0, 0, 0); _exit(v.value)
time.sleep(0.2); ready(); os.write(w, b"x"); same(os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]), 2); print("ok")`},
	{name: "machine checks", script: `
assert libc.prctl(33, 1, 1, 0, 0) == 0; ready(); same(libc.prctl(34, 0, 0, 0, 0), 1); print("ok")`},
	{name: "I/O flusher", needs: unix.CAP_SYS_RESOURCE + 1, script: `
assert libc.prctl(57, 1, 0, 0, 0) == 0; ready(); same(libc.prctl(58, 0, 0, 0, 0), 1); print("ok")`},
	{name: "threads' names and affinity", script: `
import threading
go = threading.Event(); out = []
def run():
    libc.prctl(15, b"worker"); os.sched_setaffinity(0, {1}); libc.prctl(29, 90000); up.set(); go.wait()
    out.extend([open("/proc/thread-self/comm").read(), os.sched_getaffinity(0), libc.prctl(30)])
up = threading.Event(); t = threading.Thread(target=run); t.start(); up.wait(); ready(); go.set(); t.join()
same(out, ["worker\n", {1}, 90000]); same(os.sched_getaffinity(0), {0, 1}); print("ok")`},
	{name: "system call user dispatch", script: `
if libc.prctl(59, 1, ctypes.c_ulong(1), ctypes.c_ulong(2**47 - 2), None) < 0: skip("the kernel dispatches no system calls")
def ask():
    "what a tracer is told of the parent"
    r, w = os.pipe()
    if os.fork() == 0:
        p = os.getppid(); b = ctypes.create_string_buffer(32); assert libc.ptrace(0x4206, p, None, None) == 0; assert libc.ptrace(0x4207, p, None, None) == 0
        os.waitpid(p, 0x40000000); n = libc.ptrace(0x4211, p, ctypes.c_ulong(32), b); libc.ptrace(17, p, None, None); os.write(w, b.raw if n == 0 else b"-"); os._exit(0)
    out = os.read(r, 32); os.wait(); return out
libc.prctl(0x59616d61, ctypes.c_long(-1), 0, 0, 0); was = ask()
if was == b"-": skip("the kernel does not tell of system call dispatch")
same(struct.unpack("QQQQ", was), (1, 0, 1, 2**47 - 2)); ready(); same(ask(), was); print("ok")`},
	{name: "shared and separate seccomp filters", needs: unix.CAP_SYS_ADMIN + 1, script: `
import threading
assert libc.prctl(38, 1, 0, 0, 0) == 0
def install(nr, e, flags=0):
    code = b"".join(struct.pack("HBBI", *i) for i in ((0x20, 0, 0, 0), (0x15, 0, 1, nr), (6, 0, 0, 0x50000 | e), (6, 0, 0, 0x7fff0000)))
    b = ctypes.create_string_buffer(code); p = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 4, ctypes.addressof(b)))
    return libc.syscall(317, 1, flags, p)
ppid = lambda: libc.syscall(110)
up, go = threading.Event(), threading.Event(); out = []
def run():
    assert install(102, 77) == 0; up.set(); go.wait(); out.append((libc.syscall(102), ctypes.get_errno()))
assert install(39, 99) == 0; t = threading.Thread(target=run); t.start(); up.wait()
ready(); go.set(); t.join()
same(libc.getpid(), -99); same(out, [(-1, 77)]); same(libc.syscall(102), 0)
t = threading.Thread(target=time.sleep, args=(5,), daemon=True); t.start()
same(install(110, 55, 1), 0); same((ppid(), ctypes.get_errno()), (-1, 55)); print("ok")`},
	{name: "a seccomp filter that lets nothing through that a restart needs", needs: unix.CAP_SYS_ADMIN + 1, script: `
assert libc.prctl(38, 1, 0, 0, 0) == 0
allow = (0, 1, 231, 60, 3, 13, 11)
code = [(0x20, 0, 0, 0)] + [(0x15, len(allow) - i, 0, nr) for i, nr in enumerate(allow)] + [(6, 0, 0, 0x80000000), (6, 0, 0, 0x7fff0000)]
b = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *i) for i in code)); p = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code), ctypes.addressof(b)))
os.write(1, b"ready\n") if libc.prctl(22, 2, p, 0, 0) == 0 else None
same(os.read(0, 3), b"go\n"); os.write(1, b"ok\n"); os._exit(0)`},
	{name: "seccomp strict mode", needs: unix.CAP_SYS_ADMIN + 1, script: `
b = ctypes.create_string_buffer(3); assert libc.prctl(22, 1, 0, 0, 0) == 0
libc.write(1, b"ready\n", 6); libc.read(0, b, 3); libc.write(1, b"ok\n", 3); libc.syscall(60, 0)`},
	{name: "speculation", script: `
if libc.prctl(52, 0, 0, 0, 0) < 0 or not libc.prctl(52, 0, 0, 0, 0) & 1: skip("the machine leaves no choice about speculation")
same(libc.prctl(53, 0, ctypes.c_ulong(4), 0, 0), 0); was = libc.prctl(52, 0, 0, 0, 0); assert was & 4; ready(); same(libc.prctl(52, 0, 0, 0, 0), was); print("ok")`},
	{name: "descriptors and a working directory shared by processes", script: `
r, w = os.pipe(); c, d = os.pipe(); base = tempfile.mkdtemp(); os.mkdir(base + "/a"); os.mkdir(base + "/b"); os.chdir(base + "/a")
p = libc.syscall(56, 0x400 | 17, 0, 0, 0, 0)
if p == 0:
    os.chdir(base); os.read(r, 1); n = os.open("/dev/zero", 0); os.dup2(n, 77); same(os.getcwd(), base); os.write(d, b"1"); os._exit(0)
q = libc.syscall(56, 0x200 | 17, 0, 0, 0, 0)
if q == 0:
    os.close(w); os.read(r, 1); os.chdir(base + "/b"); os.umask(0o77); os.write(d, b"2"); os._exit(0)
os.umask(0o22); ready(); same(os.getcwd(), base + "/a"); os.write(w, b"xy"); same(sorted(os.read(c, 1) + os.read(c, 1)), sorted(b"12"))
for i in p, q: same(os.waitpid(i, 0)[1], 0)
same(os.readlink("/proc/self/fd/77"), "/dev/zero"); same(os.getcwd(), base + "/b"); same(os.umask(0), 0o77); print("ok")`},
	{name: "threads with a working directory for themselves", script: `
import threading
base = tempfile.mkdtemp(); os.mkdir(base + "/a"); os.mkdir(base + "/b"); os.chdir(base); os.umask(0o22); go = threading.Event(); out = {}
def run(name, mask):
    call("unshare", 0x200); os.chdir(base + "/" + name); os.umask(mask); up.release(); go.wait()
    f = os.open("made", os.O_CREAT | os.O_WRONLY, 0o777); out[name] = os.getcwd(), os.umask(0), os.fstat(f).st_mode & 0o777; os.close(f)
up = threading.Semaphore(0); l = [threading.Thread(target=run, args=a) for a in (("a", 0o70), ("b", 0o7))]
for t in l: t.start()
for t in l: up.acquire()
ready(); go.set()
for t in l: t.join()
same(out, {"a": (base + "/a", 0o70, 0o707), "b": (base + "/b", 7, 0o770)}); same((os.getcwd(), os.umask(0)), (base, 0o22)); print("ok")`},
	{name: "threads with descriptors for themselves", script: `
import threading
d = tempfile.mkdtemp(); f = os.open(d + "/f", os.O_RDWR | os.O_CREAT); os.write(f, b"0123456789"); os.lseek(f, 2, 0); go = threading.Event(); out = []
r, w = os.pipe(); child = os.fork()
if child == 0: signal.pause()
pf = os.pidfd_open(child); shared = os.eventfd(5)
def lock(kind, where): fcntl.lockf(f, kind | fcntl.LOCK_NB, 1, where)
def run(n):
    global libc
    call("unshare", 0x400 | (0x200 if n == 2 else 0))
    os.close(w); os.dup2(os.open("/dev/zero", 0), 50 + n); g = os.open(d + "/own%d" % n, os.O_RDWR | os.O_CREAT); os.write(g, b"own"); os.lseek(g, 1, 0); os.dup2(g, w)
    e = select.epoll(); q = os.eventfd(n); e.register(q, select.EPOLLIN); mine = os.pidfd_open(child); os.set_inheritable(q, True); lock(fcntl.LOCK_EX, n)
    m = os.memfd_create("m"); os.write(m, b"memory"); os.unlink(d + "/own%d" % n); up.release(); go.wait()
    try:
        same(os.readlink("/proc/thread-self/fd/%d" % (50 + n)), "/dev/zero"); same(os.read(w, 9), b"wn"); same([x for x, _ in e.poll(0)], [q]); same(os.eventfd_read(q), n)
        same(os.get_inheritable(q), True); same(os.get_inheritable(mine), False); same(os.pread(m, 9, 0), b"memory"); signal.pidfd_send_signal(mine, 0); signal.pidfd_send_signal(pf, 0)
        for other in range(3):
            try: lock(fcntl.LOCK_EX, other); same(other, n)
            except BlockingIOError: assert other != n
        same(os.path.exists("/proc/thread-self/fd/%d" % (50 + 3 - n)), False)
        os.lseek(f, 1, os.SEEK_CUR); os.eventfd_write(shared, 10)
    except BaseException as error: out.append(error)
    tried.wait() # the locks go with the thread
up = threading.Semaphore(0); tried = threading.Barrier(2); l = [threading.Thread(target=run, args=(n,)) for n in (1, 2)]; lock(fcntl.LOCK_EX, 0)
for t in l: t.start()
for t in l: up.acquire()
had = sorted(map(int, os.listdir("/proc/self/fd")))[:-1]
ready(); same(sorted(map(int, os.listdir("/proc/self/fd")))[:-1], had); os.write(w, b"pipe"); same(os.read(r, 9), b"pipe"); go.set()
for t in l: t.join()
same(out, []); same(os.lseek(f, 0, os.SEEK_CUR), 4); same(os.eventfd_read(shared), 25)
os.kill(child, 9); os.wait(); print("ok")`},
	{name: "root directory and oom_score_adj", needs: unix.CAP_SYS_CHROOT + 1, script: `
open("/proc/self/oom_score_adj", "w").write("55")
proc = os.open("/proc", os.O_PATH); os.chroot(tempfile.mkdtemp()); ready()
same(os.read(os.open("self/oom_score_adj", os.O_RDONLY, dir_fd=proc), 9), b"55\n"); print("ok")`},
	{name: "pending signals, masks, actions, interval timers", script: `
got = []; signal.signal(signal.SIGUSR1, lambda n, f: got.append(n)); signal.signal(signal.SIGUSR2, signal.SIG_IGN)
rt = signal.SIGRTMIN + 3; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, rt, signal.SIGALRM])
for v in 5, 6:
    libc.sigqueue(os.getpid(), rt, ctypes.c_void_p(v))
os.kill(os.getpid(), signal.SIGUSR1); signal.setitimer(signal.ITIMER_REAL, 1, 500); signal.setitimer(signal.ITIMER_VIRTUAL, 900)
ready(); same(sorted(signal.sigpending() - {signal.SIGALRM}), sorted([signal.SIGUSR1, rt])); same(signal.getsignal(signal.SIGUSR2), signal.SIG_IGN)
for v in 5, 6:
    i = signal.sigwaitinfo([rt]); same((i.si_code, i.si_pid), (-1, os.getpid()))
same(signal.sigwait([signal.SIGALRM]), signal.SIGALRM); v, n = signal.getitimer(signal.ITIMER_REAL); assert 0 < v <= 500 and n == 500, (v, n)
assert 0 < signal.getitimer(signal.ITIMER_VIRTUAL)[0] <= 900.1 # the kernel counts in jiffies
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1]); same(got, [signal.SIGUSR1]); print("ok")`},
	{name: "limits", script: `
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (50, 60)); resource.setrlimit(resource.RLIMIT_CORE, (0, 1 << 20)); ready()
same((resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CORE)), ((50, 60), (0, 1 << 20))); print("ok")`},
	{name: "thousands of mappings and guards", script: flagsScript + `
n = 6000; m = libc.mmap(None, n * 4096, 3, 0x22, -1, 0)
for i in range(n): ctypes.memset(m + 4096 * i, i & 255, 8)
for i in range(0, n, 2): assert libc.mprotect(m + 4096 * i, 4096, 0) == 0
count = len(open("/proc/self/maps").readlines()); assert count > 6000; ready()
assert len(open("/proc/self/maps").readlines()) >= n, count
for i in range(1, n, 2): same(ctypes.string_at(m + 4096 * i, 1)[0], i & 255)
for i in range(0, n, 2): assert libc.mprotect(m + 4096 * i, 4096, 3) == 0; same(ctypes.string_at(m + 4096 * i, 1)[0], i & 255)
print("ok")`},
	{name: "threads", script: `
import threading
ts, out = [], []; up = threading.Barrier(21); go = threading.Event()
def run(i):
    d = threading.local(); d.x = i; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN + i]); before = threading.get_native_id(); up.wait(); go.wait()
    out.append((d.x, threading.get_native_id() == before, signal.SIGRTMIN + i in signal.pthread_sigmask(signal.SIG_BLOCK, [])))
for i in range(20): ts.append(threading.Thread(target=run, args=(i,))); ts[-1].start()
up.wait(); ready(); go.set(); [t.join(9) for t in ts]; same(sorted(out), [(i, True, True) for i in range(20)]); print("ok")`},
	{name: "memory flags", script: flagsScript + `
a = [area(-1, 0x22, 8) for i in range(14)] + [area(-1, 0x21, 8), area(-1, 0x21, 8), area(fd, 2, 8), area(fd, 1, 8), area(mem, 1, 8)]
for i, adv in enumerate((1, 2, 10, 16, 14, 15, 12, 18)): call("madvise", a[i], 8 * 4096, adv)
for m in a[14:]: call("madvise", m, 8 * 4096, 16); call("madvise", m, 8 * 4096, 10); call("madvise", m, 8 * 4096, 1); assert libc.mlock(m, 8 * 4096) == 0
assert libc.mlock(a[8], 8 * 4096) == 0; assert libc.mlock2(a[9], 8 * 4096, 1) == 0; libc.mprotect(a[10], 8 * 4096, 0)
libc.mprotect(a[14], 8 * 4096, 1)
was = [flags(m) for m in a]; assert " lo " in was[8] and " dc " in was[14] and " dd " in was[18], was
ready(); same([flags(m) for m in a], was); print("ok")`},
	{name: "shared memory with a name", script: flagsScript + `
m = area(-1, 0x21, 4); n = ctypes.create_string_buffer(b"shared")
if libc.prctl(0x53564d41, 0, ctypes.c_ulong(m), ctypes.c_ulong(16384), n) < 0: skip("the kernel names no anonymous memory")
was = line(m); ready(); same(line(m).split(), was.split()); print("ok")`},
	{name: "memory locked for the future", script: flagsScript + `
libc.mlockall(2); ready(); m = area(-1, 0x22, 4); assert " lo " in flags(m), flags(m); print("ok")`},
	{name: "stack that grows down", script: flagsScript + `
m = area(-1, 0x122, 16); assert " gd " in flags(m); ctypes.memset(m, 7, 65536)
ready(); assert " gd " in flags(m), flags(m); ctypes.memset(m - 4096 * 3, 5, 4096 * 3)
same(ctypes.string_at(m - 1, 2), b"\5\7"); print("ok")`},
	{name: "name of anonymous memory", script: flagsScript + `
m = area(-1, 0x22, 4); n = ctypes.create_string_buffer(b"my heap")
if libc.prctl(0x53564d41, 0, ctypes.c_ulong(m), ctypes.c_ulong(16384), n) < 0: skip("the kernel names no anonymous memory")
call("prctl", 0x53564d41, 0, ctypes.c_ulong(m), ctypes.c_ulong(16384), n)
was = line(m); assert b"my heap" in was, was; ready(); same(line(m), was); print("ok")`},
	{name: "interrupted nanosleep and poll and futex", script: `
import threading
out = {}
def slept(n, f):
    t = time.monotonic(); f(); out[n] = time.monotonic() - t
l = threading.Lock(); l.acquire(); r, w = os.pipe()
ts = [threading.Thread(target=slept, args=a) for a in (("sleep", lambda: time.sleep(3)), ("poll", lambda: select.poll().poll(3000)),
  ("lock", lambda: l.acquire(timeout=3)), ("select", lambda: select.select([r], [], [], 3)))]
[t.start() for t in ts]; time.sleep(0.5); ready(); [t.join() for t in ts]
same(sorted(out), ["lock", "poll", "select", "sleep"]); print("ok")`},
	{name: "calls that signals interrupt", script: `
if sys.maxsize < 2**32 or os.uname().machine != "x86_64": skip("the numbers of the calls are those of x86_64")
import threading
e = select.epoll(); r, w = os.pipe(); e.register(r, select.EPOLLIN); event = ctypes.create_string_buffer(12); rt = ctypes.create_string_buffer(struct.pack("Q", 1 << (signal.SIGUSR2 - 1))); out = {}
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
def run(name, *args):
    n = libc.syscall(*args); out[name] = n if n >= 0 else errno.errorcode[ctypes.get_errno()]
ts = [threading.Thread(target=run, args=a) for a in (("epoll_wait", 232, e.fileno(), event, 1, -1), ("epoll_pwait", 281, e.fileno(), event, 1, -1, None, 8),
  ("rt_sigtimedwait", 128, rt, None, None, 8), ("epoll_wait with a limit", 232, e.fileno(), event, 1, 100000))]
[t.start() for t in ts]; time.sleep(0.5); ready(); os.write(w, b"x"); os.kill(os.getpid(), signal.SIGUSR2); [t.join() for t in ts]
same(out, {"epoll_wait": 1, "epoll_pwait": 1, "rt_sigtimedwait": signal.SIGUSR2, "epoll_wait with a limit": "EINTR"}); print("ok")`},
	{name: "root directory", needs: unix.CAP_SYS_CHROOT + 1, script: `
os.chroot(tempfile.mkdtemp()); os.chdir("/"); ready(); same(os.listdir("/"), []); print("ok")`},
	{name: "POSIX timers", script: timerScript + `
a, b, c, d = create(1, 0, signal.SIGUSR1, 7), create(0, 1), create(7, 0, signal.SIGUSR2, 9), create(1, 0, signal.SIGUSR1, 11)
call("timer_delete", ctypes.c_void_p(b)); settime(a, 1.5, 0.5); settime(c, 1000)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]); ready()
i = signal.sigwaitinfo([signal.SIGUSR1]); same(i.si_code, -2)
same(gettime(d), (0, 0)); v, n = gettime(c); assert 0 < v < 1000 and n == 0, v
v, n = gettime(a); assert 0 < v <= 0.5 and n == 0.5, (v, n); print("ok")`},
	{name: "seccomp filter", script: `
assert libc.prctl(38, 1, 0, 0, 0) == 0
code = b"".join(struct.pack("HBBI", *i) for i in ((0x20, 0, 0, 0), (0x15, 0, 1, 39), (6, 0, 0, 0x50000 | 99), (6, 0, 0, 0x7fff0000)))
b = ctypes.create_string_buffer(code); p = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 4, ctypes.addressof(b)))
assert libc.prctl(22, 2, p, 0, 0) == 0
def check():
    same(libc.getpid(), -99)
check(); ready(); check(); print("ok")`},
}

const flagsScript = `
libc.mmap.restype = ctypes.c_void_p; libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.madvise.argtypes = libc.mlock.argtypes = [ctypes.c_void_p, ctypes.c_size_t]; libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.mlock2.argtypes = libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]; libc.pkey_mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int]
f = tempfile.NamedTemporaryFile(); f.write(bytes(32768)); f.flush(); fd = f.fileno(); mem = os.memfd_create("m"); os.ftruncate(mem, 32768)
def area(fd, flags, pages):
    "pages of memory with nothing beside it"
    m = libc.mmap(None, (pages + 128) * 4096, 0, 0x22, -1, 0); assert m and m != 2**64 - 1
    libc.munmap(ctypes.c_void_p(m), (pages + 128) * 4096); m += 64 * 4096
    r = libc.mmap(m, pages * 4096, 3, flags | 0x10, fd, 0); assert r == m, ctypes.get_errno()
    return m
def smaps(m):
    out = []
    for l in open("/proc/self/smaps"):
        if l[0] in "0123456789abcdef": cur = int(l.split("-")[0], 16)
        if cur == m: out.append(l)
    return out
def flags(m): return " " + [l for l in smaps(m) if l.startswith("VmFlags")][0][8:].strip() + " "
def pkey(m): return [l for l in smaps(m) if l.startswith("ProtectionKey")]
def line(m): return smaps(m)[0].encode()
`

const timerScript = `
rt = ctypes.CDLL(None, use_errno=True)
def create(clock, notify, sig=0, value=0):
    ev = ctypes.create_string_buffer(struct.pack("Qii", value, sig, notify), 64); i = ctypes.c_int()
    assert libc.syscall(222, clock, ev, ctypes.byref(i)) == 0, ctypes.get_errno(); return i.value
def settime(t, v, n=0):
    b = struct.pack("qqqq", int(n), int(n % 1 * 1e9), int(v), int(v % 1 * 1e9)); assert libc.syscall(223, t, 0, b, None) == 0, ctypes.get_errno()
def gettime(t):
    b = ctypes.create_string_buffer(32); assert libc.syscall(224, t, b) == 0; n, ns, v, vs = struct.unpack("qqqq", b.raw); return v + vs / 1e9, n + ns / 1e9
`

func TestState(t *testing.T) {
	for _, c := range stateCases {
		c := c
		t.Run(c.name, func(t *testing.T) {
			if c.needs != 0 {
				needs(t, "a capability", c.needs-1)
			}
			p := start(t, c.script)
			image := p.checkpoint(kernel.CheckpointOptions{Kill: true})
			_, _ = p.end()
			restart(t, image).finish()
		})
	}
}

// TestMemPolicy saves the memory policy of a task, which says something on
// machines with several nodes only.
func TestMemPolicy(t *testing.T) {
	kernel.AskMemPolicies()
	killAndRestart(t, `
if sys.maxsize < 2**32 or os.uname().machine != "x86_64": skip("the numbers of the calls are those of x86_64")
if libc.syscall(238, 2 | 1 << 15, ctypes.byref(ctypes.c_ulong(1)), 64) < 0: skip("the kernel has no memory policies")
def policy():
    m, n = ctypes.c_int(), ctypes.create_string_buffer(128); assert libc.syscall(239, ctypes.byref(m), n, 1024, None, 0) == 0; return m.value, n.raw[:8]
was = policy(); same(was, (2 | 1 << 15, b"\1" + bytes(7))); ready(); same(policy(), was); print("ok")`)
}

// TestAreaPolicies saves the memory policies of mappings, of a task that has one
// too.
func TestAreaPolicies(t *testing.T) {
	kernel.AskMemPolicies()
	killAndRestart(t, `
if sys.maxsize < 2**32 or os.uname().machine != "x86_64": skip("the numbers of the calls are those of x86_64")
libc.mmap.restype = ctypes.c_void_p; m = libc.mmap(None, 8 * 4096, 3, 0x22, -1, 0); s = libc.mmap(None, 4 * 4096, 3, 0x21, -1, 0); ctypes.memset(m, 7, 8 * 4096)
one = ctypes.byref(ctypes.c_ulong(1)); at = lambda a: ctypes.c_void_p(a); l = ctypes.c_ulong
if libc.syscall(237, at(m + 4096), l(2 * 4096), 2 | 1 << 15, one, l(64), 0) < 0: skip("the kernel has no memory policies")
same(libc.syscall(237, at(m + 5 * 4096), l(4096), 3, one, l(64), 0), 0); same(libc.syscall(237, at(s), l(4 * 4096), 1, one, l(64), 0), 0)
def policy(a):
    m, n = ctypes.c_int(), ctypes.create_string_buffer(128); assert libc.syscall(239, ctypes.byref(m), n, l(1024), at(a), 2) == 0; return m.value, n.raw[:8]
def policies(): return [policy(m + 4096 * i) for i in range(8)] + [policy(s)]
no, bits = (0, bytes(8)), b"\1" + bytes(7)
same(libc.syscall(238, 3, one, l(64)), 0)
was = policies(); same(was, [no] + [(2 | 1 << 15, bits)] * 2 + [no] * 2 + [(3, bits)] + [no] * 2 + [(1, bits)])
ready(); same(policies(), was); same(ctypes.string_at(m, 8 * 4096), b"\7" * 8 * 4096); print("ok")`)
}

// segmentCases use System V shared memory, which is gone by the time of the
// restart, or still there.
var segmentCases = []struct{ name, script string }{
	{"removed while attached", segmentScript + `
i = call("shmget", 0, 12288, 0o600 | 0o1000); m = libc.shmat(i, None, 0); call("shmctl", i, 0, None)
fill(m); r, w = os.pipe()
if os.fork() == 0:
    os.read(r, 1); same(ctypes.string_at(m, 3), b"new"); ctypes.memmove(m + 4, b"seen", 4); os._exit(0)
ready(); check(m); ctypes.memmove(m, b"new", 3); os.write(w, b"x"); os.wait(); same(ctypes.string_at(m, 8), b"new\1seen"); print("ok")`},
	{"gone", segmentScript + `
i = call("shmget", 0x6372 + os.getpid(), 12288, 0o640 | 0o1000); m = libc.shmat(i, None, 0); fill(m)
if sys.argv[1] == "gone":
    n = libc.shmat(i, None, 0o10000); libc.munmap(ctypes.c_void_p(n + 4096), 4096)
ready(); check(m)
same(call("shmget", 0x6372 + os.getpid(), 0, 0), i); k = libc.shmat(i, None, 0); check(k); ctypes.memset(k, 5, 1); same(ctypes.string_at(m, 1), b"\5")
same(libc.shmdt(ctypes.c_void_p(m)), 0); call("shmctl", i, 0, None); print("ok")`},
}

const segmentScript = `
libc.shmat.restype = ctypes.c_void_p; libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
def fill(m):
    for i in range(3): ctypes.memset(m + 4096 * i, i + 1, 4096)
def check(m):
    for i in range(3): same(ctypes.string_at(m + 4096 * i, 4096), bytes([i + 1]) * 4096)
`

func TestSegments(t *testing.T) {
	for _, c := range segmentCases {
		c := c
		t.Run(c.name, func(t *testing.T) {
			p := start(t, c.script, "gone")
			before := segments(t)
			image := p.checkpoint(kernel.CheckpointOptions{Kill: true})
			_, _ = p.end()
			for id := range before {
				// Of those that the program has left.
				if now := segments(t); now[id] == "0" {
					_, _, _ = unix.Syscall(unix.SYS_SHMCTL, uintptr(id), unix.IPC_RMID, 0)
				}
			}
			restart(t, image).finish()
		})
	}
	t.Run("still there", func(t *testing.T) {
		p := start(t, segmentCases[1].script, "there")
		image := p.checkpoint(kernel.CheckpointOptions{})
		_, err := tryRestart(t, image)
		require.ErrorContains(t, err, "it is in use (end those who use it, or share it with them (--force))")
		require.NoError(t, unix.Kill(p.pid, unix.SIGKILL))
		_, _ = p.end()
		restart(t, image).finish()
	})
}

// segments lists System V shared memory: how many mappings each has.
func segments(t *testing.T) map[int]string {
	b, err := os.ReadFile("/proc/sysvipc/shm")
	require.NoError(t, err)
	list := make(map[int]string)
	for _, line := range strings.Split(string(b), "\n")[1:] {
		if f := strings.Fields(line); len(f) > 6 {
			id, err := strconv.Atoi(f[1])
			require.NoError(t, err)
			list[id] = f[6]
		}
	}
	return list
}
