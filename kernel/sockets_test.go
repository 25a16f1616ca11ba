package kernel_test

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/kernel"
)

// socketCases are programs with sockets that can be there twice.
var socketCases = []struct{ name, script string }{
	{"socketpairs with queued data", `
pairs = {}
for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET:
    a, b = socket.socketpair(socket.AF_UNIX, kind)
    for m in b"one", b"two", b"three" * 2000: a.send(m)
    b.send(b"back")
    pairs[kind] = a, b
s, _ = socket.socketpair()
s.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 30000)
size = s.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
s.settimeout(2.5)
ready()
for kind, (a, b) in pairs.items():
    if kind == socket.SOCK_STREAM:
        same(b.recv(100000), b"onetwo" + b"three" * 2000)
    else:
        same([b.recv(100000) for i in range(3)], [b"one", b"two", b"three" * 2000])
    same(a.recv(10), b"back")
    a.send(b"again"); same(b.recv(10), b"again")
    try: b.recv(1, socket.MSG_DONTWAIT); assert False
    except BlockingIOError: pass
same(s.getsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED), 1)
same(s.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF), size)
print("ok")
`},
	{"shutdown and closed peers", `
a, b = socket.socketpair()
a.send(b"last words"); a.shutdown(socket.SHUT_WR)
c, d = socket.socketpair()
c.send(b"will"); c.close()
e, f = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
e.send(b"x"); e.send(b"yy"); e.close()
ready()
same(b.recv(100), b"last words"); same(b.recv(100), b"")
b.send(b"answer"); same(a.recv(100), b"answer")
try: a.send(b"x"); assert False
except BrokenPipeError: pass
same(d.recv(100), b"will"); same(d.recv(100), b"")
same([f.recv(100) for i in range(3)], [b"x", b"yy", b""])
print("ok")
`},
	{"passed descriptors", `
a, b = socket.socketpair()
r, w = os.pipe(); os.write(w, b"in pipe")
m = os.memfd_create("passed"); os.write(m, b"in memfd")
socket.send_fds(a, [b"with fds"], [r, m])
os.close(m)
a.send(b"after")
ready()
data, fds, _, _ = socket.recv_fds(b, 100, 5)
same(data, b"with fds"); same(len(fds), 2)
same(os.read(fds[0], 10), b"in pipe")
same(os.pread(fds[1], 10, 0), b"in memfd")
os.write(w, b"!"); same(os.read(fds[0], 10), b"!")
same(b.recv(100), b"after")
print("ok")
`},
	{"UDP", `
a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
a.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); a.bind(("127.0.0.1", 0))
b = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
c.connect(a.getsockname())
name = a.getsockname(), c.getsockname()
b.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
a.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 7)
ready()
same((a.getsockname(), c.getsockname(), c.getpeername()), (name[0], name[1], name[0]))
same(a.getsockopt(socket.IPPROTO_IP, socket.IP_TTL), 7)
same(b.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY), 1)
c.send(b"hello"); same(a.recvfrom(10), (b"hello", name[1]))
print("ok")
`},
	{"UDP datagrams that wait", `
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", 0))
t = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); t.bind(("127.0.0.1", 0)); t.sendto(b"one", s.getsockname()); t.sendto(b"", s.getsockname())
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("127.0.0.2", 0)); gone = u.getsockname(); u.sendto(b"two" * 9000, s.getsockname()); u.close()
v = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); v.bind(("::", 0)); w = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); w.sendto(b"six", ("::1", v.getsockname()[1]))
ready(); s.settimeout(5); v.settimeout(5)
same([s.recvfrom(30000) for i in range(3)], [(b"one", t.getsockname()), (b"", t.getsockname()), (b"two" * 9000, gone)])
same(v.recvfrom(10), (b"six", ("::1", w.getsockname()[1], 0, 0)))
t.sendto(b"more", s.getsockname()); same(s.recv(10), b"more"); print("ok")
`},
	{"netlink", `
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
s.bind((0, 0)); s.setsockopt(270, 1, 1)
ready()
s.send(struct.pack("=IHHIIBxHiII", 32, 18, 0x301, 1, 0, 0, 0, 0, 0, 0))
assert len(s.recv(65536)) > 32
mask = s.getsockopt(270, 9, 64)
same(mask[0] & 1 or mask[3] & 1, 1)
print("ok")
`},
}

func TestSockets(t *testing.T) {
	for _, c := range socketCases {
		c := c
		t.Run(c.name, func(t *testing.T) { roundTrip(t, c.script) })
	}
}

// namedCases are programs with sockets whose names nobody else can have.
var namedCases = []struct{ name, script string }{
	{"named UNIX sockets", `
d = tempfile.mkdtemp(); os.chdir(d)
def listen(name, kind=socket.SOCK_STREAM):
    s = socket.socket(socket.AF_UNIX, kind); s.bind(name); s.listen(5); return s
path = d + "/listen"
l = listen(path); os.chmod(path, 0o606)
abstract = listen("\0cr-test-%d" % os.getpid())
relative = listen("rel", socket.SOCK_SEQPACKET)
def connect(to, kind=socket.SOCK_STREAM, name=None):
    s = socket.socket(socket.AF_UNIX, kind)
    if name: s.bind(name)
    s.connect(to.getsockname()); return s
c1 = connect(l); s1 = l.accept()[0]
c1.send(b"to server"); s1.send(b"to client")
c2 = connect(abstract, name=d + "/client"); s2 = abstract.accept()[0]
c3 = connect(relative, socket.SOCK_SEQPACKET); s3 = relative.accept()[0]
waiting = connect(l)
left = listen(d + "/closed"); c4 = connect(left); s4 = left.accept()[0]; left.close(); os.unlink(d + "/closed")
g1 = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); g1.bind(d + "/g1")
g2 = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); g2.bind(d + "/g2")
g3 = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); g3.connect(d + "/g1")
g2.sendto(b"from g2", d + "/g1"); g3.send(b"from nobody")
g2.connect(d + "/g1")
ready()
same(s1.getsockname(), path); same(c1.getpeername(), path)
same(s1.recv(100), b"to server"); same(c1.recv(100), b"to client")
same(s2.getpeername(), d + "/client"); c2.send(b"x"); same(s2.recv(9), b"x")
same(s3.getsockname(), "rel"); s3.send(b"y"); same(c3.recv(9), b"y")
same(s4.getsockname(), d + "/closed"); s4.send(b"z"); same(c4.recv(9), b"z")
s = l.accept()[0]; waiting.send(b"hi"); same(s.recv(9), b"hi")
same(os.stat(path).st_mode & 0o777, 0o606)
c = connect(abstract); c.send(b"new"); same(abstract.accept()[0].recv(9), b"new")
c = connect(l); c.send(b"new"); same(l.accept()[0].recv(9), b"new")
same(g1.recvfrom(99), (b"from g2", d + "/g2")); same(g1.recvfrom(99)[0], b"from nobody")
g3.send(b"3"); g2.send(b"2"); same([g1.recv(9), g1.recv(9)], [b"3", b"2"])
assert not os.path.exists(d + "/closed")
print("ok")
`},
	{"TCP", `
l = socket.socket(); l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
l.bind(("127.0.0.1", 0)); l.listen(7)
l6 = socket.socket(socket.AF_INET6); l6.bind(("::1", 0)); l6.listen(5)
c = socket.create_connection(l.getsockname()); s = l.accept()[0]
c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
c.send(b"to server"); s.send(b"to client" * 1000); s.send(b"!"); c.shutdown(socket.SHUT_WR)
alone = socket.socket(socket.AF_INET6); alone.bind(("::1", 0)); alone.listen(1)
c6 = socket.create_connection(alone.getsockname()[:2]); s6 = alone.accept()[0]; alone.close()
names = [x.getsockname()[:2] for x in (l, l6, c, s, c6, s6)]
idle = socket.socket()
ready()
same([x.getsockname()[:2] for x in (l, l6, c, s, c6, s6)], names)
same(c.getpeername(), s.getsockname()); same(s.getpeername(), c.getsockname())
same(s.recv(100), b"to server"); same(s.recv(100), b"")
got = b""
while len(got) < 9001: got += c.recv(9001)
same(got, b"to client" * 1000 + b"!")
same(c.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 1)
c6.settimeout(3); s6.settimeout(3); c.settimeout(3); s.settimeout(3)
c6.send(b"six"); same(s6.recv(10), b"six")
n = socket.create_connection(l.getsockname()); n.send(b"new"); same(l.accept()[0].recv(9), b"new")
n = socket.create_connection(l6.getsockname()[:2]); n.send(b"new"); same(l6.accept()[0].recv(9), b"new")
idle.connect(l.getsockname())
print("ok")
`},
	{"TCP with a full queue", `
full = socket.socket(); full.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096); full.bind(("127.0.0.1", 0)); full.listen(1)
w = socket.create_connection(full.getsockname()); r = full.accept()[0]; full.close()
w.setblocking(False); sent = bytearray()
try:
    while True:
        chunk = b"%08d" % len(sent) * 512
        sent += chunk[:w.send(chunk)]
except BlockingIOError: pass
ready()
r.settimeout(5); buf = bytearray()
while len(buf) < len(sent): buf += r.recv(1 << 20)
assert buf == sent
w.setblocking(True); w.send(b"more"); same(r.recv(100), b"more")
print("ok")
`},
}

func TestNamedSockets(t *testing.T) {
	for _, c := range namedCases {
		c := c
		t.Run(c.name, func(t *testing.T) {
			if c.name == "TCP with a full queue" {
				needs(t, "CAP_NET_ADMIN", unix.CAP_NET_ADMIN)
			}
			killAndRestart(t, c.script)
		})
	}
}

// TestTCPOutside keeps a connection to a process that knows nothing of it.
func TestTCPOutside(t *testing.T) {
	needs(t, "CAP_NET_ADMIN", unix.CAP_NET_ADMIN)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, _ = c.Write([]byte("data\n"))
			accepted <- c
		}
	}()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	p := start(t, `
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.send(b"hello\n")
same(s.recv(5, socket.MSG_PEEK | socket.MSG_WAITALL), b"data\n")
ready()
same(s.recv(100), b"data\n")
s.send(b"again\n")
same(s.recv(100), b"more\n")
print("ok")
`, port)
	c := <-accepted
	defer c.Close()
	image := p.checkpoint(kernel.CheckpointOptions{Kill: true})
	_, _ = p.end()
	q := restart(t, image)
	go func() {
		b := make([]byte, len("hello\nagain\n"))
		if _, err := io.ReadFull(c, b); err == nil && string(b) == "hello\nagain\n" {
			_, _ = c.Write([]byte("more\n"))
		}
	}()
	q.finish()
}

// TestStandardSocket has a socket to the outside as standard input and output:
// whoever restarts the program puts another one there.
func TestStandardSocket(t *testing.T) {
	p := start(t, `
a, b = socket.socketpair()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        a.close(); b.recv(1)
    os._exit(0)
os.wait(); b.close()
os.dup2(a.fileno(), 0); a.close()
print("ready", flush=True)
line = os.read(0, 100)
same(line, b"go\n")
print("ok")
`)
	image := p.checkpoint(kernel.CheckpointOptions{Kill: true})
	_, _ = p.end()
	restart(t, image).finish()
}
