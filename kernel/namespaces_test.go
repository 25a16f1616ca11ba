package kernel_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/image"
	"cr/image/imagetest"
	"cr/kernel"
)

// unshared is the command that executes a program in namespaces of its own, by
// options of unshare(1).
func unshared(t *testing.T, options ...string) []string {
	t.Helper()
	by := append([]string{"unshare"}, options...)
	if os.Geteuid() != 0 && !strings.Contains(strings.Join(options, " "), "--user") {
		by = append(by, "--user", "--map-root-user")
	}
	if out, err := exec.Command(by[0], append(by[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("%q: %v: %s", by, err, out)
	}
	return by
}

// namespaceKey is the key of what they make in an IPC namespace.
const namespaceKey = 0x63017

// namespaceCases are programs with a namespace of their own, and the option of
// unshare(1) that makes it.
var namespaceCases = []struct {
	name, option, script string
	holds                func(*testing.T, *image.Image)
}{
	{"UTS", "--uts", `
dns = ctypes.create_string_buffer(b"example.org"); call("setdomainname", dns, 11); call("sethostname", b"inside", 6)
def names(): return os.uname().nodename, open("/proc/sys/kernel/domainname").read()
same(names(), ("inside", "example.org\n")); ready(); same(names(), ("inside", "example.org\n"))
call("sethostname", b"", 0); same(os.uname().nodename, ""); print("ok")`, func(t *testing.T, m *image.Image) {
		own := m.Namespaces[0]
		require.Equal(t, image.NewUTS, own.Own&^image.NewUser)
		require.Equal(t, "inside", own.Hostname)
		require.Equal(t, "example.org", own.Domainname)
	}},
	{"UTS without a name", "--uts", `
call("sethostname", b"", 0); ready(); same(os.uname().nodename, ""); print("ok")`, func(t *testing.T, m *image.Image) {
		require.Empty(t, m.Namespaces[0].Hostname)
	}},
	{"IPC", "--ipc", sysvScript[len("\nkey = int(sys.argv[1])\n"):] + `
key = ` + strconv.Itoa(namespaceKey) + `
if os.geteuid() == 0: skipped = [call("msgget", key + n, 0o1600) for n in range(3)]; [call("msgctl", q, 0, 0) for q in skipped]
q = call("msgget", key, 0o1640); send(q, 5, b"first"); send(q, 2, b"second" * 1000)
s = call("semget", key, 3, 0o1604); setall(s, 7, 0, 32767); operate(s, (1, 1, 0))
libc.shmat.restype = ctypes.c_void_p; m = call("shmget", key, 8192, 0o1600); at = libc.shmat(m, None, 0); ctypes.memmove(at, b"shared", 7)
gone = call("shmget", 0, 4096, 0o1600); at2 = libc.shmat(gone, None, 0); ctypes.memmove(at2, b"removed", 8); call("shmctl", gone, 0, 0)
unused = call("msgget", 0, 0o1600); never = call("semget", 0, 1, 0o1600)
o = ctypes.create_string_buffer(struct.pack("llll", 0, 3, 100, 0), 64); mq = call("mq_open", b"/jobs", 0o102, 0o640, o)
def limits(): return [open("/proc/sys/kernel/" + n).read() for n in ("msgmax", "msgmnb", "sem")]
try: open("/proc/sys/kernel/msgmnb", "w").write("20000")
except PermissionError: assert os.geteuid() != 0
was = permissions("msg", q), permissions("sem", s), limits()
ready()
same((permissions("msg", q), permissions("sem", s), limits()), was)
same((call("msgget", key, 0), call("semget", key, 3, 0), call("shmget", key, 0, 0)), (q, s, m))
same(receive(q, 2), (2, b"second" * 1000)); same(receive(q, 0), (5, b"first")); same([value(s, n) for n in range(3)], [7, 1, 32767])
same(ctypes.string_at(at), b"shared"); same(ctypes.string_at(at2), b"removed"); again = libc.shmat(m, None, 0); ctypes.memmove(again, b"SHARED", 7); same(ctypes.string_at(at), b"SHARED")
send(unused, 1, b"x"); operate(never, (0, 1, 0)); send(q, 3, b"x" * 8000)
call("mq_send", mq, b"job", 3, 7); b = ctypes.create_string_buffer(100); i = ctypes.c_uint(); same(call("mq_receive", call("mq_open", b"/jobs", 0), b, 100, ctypes.byref(i)), 3); same((b.value, i.value), (b"job", 7)); same(os.fstat(mq).st_mode & 0o777, 0o640)
print("ok")`, func(t *testing.T, m *image.Image) {
		own := m.Namespaces[0]
		require.Equal(t, image.NewIPC, own.Own&^image.NewUser)
		require.Len(t, m.Queues, 2)
		require.Len(t, m.Queues[0].Messages, 2)
		require.Len(t, m.Semaphores, 2)
		require.Len(t, own.Sysctls, len(image.NamespaceSysctls[image.NewIPC]))
		require.Len(t, own.MQueues, 1)
		require.Equal(t, "jobs", own.MQueues[0].Name)
	}},
	{"network", "--net", `
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); f = fcntl.ioctl(u, 0x8914, struct.pack("16sH22x", b"lo", 1))
l = socket.create_server(("127.0.0.1", 80)); c = socket.create_connection(("127.0.0.1", 80)); a, _ = l.accept(); c.sendall(b"on its way")
l6 = socket.create_server(("::1", 8080), family=socket.AF_INET6)
u.bind(("127.0.0.1", 53)); x = socket.socket(socket.AF_UNIX); x.bind("\0name"); x.listen(); y = socket.socket(socket.AF_UNIX); y.connect("\0name")
open("/proc/sys/net/core/somaxconn", "w").write("77"); open("/proc/sys/net/ipv4/ip_unprivileged_port_start", "w").write("50")
def settings(): return [open("/proc/sys/net/" + n).read().split() for n in ("core/somaxconn", "ipv4/ip_unprivileged_port_start", "ipv4/ip_local_port_range")]
was = settings(), open("/proc/net/dev").read().count(":")
ready()
same((settings(), open("/proc/net/dev").read().count(":")), was)
same(a.recv(99), b"on its way"); a.sendall(b"answer"); same(c.recv(99), b"answer")
d = socket.create_connection(("127.0.0.1", 80)); l.accept()[0].sendall(b"new"); same(d.recv(9), b"new"); e = socket.create_connection(("::1", 8080)); l6.accept()
d = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); d.sendto(b"datagram", ("127.0.0.1", 53)); same(u.recv(99), b"datagram")
same(y.send(b"unix"), 4); same(x.accept()[0].recv(9), b"unix")
print("ok")`, func(t *testing.T, m *image.Image) {
		own := m.Namespaces[0]
		require.Equal(t, image.NewNet, own.Own&^image.NewUser)
		require.True(t, own.LoopbackUp)
		require.Contains(t, own.Sysctls, image.Sysctl{Name: "net/core/somaxconn", Value: "77"})
	}},
	{"network of a program without privilege", "--net", `
if os.geteuid() == 0 and open("/proc/self/uid_map").read().split()[2] != "1":
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
s = socket.socket(socket.AF_UNIX); s.bind("\0name"); was = os.getresuid(); ready(); same(os.getresuid(), was); same(s.getsockname(), b"\0name"); print("ok")`, func(t *testing.T, m *image.Image) {
		require.False(t, m.Namespaces[0].LoopbackUp)
	}},
	{"user", "--user --map-root-user", `
def who(): return os.getresuid(), os.getresgid(), os.getgroups(), open("/proc/self/uid_map").read(), open("/proc/self/setgroups").read(), [l for l in open("/proc/self/status") if l[:3] == "Cap"]
same(os.getuid(), 0); was = who(); ready(); same(who(), was)
try: os.mknod("/dev/shm/cr-device", 0o020600, os.makedev(1, 3)); os.unlink("/dev/shm/cr-device"); assert False
except PermissionError: pass # over nothing outside
print("ok")`, func(t *testing.T, m *image.Image) {
		require.Equal(t, image.NewUser, m.Namespaces[0].Own)
		require.Equal(t, []image.IDRange{{Inside: 0, Outside: uint32(os.Getuid()), Count: 1}}, m.Namespaces[0].UIDs)
		require.Zero(t, m.Tasks[0].Creds.UID)
	}},
	{"cgroup", "--cgroup", `
def groups(): return set(l.strip().split(":", 2)[2] for l in open("/proc/self/cgroup"))
same(groups(), {"/"}); ready(); same(groups(), {"/"}); print("ok")`, func(t *testing.T, m *image.Image) {
		require.Equal(t, image.NewCgroup, m.Namespaces[0].Own&^image.NewUser)
	}},
	{"mount", "--mount --ipc", setUpFor("mount -t tmpfs -o size=64k,mode=700,nosuid none /mnt && mount -t mqueue none /mnt && mount -t tmpfs none /srv") + `
def mounts(): return [" ".join(l.split(" - ")[0].split()[3:]) + l.split(" - ")[1] for l in open("/proc/self/mountinfo")]
was = mounts(); ready(); same(mounts(), was); q = call("mq_open", b"/q", 0o102, 0o600, None); same(os.listdir("/mnt"), ["q"]); same(os.listdir("/srv"), []); print("ok")`, func(t *testing.T, m *image.Image) {
		require.Equal(t, image.NewMount|image.NewIPC, m.Namespaces[0].Own&^image.NewUser)
		require.Len(t, m.Namespaces[0].Mounts, 3)
		require.Equal(t, "size=64k,mode=700", m.Namespaces[0].Mounts[0].Data())
	}},
	{"network that is down", "--net", `
s = socket.socket()
def connect():
    try: s.connect(("127.0.0.1", 1)); assert False
    except OSError as e: same(e.errno, errno.ENETUNREACH)
connect(); ready(); connect(); print("ok")`, func(t *testing.T, m *image.Image) {
		require.False(t, m.Namespaces[0].LoopbackUp)
	}},
}

// setUp is a program that sets its namespace up by a command.
func setUp(command string) string {
	return setUpFor(command) + "\nready()"
}

// setUpFor is the part of a program that does.
func setUpFor(command string) string {
	return `
if os.system("` + command + `") != 0: skip("` + command + `")`
}

// refusedNamespaces are programs with what a namespace of the tree may not have,
// and the line that says so.
var refusedNamespaces = []struct{ name, option, script, want string }{
	{"segment that is not attached", "--ipc", `
i = call("shmget", 0, 4096, 0o1600)
ready()`, `System V shared memory \d+: it is in the IPC namespace of the tree, and no process of that has it attached \(attach it, or remove it \(ipcrm -m\)\)`},
	{"POSIX message queue with a message", "--ipc", `
q = call("mq_open", b"/jobs", 0o102, 0o600, None); call("mq_send", q, b"x", 1, 0)
ready()`, `descriptor 3 /jobs: a message queue of the IPC namespace of the tree, in which 1 messages wait \(receive them first\)`},
	{"interface", "--net", setUp("ip link add b0 type bridge"), `network namespace b0: an interface, and an image holds lo only \(delete it \(ip link delete\)`},
	{"address", "--net", setUp("ip address add 10.1.1.1/24 dev lo"), `network namespace 10\.1\.1\.1/24: an address that lo does not have by itself`},
	{"address of IPv6", "--net", setUp("ip address add 2001:db8::1/64 dev lo"), `network namespace 2001:db8::1/64: an address that lo does not have by itself`},
	{"route", "--net", setUp("ip link set lo up && ip route add 10.2.0.0/16 dev lo"), `network namespace to 10\.2\.0\.0/16: a route \(delete it`},
	{"route of IPv6", "--net", setUp("ip link set lo up && ip route add 2001:db8::/32 dev lo"), `network namespace to 2001:db8::/32: a route \(delete it`},
	{"routing rule", "--net", setUp("ip rule add from 10.1.1.1 lookup 100"), `network namespace priority 32765: a routing rule`},
	{"table of nftables", "--net", `
def m(kind, flags, body): return struct.pack("IHHII", 16 + len(body), kind, flags, 1, 0) + body
s = socket.socket(16, 3, 12)
s.send(m(16, 1, b"\0\0\0\x0a") + m(10 << 8, 0x405, b"\x01\0\0\0" + struct.pack("HH", 6, 1) + b"x\0\0\0") + m(17, 1, b"\0\0\0\x0a"))
e = -struct.unpack("i", s.recv(4096)[16:20])[0]
if e: skip("no tables of nftables: " + os.strerror(e))
s.close(); ready()`, `network namespace x: a table of nftables \(delete it \(nft delete table\)\)`},
	{"bind mount", "--mount", setUp("mount --bind /etc /mnt"), `mount /mnt: a bind mount of /etc \(checkpoint it from inside`},
	{"tmpfs with a file", "--mount", setUp("mount -t tmpfs none /mnt && touch /mnt/x"), `mount /mnt: a tmpfs with x in it, and an image does not hold its files`},
	{"file system of another type", "--mount", setUp("mount -t ramfs none /mnt"), `mount /mnt: a file system of type "ramfs"`},
	{"mount that is gone", "--mount", setUp("umount -l /sys"), `mount /.*: it is not mounted so in the mount namespace of the tree, and a restart would have it`},
	{"shared mount", "--mount", setUp("mount --make-shared /"), `mount /: it propagates mounts \(shared:\d+\), and those of a restart are private \(make it private`},
	{"semaphores with SEM_UNDO", "--ipc", `
s = call("semget", 0, 2, 0o1600); op = ctypes.create_string_buffer(struct.pack("Hhh", 1, 1, 0x1000)); call("semop", s, op, 1)
ready()`, `semaphore 1 of set \d+: it has used it last, perhaps with SEM_UNDO`},
	{"queue that another process uses", "--ipc", `
q = call("msgget", 0, 0o1600); r, w = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.close(w); call("msgsnd", q, struct.pack("l", 1), ctypes.c_size_t(0), 0); print("ready", flush=True); os.read(r, 1); os._exit(0)
    os._exit(0)
os.wait(); os.close(r); sys.stdin.readline()`, `System V message queue \d+: process \d+, which is not among those to save, has used it last`},
	{"semaphores that another process waits for", "--ipc", `
s = call("semget", 0, 1, 0o1600); r, w = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: libc.semop(s, struct.pack("Hhh", 0, -1, 0), 1); os._exit(0)
    os._exit(0)
os.wait()
while call("semctl", s, 0, 14) == 0: time.sleep(0.01)
ready(); call("semctl", s, 0, 0)`, `System V semaphores \d+: a process that is not among those to save waits for it`},
}

func TestNamespacesRefused(t *testing.T) {
	for _, c := range refusedNamespaces {
		c := c
		t.Run(c.name, func(t *testing.T) {
			p := startBy(t, unshared(t, strings.Fields(c.option)...), c.script)
			require.Regexp(t, `(?m)^pid \d+: `+c.want, p.refused())
			_, err := io.WriteString(p.in, "go\n")
			require.NoError(t, err)
			_, err = p.end() // it ends what it has made
			require.NoError(t, err)
		})
	}
}

// hostState is what a restart into other namespaces must leave alone.
func hostState(t *testing.T) string {
	t.Helper()
	var uts unix.Utsname
	require.NoError(t, unix.Uname(&uts))
	state := string(uts.Nodename[:]) + string(uts.Domainname[:])
	for _, kind := range []string{"msg", "sem", "shm"} {
		b, err := os.ReadFile("/proc/sysvipc/" + kind)
		require.NoError(t, err)
		for _, line := range strings.Split(string(b), "\n") {
			if f := strings.Fields(line); len(f) > 1 && f[0] == strconv.Itoa(namespaceKey) { // others may be at work
				state += "\n" + kind + " " + f[0] + " " + f[1]
			}
		}
	}
	return state
}

func TestNamespaces(t *testing.T) {
	for _, c := range namespaceCases {
		c := c
		t.Run(c.name, func(t *testing.T) {
			before := hostState(t)
			p := startBy(t, unshared(t, strings.Fields(c.option)...), c.script)
			saved := p.checkpoint(kernel.CheckpointOptions{})
			p.finish()
			m, _, err := image.Read(bytes.NewReader(saved))
			require.NoError(t, err)
			c.holds(t, m)
			for name, pids := range map[string]kernel.PIDs{"namespace": kernel.NamespacePIDs, "new": kernel.FreshPIDs, "keep": kernel.SamePIDs} {
				q, err := tryRestart(t, saved, func(o *kernel.LaunchOptions) { o.PIDs = pids })
				if pids == kernel.SamePIDs && m.Namespaces[0].Has(image.NewUser) {
					require.ErrorIs(t, err, unix.EPERM)
					continue
				}
				require.NoError(t, err, name)
				q.finish()
			}
			require.Equal(t, before, hostState(t))
		})
	}
}

// TestNamespacesUnmapped: root makes nobody of a program whose ids have no name in
// its user namespace, as who it is outside is not in the image.
func TestNamespacesUnmapped(t *testing.T) {
	p := startBy(t, unshared(t, "--user"), `same(os.getuid(), 65534); ready(); same(os.getuid(), 65534); print("ok")`)
	q, err := tryRestart(t, p.checkpoint(kernel.CheckpointOptions{}))
	p.finish()
	if os.Geteuid() == 0 {
		require.ErrorIs(t, err, unix.EPERM)
		require.ErrorContains(t, err, "uid 65534 or gid 65534 has no name in the user namespace of the image (restart it as the user whom it belongs to)")
		return
	}
	require.NoError(t, err)
	q.finish()
}

// TestNamespacesInto: a caller of restart() stays in its namespaces.
func TestNamespacesInto(t *testing.T) {
	saved := startBy(t, unshared(t, "--uts"), `ready(); print("ok")`).checkpoint(kernel.CheckpointOptions{})
	q := start(t, `ready(); print("ok")`)
	answered, err := kernel.RestartInto(q.pid, bytes.NewReader(saved), kernel.RestartOptions{})
	require.ErrorIs(t, err, unix.EOPNOTSUPP)
	require.ErrorContains(t, err, "namespace UTS: the image is of processes that have namespaces for themselves")
	require.False(t, answered)
	q.finish()
}

// TestUserNamespaceInto: a program that was root in a user namespace of its own is
// nobody's root elsewhere.
func TestUserNamespaceInto(t *testing.T) {
	saved := startBy(t, unshared(t, "--user", "--map-root-user"), `ready(); print("ok")`).checkpoint(kernel.CheckpointOptions{})
	q := start(t, `
try: ready()
except OSError as e: same(e.errno, errno.EOPNOTSUPP); print("ok") # that was its call`)
	answered, err := kernel.RestartInto(q.pid, bytes.NewReader(saved), kernel.RestartOptions{})
	require.ErrorIs(t, err, unix.EOPNOTSUPP)
	require.ErrorContains(t, err, "the caller of restart() has none (restart it with cr restart)")
	require.True(t, answered)
	q.expect("ok")
}

// TestNamespacesHostile: what an image says of namespaces is checked before
// any is made.
func TestNamespacesHostile(t *testing.T) {
	before := hostState(t)
	saved := startBy(t, unshared(t, "--uts"), `ready(); print("ok")`).checkpoint(kernel.CheckpointOptions{})
	for name, change := range map[string]func(*image.Namespaces){
		"a long host name":   func(n *image.Namespaces) { n.Hostname = string(make([]byte, 65)) },
		"another kind":       func(n *image.Namespaces) { n.Own |= unix.CLONE_NEWTIME },
		"a flag that is not": func(n *image.Namespaces) { n.Own |= unix.CLONE_VM },
	} {
		b, err := imagetest.Changed(saved, func(m *image.Image) { change(m.Namespaces[0]) })
		require.NoError(t, err)
		_, err = tryRestart(t, b)
		require.ErrorIs(t, err, image.ErrInvalid, name)
	}
	require.Equal(t, before, hostState(t))
}
