package kernel_test

import "testing"

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
}

// TestFamily takes a program with its children through a checkpoint.
func TestFamily(t *testing.T) {
	for _, c := range familyCases {
		t.Run(c.name, func(t *testing.T) { roundTrip(t, "libc.prctl(36, 1, 0, 0, 0)\n"+c.script) })
	}
}
