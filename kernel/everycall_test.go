package kernel_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/kernel"
)

// everyCallEnv makes TestEveryCallFails complete.
const everyCallEnv = "CR_TEST_CALLS"

// everyKind is a program that has something of as many kinds as can be had in
// one, in its first argument.
const everyKind = `
import resource, threading
d = sys.argv[1]; os.chdir(d); os.umask(0o77)
libc.mmap.restype = ctypes.c_void_p
e = select.epoll(); r, w = os.pipe(); os.write(w, b"x" * 5000); a, b = socket.socketpair(); a.send(b"y")
socket.send_fds(a, [b"fd"], [r])
m = os.memfd_create("m", os.MFD_ALLOW_SEALING); os.write(m, b"z" * 5000); fcntl.fcntl(m, 1033, 2 | 4)
mm = mmap.mmap(m, 5000)
l = socket.socket(socket.AF_UNIX); l.bind(d + "/listen"); l.listen(2); c = socket.socket(socket.AF_UNIX); c.connect(d + "/listen")
g = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); g.bind("dgram"); h = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); h.connect("dgram"); h.send(b"one")
ab = socket.socket(socket.AF_UNIX); ab.bind("\0cr-test-%d" % os.getpid()); ab.listen(1)
t = open(d + "/deleted", "w+b"); t.write(b"deleted"); t.flush(); os.unlink(d + "/deleted")
f = open(d + "/file", "w+b"); f.write(b"contents" * 1000); f.flush(); f.seek(9)
fcntl.flock(f, fcntl.LOCK_EX); fcntl.lockf(f, fcntl.LOCK_EX, 10, 5)
fm = mmap.mmap(f.fileno(), 8000); fp = mmap.mmap(f.fileno(), 8000, mmap.MAP_PRIVATE); fp[0:4] = b"mine"
ap = open(d + "/log", "a"); dirfd = os.open(d, os.O_RDONLY | os.O_DIRECTORY); pathfd = os.open(d + "/file", os.O_PATH)
os.mkfifo(d + "/fifo"); fifo = os.open(d + "/fifo", os.O_RDWR); os.write(fifo, b"in fifo")
master, slave = os.openpty()
ev = os.eventfd(3); sf = call("signalfd", -1, ctypes.byref(ctypes.c_uint64(1 << 9)), 0)
tf = call("timerfd_create", 1, 0); call("timerfd_settime", tf, 0, struct.pack("qqqq", 5, 0, 100000, 0), None)
i = call("inotify_init1", 0); call("inotify_add_watch", i, d.encode(), 0x200)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("127.0.0.1", 0)); us = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); us.connect(u.getsockname())
tcp = socket.socket(); tcp.bind(("127.0.0.1", 0)); tcp.listen(3)
nl = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
for x in r, a, slave, ev, tf, u, l: e.register(x, select.EPOLLIN)
z = os.open("/dev/zero", os.O_RDONLY); os.dup2(z, 300)
sh = mmap.mmap(-1, 16384); sh[0:5] = b"share"
seg = call("shmget", 0, 8192, 0o1600); libc.shmat.restype = ctypes.c_void_p; at = libc.shmat(seg, None, 0); ctypes.memset(at, 7, 8192); call("shmctl", seg, 0, None)
key = int(sys.argv[2]); q = call("msgget", key, 0o1600); call("msgsnd", q, struct.pack("l", 3) + b"waits", ctypes.c_size_t(5), 0); sem = call("semget", key, 2, 0o1640)
pr = libc.mmap(None, 8 * 4096, 3, 0x22, -1, 0); ctypes.memset(pr, 5, 4 * 4096); libc.mprotect.argtypes = libc.mlock.argtypes = libc.madvise.argtypes = None
for name, off, v in (("madvise", 4096, 10), ("madvise", 8192, 16), ("madvise", 4096 * 3, 18)): call(name, ctypes.c_void_p(pr + off), 4096, v)
libc.syscall(237, ctypes.c_void_p(pr + 4096 * 7), ctypes.c_ulong(4096), 1, ctypes.byref(ctypes.c_ulong(1)), ctypes.c_ulong(64), 0)
call("mlock", ctypes.c_void_p(pr + 4096 * 5), 4096); call("mprotect", ctypes.c_void_p(pr + 4096 * 6), 4096, 0)
libc.prctl(0x53564d41, 0, ctypes.c_ulong(pr), ctypes.c_ulong(4096), b"named")
signal.signal(signal.SIGUSR1, lambda n, f: None); signal.signal(signal.SIGUSR2, signal.SIG_IGN)
rt = signal.SIGRTMIN + 3; signal.pthread_sigmask(signal.SIG_BLOCK, [rt, signal.SIGHUP, 10])
for v in 5, 6: libc.sigqueue(os.getpid(), rt, ctypes.c_void_p(v))
signal.setitimer(signal.ITIMER_REAL, 100000, 500)
ti = ctypes.c_int(); call("timer_create", 1, ctypes.byref((ctypes.c_uint64 * 8)(0, 42)), ctypes.byref(ti)); call("timer_settime", ti, 0, struct.pack("qqqq", 1, 0, 100000, 0), None)
resource.setrlimit(resource.RLIMIT_CORE, (0, 1 << 19)); resource.setrlimit(resource.RLIMIT_NOFILE, (500, 1500)); os.nice(4)
os.sched_setaffinity(0, {0}); libc.prctl(29, 70000); libc.prctl(33, 1, 1, 0, 0)
open("/proc/self/oom_score_adj", "w").write("-7"); open("/proc/self/coredump_filter", "w").write("0x11")
def wait(n):
    if n == 1: call("unshare", 0x600); os.chdir("/"); os.umask(0o7); os.dup2(z, 301); os.close(300)
    libc.prctl(15, b"worker%d" % n); signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN + 5 + n]); libc.sleep(100000)
dead = os.fork()
if dead == 0: os._exit(7)
child = os.fork()
if child == 0:
    os.setsid(); os.chdir("/"); k = threading.Thread(target=wait, args=(9,), daemon=True); k.start()
    if os.fork() == 0: call("semop", sem, struct.pack("Hhh", 1, 4, 0), 1); signal.pause()
    libc.sleep(100000)
pf = os.pidfd_open(child)
for n in range(3): threading.Thread(target=wait, args=(n,), daemon=True).start()
time.sleep(0.3)
print("ready", flush=True)
libc.sleep(100000)
`

// errnoOf is an errno that the kernel gives for a call; 0 for calls that cannot
// fail.
func errnoOf(call string) unix.Errno {
	switch call {
	case "exit", "exit_group", "getpid", "gettid", "umask", "personality", "setfsuid", "setfsgid", "set_tid_address":
		return 0
	case "mmap", "mremap", "mprotect", "munmap", "madvise", "brk", "mlock2", "shmat", "execveat":
		return unix.ENOMEM
	case "openat", "dup3", "pipe2", "socket", "socketpair", "eventfd2", "signalfd4", "timerfd_create", "epoll_create1", "inotify_init1", "memfd_create", "pidfd_open", "pidfd_getfd", "fcntl":
		return unix.EMFILE
	case "write", "ftruncate", "shmget", "msgget", "semget", "epoll_ctl", "inotify_add_watch":
		return unix.ENOSPC
	case "clone3", "timer_create", "msgsnd", "setresuid", "setpgid", "rt_sigqueueinfo", "rt_tgsigqueueinfo":
		return unix.EAGAIN
	case "fchmod", "fchmodat", "fchown", "prctl", "prlimit64", "chroot", "setgroups", "setresgid", "capset", "seccomp", "renameat2", "sched_setattr", "ioprio_set", "setsid":
		return unix.EPERM
	case "chdir", "fchdir", "unlinkat":
		return unix.EACCES
	case "bind", "connect", "listen", "sendmsg", "setsockopt", "getsockopt", "sendto", "recvmsg", "accept4":
		return unix.ENOBUFS
	}
	return unix.EIO
}

// outside is what a restart of a process could leave outside of it, and in this
// program.
func outside(dir string, pid int) picture {
	p := picture{}
	b, _ := os.ReadFile("/proc/sysvipc/shm")
	for _, line := range strings.Split(string(b), "\n") {
		const creator = 4
		if f := strings.Fields(line); len(f) > creator && f[creator] == fmt.Sprint(pid) {
			p["segments of shared memory"] += f[0] + " " + f[1] + "\n"
		}
	}
	p["message queues"], p["semaphores"] = fmt.Sprint(sysvNumbers("msg", sysvKey())), fmt.Sprint(sysvNumbers("sem", sysvKey()))
	_ = filepath.Walk(dir, func(path string, i os.FileInfo, err error) error {
		if err == nil {
			p["file "+path] = fmt.Sprint(i.Mode(), i.Size(), " inode ", i.Sys().(*syscall.Stat_t).Ino)
		}
		return nil
	})
	for _, fd := range numbers("/proc/self/fd") {
		link, err := os.Readlink(fmt.Sprint("/proc/self/fd/", fd))
		if err != nil {
			continue // the garbage collector has closed it meanwhile
		}
		p[fmt.Sprint("descriptor ", fd, ofThisProgram)] = link
	}
	return p
}

// tally counts what came of the failures of a call.
type tally struct{ failed, undone, done, killed int }

// failing counts calls, and makes those from first to last fail.
type failing struct {
	n, first, last int
	call           string // the first that failed
	errno          unix.Errno
}

func (f *failing) fail(call string) unix.Errno {
	errno := errnoOf(call)
	if errno == 0 {
		return 0
	}
	f.n++
	if f.n < f.first || f.n > f.last {
		return 0
	}
	if f.call == "" {
		f.call, f.errno = call, errno
	}
	return errno
}

// failer restarts an image in live callers, with calls that fail.
type failer struct {
	t         *testing.T
	dir, path string
	image     []byte
	w         *waiter
	was       picture
	table     map[string]*tally
	stale     bool // there are files that sockets have left
}

// newFailer makes a failer for the image of a program, which gets a directory as
// its argument. The files of sockets that it leaves there stay if stale is set.
func newFailer(t *testing.T, script string, stale bool) *failer {
	t.Helper()
	needs(t, "CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN)
	adopting(t)
	kernel.AskMemPolicies()
	dir := t.TempDir()
	t.Cleanup(func() { removeSysV(sysvKey()) })
	f := &failer{t: t, dir: dir, image: savedOnce(t, script, dir, strconv.Itoa(sysvKey())), path: buildWaiter(t), table: map[string]*tally{}, stale: stale}
	f.unbind()
	return f
}

// unbind removes what is left behind by whoever is killed: the files of sockets
// with a name in the file system, which are made where they shall be left, and
// System V message queues and semaphores.
func (f *failer) unbind() {
	for _, name := range []string{"listen", "dgram"} {
		path := filepath.Join(f.dir, name)
		_ = os.Remove(path)
		if f.stale {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
			require.NoError(f.t, err)
			require.NoError(f.t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
			require.NoError(f.t, unix.Close(fd))
		}
	}
	removeSysV(sysvKey())
}

// end ends the caller, and returns what processes are left of it.
func (f *failer) end() []string {
	f.w.end()
	f.w = nil
	return reap(f.t)
}

// outside is what is different outside of the caller. Where it has been killed,
// what sockets had left there before may be gone.
func (f *failer) outside(pid int, killed bool) (list []string) {
	now := outside(f.dir, pid)
	for _, name := range []string{"listen", "dgram"} {
		key := "file " + filepath.Join(f.dir, name)
		if _, there := now[key]; f.stale && killed && !there {
			now[key] = f.was[key]
		}
	}
	for _, d := range f.was.differs(now) {
		list = append(list, "outside of it: "+d)
	}
	return list
}

// outcome is what came of a restart.
type outcome int

const (
	undone outcome = iota
	killed
	succeeded
)

// try restarts with calls that fail, and looks at what came of it.
func (f *failer) try(calls *failing) outcome {
	f.t.Helper()
	if f.w == nil {
		f.w = startWaiter(f.t, f.path, nil)
		f.was = outside(f.dir, f.w.pid)
	}
	pid, count := f.w.pid, f.w.word(countAt)
	kernel.FailCalls(calls.fail)
	answered, err := kernel.RestartInto(pid, bytes.NewReader(f.image), kernel.RestartOptions{})
	kernel.FailCalls(nil)
	row := new(tally)
	if calls.call != "" {
		if f.table[calls.call] == nil {
			f.table[calls.call] = row
		}
		row = f.table[calls.call]
		row.failed++
	}
	var wrong []string
	var result outcome
	switch {
	case err == nil:
		result = succeeded
		row.done++
		f.end()
		f.unbind()
	case errors.Is(err, kernel.ErrKilled):
		result = killed
		row.killed++
		if !answered {
			wrong = append(wrong, "it is killed, and to be answered")
		}
		if ws, e := awaitEnd(pid); e != nil || ws.Signal() != unix.SIGKILL {
			wrong = append(wrong, fmt.Sprintf("it is not killed: %v, %v", ws, e))
		}
		if left := f.end(); len(left) > 0 {
			wrong = append(wrong, fmt.Sprint("processes are left: ", left))
		}
		if calls.last > calls.first {
			f.unbind() // it could not do so itself
		}
		wrong = append(wrong, f.outside(pid, true)...)
		if f.stale {
			f.unbind()
		}
	default:
		result = undone
		row.undone++
		if !answered || !errors.Is(err, calls.errno) {
			wrong = append(wrong, fmt.Sprintf("it is answered: %v", answered))
		}
		wrong = append(wrong, f.w.unharmed(count, answered, err)...)
		wrong = append(wrong, f.outside(pid, false)...)
		if len(wrong) > 0 {
			f.end()
		}
	}
	for _, s := range wrong {
		f.t.Errorf("call %d, %s: %v: %s\nafter: %v", calls.first, calls.call, calls.errno, s, err)
	}
	return result
}

// awaitEnd waits until a child has ended.
func awaitEnd(pid int) (ws unix.WaitStatus, err error) {
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		got, err := unix.Wait4(pid, &ws, unix.WNOHANG, nil)
		if err != nil || got == pid {
			return ws, err
		}
		if time.Now().After(end) {
			return ws, errors.New("it goes on")
		}
	}
}

// calls counts the calls of a restart that can fail.
func (f *failer) calls() int {
	f.t.Helper()
	none := &failing{first: 1 << 30}
	require.Equal(f.t, succeeded, f.try(none), "a restart without a failure")
	return none.n
}

// each has a try at each of n calls, or at as many as there is time for.
func (f *failer) each(n int, most time.Duration, try func(at int)) (tried int) {
	f.t.Helper()
	full := os.Getenv(everyCallEnv) != ""
	stride := 1
	if !full {
		for stride = 61; n%stride == 0; stride += 2 {
		}
	}
	end := time.Now().Add(most)
	for i := 0; i < n && (full || time.Now().Before(end) && !f.t.Failed()); i++ {
		try(i*stride%n + 1)
		tried++
	}
	return tried
}

// report is the table of what came of the failures.
func (f *failer) report() (text string, sum tally) {
	names := make([]string, 0, len(f.table))
	for n := range f.table {
		names = append(names, n)
	}
	sort.Strings(names)
	text = "\n| system call | made to fail | undone | done without | killed |\n|---|---|---|---|---|\n"
	line := func(n string, r *tally) {
		text += fmt.Sprintf("| %s | %d | %d | %d | %d |\n", n, r.failed, r.undone, r.done, r.killed)
	}
	for _, n := range names {
		r := f.table[n]
		line(n, r)
		sum.failed, sum.undone, sum.done, sum.killed = sum.failed+r.failed, sum.undone+r.undone, sum.done+r.done, sum.killed+r.killed
	}
	line("all", &sum)
	return text, sum
}

// TestEveryCallFails restarts an image of everyKind in a live caller again and
// again. Each time one more of the system calls that the caller is made to make
// fails: the caller must be as it was, with an errno, or, after the point of no
// return, dead with an error that says so.
func TestEveryCallFails(t *testing.T) {
	f := newFailer(t, everyKind, false)
	lastUndone, firstKilled := f.everyCall(12 * time.Second)
	require.Less(t, lastUndone, firstKilled, "the point of no return")
}

// everyCall has each call fail, or as many as there is time for. It returns the
// last of those whose failure was undone, and the first that killed the caller.
func (f *failer) everyCall(most time.Duration) (lastUndone, firstKilled int) {
	f.t.Helper()
	n := f.calls()
	firstKilled = n + 1
	tried := f.each(n, most, func(at int) {
		switch result := f.try(&failing{first: at, last: at}); {
		case result == undone && at > lastUndone:
			lastUndone = at
		case result == killed && at < firstKilled:
			firstKilled = at
		}
	})
	f.t.Logf("failed %d of %d calls (%s=1: all); the last that was undone was call %d, the first that killed it %d",
		tried, n, everyCallEnv, lastUndone, firstKilled)
	text, sum := f.report()
	f.t.Log(text)
	require.NotZero(f.t, sum.undone)
	require.NotZero(f.t, sum.killed)
	return lastUndone, firstKilled
}

// TestUndoFails has all calls fail from one on, so that what was staged cannot
// be undone: the caller is as it was, or dead with an error that says so.
func TestUndoFails(t *testing.T) {
	f := newFailer(t, everyKind, false)
	n := f.calls()
	tried := f.each(n, 6*time.Second, func(at int) {
		calls := &failing{first: at, last: 1 << 30}
		// One restart may make some calls fewer than another.
		result := f.try(calls)
		require.False(t, result == succeeded && calls.call != "", "all calls from %d on failed", at)
	})
	_, sum := f.report()
	t.Logf("all calls failed from each of %d of %d calls on: undone %d, killed %d", tried, n, sum.undone, sum.killed)
	require.NotZero(t, sum.killed)
}

// TestStubFails is TestEveryCallFails for a caller of another word size than the
// image: it has to execute a stub, from which there is no way back. Before it does
// it stages files and undoes that again, which must not fail.
func TestStubFails(t *testing.T) {
	kernel.AlwaysStub(true)
	defer kernel.AlwaysStub(false)
	newFailer(t, everyKind, false).everyCall(6 * time.Second)
}

// adopting has this program be told of the end of all that come of it, and end
// them with the test.
func adopting(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	require.NoError(t, unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
	t.Cleanup(func() {
		reap(t)
		_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
		runtime.UnlockOSThread()
	})
}

// savedOnce makes an image of a program that is no more. What its tests were
// given to write errors to is no part of it.
func savedOnce(t *testing.T, script string, args ...string) []byte {
	t.Helper()
	p := start(t, "os.dup2(1, 2)\n"+script, args...)
	image := p.checkpoint(kernel.CheckpointOptions{Kill: true})
	_, _ = p.end()
	return image
}

// unharmed lists what is not as it was before a call of the program failed, or
// could not begin.
func (w *waiter) unharmed(count uint64, answered bool, err error) []string {
	w.t.Helper()
	var list []string
	if !answered {
		w.await(count)
	} else {
		w.await(count + 1)
		if got := unix.Errno(-int64(w.word(resultAt))); got != kernel.Errno(err) {
			list = append(list, fmt.Sprintf("the call has returned %v for %v", got, err))
		}
	}
	w.wakes()
	return append(list, w.before.differs(w.look())...)
}

// refuses restarts an image in the program, which must fail and leave it as it
// was.
func (w *waiter) refuses(image []byte, o kernel.RestartOptions) error {
	w.t.Helper()
	was, count := outside(w.dir, w.pid), w.word(countAt)
	answered, err := kernel.RestartInto(w.pid, bytes.NewReader(image), o)
	require.Error(w.t, err)
	require.NotErrorIs(w.t, err, kernel.ErrKilled)
	require.Empty(w.t, w.unharmed(count, answered, err), "after: %v", err)
	require.Empty(w.t, was.differs(outside(w.dir, w.pid)), "after: %v", err)
	return err
}

// reap waits for the children of this program that have ended, and returns
// those that have not, which it ends.
func reap(t *testing.T) (left []string) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		for {
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG|unix.WALL, nil); pid <= 0 || err != nil {
				break
			}
		}
		list := descendants(os.Getpid())[1:]
		if len(list) == 0 {
			return left
		}
		if time.Now().After(end) {
			for _, pid := range list {
				b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
				left = append(left, string(b))
				_ = unix.Kill(pid, unix.SIGKILL)
			}
			end = time.Now().Add(5 * time.Second)
		}
	}
}
