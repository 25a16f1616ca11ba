package kernel_test

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/kernel"
)

// familyCases are programs with children.
var familyCases = []struct{ name, script string }{
	{"a stopped child", `
p = os.fork()
if p == 0:
    os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(7)
same(os.waitpid(p, os.WUNTRACED)[0], p)
ready()
time.sleep(0.2)
while True:
    pid, status = os.waitpid(p, os.WNOHANG | os.WUNTRACED)
    if pid == 0: break
    assert os.WIFSTOPPED(status), status # of a restart
os.kill(p, signal.SIGCONT)
same(os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]), 7)
print("ok")
`},
	{"children that have ended", `
def gone(f):
    p = os.fork()
    if p == 0: f()
    os.waitid(os.P_PID, p, os.WEXITED | os.WNOWAIT)
    return p
a = gone(lambda: os._exit(5))
b = gone(lambda: os.kill(os.getpid(), signal.SIGKILL))
c = gone(lambda: os.kill(os.getpid(), signal.SIGTERM))
ready()
same([os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]) for p in (c, a, b)], [-15, 5, -9])
print("ok")
`},
	{"sessions, groups and an orphan", `
r, w = os.pipe()
down, up = os.pipe()
leader = os.fork()
if leader == 0:
    os.close(up)
    os.setsid()
    first = os.fork()
    if first == 0:
        if os.fork() == 0:
            os.write(w, b"x")
            os.read(down, 1)
            os.write(w, struct.pack("iii", os.getpgid(0), os.getsid(0), os.getpid()))
            os._exit(0)
        os._exit(0)
    os.waitpid(first, 0)
    os.write(w, b"x")
    os.read(down, 1)
    os.write(w, struct.pack("iii", os.getpgid(0), os.getsid(0), os.getpid()))
    os._exit(0)
os.close(down)
while len(os.read(r, 1)) + len(os.read(r, 1)) != 2: pass
ready()
os.close(up)
got = b""
while len(got) < 24: got += os.read(r, 24)
a, b = sorted([struct.unpack("iii", got[:12]), struct.unpack("iii", got[12:])], key=lambda x: x[2])
same(a, (leader, leader, leader))
same(b[:2], (leader, leader))
assert b[2] > leader
same(os.waitpid(leader, 0), (leader, 0))
print("ok")
`},
	{"groups and sessions whose leaders have ended", endedScript + `
a = born(lambda: (os.setpgid(0, 0), member(), member()))
b = born(lambda: (os.setsid(), member(), member(lambda: os.setpgid(0, 0)), os.waitpid(member(lambda: leader(lambda: os.setpgid(0, 0))), 0)))
was = [tell() for i in range(5)]
same(sorted(m[1] == a for m in was), [False] * 3 + [True] * 2)
same(sorted(m[2] == b for m in was), [False] * 2 + [True] * 3)
while signal.sigtimedwait([signal.SIGCHLD], 0.1): pass
ready()
assert signal.SIGCHLD not in signal.sigpending()
outer = [(p, g, s if s == b else os.getsid(0)) for p, g, s in was]
same(again(5), sorted(outer))
same(ended(5), sorted(m[0] for m in was))
print("ok")
`},
	{"a group of children whose leader has ended", endedScript + `
lead = os.fork()
if lead == 0: signal.pause()
os.setpgid(lead, lead)
for i in range(2): member(lambda: os.setpgid(0, lead))
was = [tell() for i in range(2)]
same([m[1] for m in was], [lead] * 2)
os.kill(lead, 9); os.waitpid(lead, 0)
ready()
assert os.getpgid(0) != lead
os.killpg(lead, signal.SIGUSR1)
same(sorted(tell()[:2] for m in was), sorted(m[:2] for m in was)); ended(2)
print("ok")
`},
	{"memory shared without CLONE_THREAD", cloneScript + `
p = clone(0x100)
ready()
same((kcmp(p, 1), kcmp(p, 2), kcmp(p, 3), kcmp(p, 4)), (True, False, False, False))
wake(p)
print("ok")
`},
	{"signal handlers shared without CLONE_THREAD", cloneScript + `
p, q = clone(0x900), clone(0xf00)
ready()
same((kcmp(p, 1), kcmp(p, 2), kcmp(p, 3), kcmp(p, 4)), (True, False, False, True))
same((kcmp(q, 1), kcmp(q, 2), kcmp(q, 3), kcmp(q, 4)), (True, True, True, True))
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
for c in p, q: os.kill(c, signal.SIGUSR1); wake(c)
print("ok")
`},
	{"a child of the session that its parent has left", endedScript + `
p = os.fork()
if p == 0:
    member(); member()
    os.setsid(); member(); say(0)
    while True: time.sleep(0.02)
was = [tell() for i in range(4)]
same(sorted(m[2] == p for m in was), [False] * 2 + [True] * 2)
ready()
for pid, group, session in again(4, [m for m in was if m[0] != p]):
    same(session, p if (pid, p, p) in was else os.getsid(0))
os.kill(p, 9)
print("ok")
`},
}

// cloneScript is for programs with children that share something with them: they
// wait for a semaphore in shared memory, whose futex is known by its address.
const cloneScript = `
if os.uname().machine != "x86_64" or sys.maxsize < 2**32: skip("the numbers of the calls are those of x86_64")
libc.clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
sems, stacks = {}, []
def clone(flags):
    sem, stack = ctypes.create_string_buffer(32), mmap.mmap(-1, 1 << 16)
    call("sem_init", sem, 0, 0); stacks.append(stack)
    top = ctypes.addressof(ctypes.c_char.from_buffer(stack)) + (1 << 16) - 64
    p = libc.clone(ctypes.cast(libc.sem_wait, ctypes.c_void_p), top, flags | 17, ctypes.addressof(sem)); assert p > 0
    sems[p] = sem
    while "futex" not in open("/proc/%d/wchan" % p).read() and not open("/proc/%d/syscall" % p).read().startswith("202 "): time.sleep(0.01)
    return p
def kcmp(p, what): return libc.syscall(312, p, os.getpid(), what, 0, 0) == 0
def wake(p):
    same(os.waitpid(p, os.WNOHANG), (0, 0)); call("sem_post", sems[p]); same(os.waitpid(p, 0), (p, 0))
`

// endedScript is for programs that tell of each other's groups and sessions.
const endedScript = `
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
r, w = os.pipe()
def say(*a): os.write(w, struct.pack("iii", os.getpid(), os.getpgid(0), os.getsid(0)))
def tell():
    got = b""
    while len(got) < 12: got += os.read(r, 12 - len(got))
    return struct.unpack("iii", got)
def member(f=lambda: None):
    p = os.fork()
    if p == 0:
        f(); signal.signal(signal.SIGUSR1, lambda *a: (say(), os._exit(0))); say()
        while True: time.sleep(0.02)
    return p
def leader(f):
    f()
    if os.fork(): os._exit(0)
def born(f):
    p = os.fork()
    if p == 0: f(); os._exit(0)
    os.waitpid(p, 0); signal.sigtimedwait([signal.SIGCHLD], 0)
    return p
def again(n, was=None):
    for m in was or globals()["was"]: os.kill(m[0], signal.SIGUSR1)
    return sorted(tell() for i in range(len(was) if was else n))
def ended(n):
    return sorted(os.waitpid(-1, 0)[0] for i in range(n))
`

// inherit makes orphans of programs children of this one for a test, which waits
// for them so that their pids are free.
func inherit(t *testing.T) {
	require.NoError(t, unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
	t.Cleanup(func() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) })
}

// TestIntoShared restarts a program with children that share its memory in a
// caller, which has memory and a thread of its own.
func TestIntoShared(t *testing.T) {
	needs(t, "CAP_CHECKPOINT_RESTORE", unix.CAP_CHECKPOINT_RESTORE)
	inherit(t)
	p := start(t, cloneScript+`
p, q = clone(0x900), clone(0x100)
ready()
same((kcmp(p, 1), kcmp(p, 4), kcmp(q, 1), kcmp(q, 4)), (True, True, True, False))
wake(q); wake(p); print("ok")
`)
	group := descendants(p.pid)[1:]
	image := p.checkpoint(kernel.CheckpointOptions{Kill: true})
	_, _ = p.end()
	for _, pid := range group {
		// The checkpoint, their tracer, may have done so.
		if _, err := unix.Wait4(pid, nil, unix.WALL, nil); err != nil {
			require.ErrorIs(t, err, unix.ECHILD)
		}
	}
	q := start(t, `
import threading
threading.Thread(target=time.sleep, args=(99,), daemon=True).start()
print("ready", flush=True)
libc.pause()
`)
	require.Eventually(t, func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", q.pid))
		return err == nil && strings.HasPrefix(string(b), fmt.Sprint(unix.SYS_PAUSE, " "))
	}, 30*time.Second, time.Millisecond, "it is not in its call")
	_, err := kernel.RestartInto(q.pid, bytes.NewReader(image), kernel.RestartOptions{KeepPIDs: true})
	require.NoError(t, err)
	q.finish()
}

// TestDaemon takes a program whose group and session leader, its parent, has
// ended (daemon(3)) through a checkpoint.
func TestDaemon(t *testing.T) {
	inherit(t)
	p := start(t, `
os.setsid()
if os.fork(): os._exit(0)
was = os.getpgid(0), os.getsid(0)
while os.getppid() == was[0]: time.sleep(0.01)
child = os.fork()
if child == 0:
    signal.pause()
print("ready\n%d" % os.getpid(), flush=True)
sys.stdin.readline()
same([(os.getpgid(p), os.getsid(p)) for p in (0, child)], [was] * 2)
same(os.waitpid(-1, os.WNOHANG), (0, 0))
os.kill(child, 9); print("ok")
`)
	line, err := p.out.ReadString('\n')
	require.NoError(t, err)
	group := p.pid
	p.pid, err = strconv.Atoi(strings.TrimSpace(line))
	require.NoError(t, err)
	image := p.checkpoint(kernel.CheckpointOptions{Kill: true})
	_, _ = p.end()
	for err == nil {
		_, err = unix.Wait4(-group, nil, 0, nil)
	}
	require.ErrorIs(t, err, unix.ECHILD)
	restart(t, image).finish()
	restart(t, image, func(o *kernel.LaunchOptions) { o.PIDs = kernel.SamePIDs }).finish()
}

// TestEndedLeadersFresh gives processes whose leaders have ended other pids:
// they are together still, and apart from others.
func TestEndedLeadersFresh(t *testing.T) {
	p := start(t, `libc.prctl(36, 1, 0, 0, 0)`+endedScript+`
born(lambda: (os.setpgid(0, 0), member(), member()))
born(lambda: (os.setsid(), member(), member()))
for i in range(4): tell()
ready()
children = [int(p) for p in open("/proc/self/task/%d/children" % os.getpid()).read().split()]
ids = [(os.getpgid(p), os.getsid(p)) for p in children]
for p in children: os.kill(p, 9); os.waitpid(p, 0)
a, b, outer = ids[0], ids[2], os.getsid(0)
same(ids, [a, a, b, b]); same(a[1], outer); same(b[0], b[1])
assert len(set([a[0], b[0], os.getpgid(0)])) == 3, ids
print("ok")
`)
	image := p.checkpoint(kernel.CheckpointOptions{Kill: true})
	_, _ = p.end()
	restart(t, image, func(o *kernel.LaunchOptions) { o.PIDs = kernel.FreshPIDs }).finish()
}

// TestFamily takes a program with its children through a checkpoint.
func TestFamily(t *testing.T) {
	for _, c := range familyCases {
		t.Run(c.name, func(t *testing.T) { roundTrip(t, "libc.prctl(36, 1, 0, 0, 0)\n"+c.script) })
	}
}
