package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// containerProgram is the first process of a container. It works with what the
// container has for itself.
const containerProgram = `
import ctypes, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
m = libc.shmget(77, 4096, 0o1600); at = libc.shmat(m, None, 0); ctypes.memmove(at, b"segment", 8)
q = libc.msgget(77, 0o1600); libc.msgsnd(q, struct.pack("l", 3) + b"message", ctypes.c_size_t(7), 0)
s = libc.semget(77, 1, 0o1600); libc.semctl(s, 0, 16, 5)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
import fcntl; fcntl.ioctl(u, 0x8914, struct.pack("16sH22x", b"lo", 1))
l = socket.create_server(("127.0.0.1", 80)); c = socket.create_connection(("127.0.0.1", 80)); a, _ = l.accept()
libc.sethostname(b"inside", 6)
child = os.fork()
if child == 0:
    a.sendall(b"before"); a.recv(1); libc.msgsnd(q, struct.pack("l", 4) + b"child", ctypes.c_size_t(5), 0); os._exit(7)
print("ready", flush=True)
sys.stdin.readline()
b = ctypes.create_string_buffer(99)
def receive(t): return b[8:8 + libc.msgrcv(q, b, ctypes.c_size_t(50), ctypes.c_long(t), 0)].decode()
c.sendall(b"x")
open("mark", "w").close()
print(os.getpid(), os.getuid(), os.uname().nodename, libc.shmget(77, 0, 0) == m, libc.msgget(77, 0) == q, libc.semget(77, 0, 0) == s,
    ctypes.string_at(at).decode(), receive(3), receive(4), libc.semctl(s, 0, 12), c.recv(9).decode(), os.wait()[1] >> 8,
    *sorted(set(os.readlink("/proc/self/ns/" + n).split(":")[0] for n in ("uts", "ipc", "net", "user", "pid") if os.readlink("/proc/self/ns/" + n) != sys.argv[1 + ("uts", "ipc", "net", "user", "pid").index(n)])), flush=True)
`

// TestOutside saves a container from outside, and restarts it in namespaces that
// are as its own were; all of those of who does so are as before.
func TestOutside(t *testing.T) {
	_, cr, _ := forAll(t)
	for _, c := range []struct {
		name    string
		as      []string
		options string
		want    string
		fresh   string // why it does not come up with --pids=new
	}{
		{"root", nil, "--uts --ipc --net --pid --fork", "0 inside True True True segment message child 5 before 7 ipc net pid uts", ""},
		{"root in a user namespace", nil, "--user --map-root-user --uts --ipc --net --pid --fork", "0 inside True True True segment message child 5 before 7 ipc net pid user uts", ""},
		{"a user", as, "--user --map-root-user --uts --ipc --net --pid --fork", "0 inside True True True segment message child 5 before 7 ipc net pid user uts", ""},
		{"root with mounts", nil, "--mount --cgroup --uts --ipc --net --pid --fork --mount-proc", "0 inside True True True segment message child 5 before 7 ipc net pid uts", ""},
		{"a user with mounts", as, "--user --map-root-user --mount --cgroup --uts --ipc --net --pid --fork --mount-proc", "0 inside True True True segment message child 5 before 7 ipc net pid user uts",
			"mount proc at /proc: "},
		{"a user in the same pid namespace", as, "--user --map-current-user --keep-caps --uts --ipc --net", "1000 inside True True True segment message child 5 before 7 ipc net pid user uts", ""},
	} {
		c := c
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.Chmod(dir, 0o777))
			open(t, filepath.Dir(dir))
			script := filepath.Join(dir, "script")
			require.NoError(t, os.WriteFile(filepath.Join(dir, "program"), []byte(containerProgram), 0o644))
			require.NoError(t, os.WriteFile(script, []byte(`
set -e
all="$(for n in uts ipc net user pid; do readlink /proc/self/ns/$n; done)"
before="$(hostname; ipcs | sed -n /0x0000004d/p; cat /proc/net/dev | wc -l)"
mkfifo in
unshare $1 /usr/bin/python3 program $all <in >out 2>err &
exec 9<>in
until grep -qs ready out || [ -s err ]; do sleep 0.1; done
cat err
pid=$!
case "$1" in *--fork*) pid=$(cat /proc/$!/task/$!/children) ;; esac
cr checkpoint --kill -o image $pid
cr verify image
cr info image >info
echo go >&9
cr restart image
sed -n 2p out >out2
echo go >&9
cr restart --pids=new image 2>err3 || cat err3
sed -n 2p out >out3
after="$(hostname; ipcs | sed -n /0x0000004d/p; cat /proc/net/dev | wc -l)"
[ "$before" = "$after" ] || echo "$before became $after"
`), 0o644))
			argv := append(append([]string{}, c.as...), "timeout", "60", "sh", script, c.options)
			command := exec.Command(argv[0], argv[1:]...)
			command.Dir, command.Env = dir, append(os.Environ(), "PATH="+filepath.Dir(cr)+":"+os.Getenv("PATH"))
			said, err := command.CombinedOutput()
			if strings.Contains(string(said), "unshare failed") {
				t.Skipf("no namespaces can be made here: %s", said)
			}
			require.NoError(t, err, "%s", said)
			if c.fresh == "" {
				require.Empty(t, string(said))
			} else {
				require.Contains(t, string(said), c.fresh)
				require.Contains(t, string(said), "(one may mount the processes of a pid namespace of one's own only: --pids=namespace)")
			}
			info, err := os.ReadFile(filepath.Join(dir, "info"))
			require.NoError(t, err)
			require.Contains(t, string(info), "UTS (host name inside), IPC, network (lo is up)")
			for _, name := range []string{"out2", "out3"} {
				out, err := os.ReadFile(filepath.Join(dir, name))
				require.NoError(t, err)
				pid, got, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
				want := c.want
				if name == "out3" && c.fresh != "" {
					continue
				}
				if name == "out3" { // --pids=new
					want = strings.Replace(want, " pid", "", 1)
				} else if strings.Contains(c.options, "--pid") {
					require.Equal(t, "1", pid)
				}
				require.Equal(t, want, got)
			}
			if c.as == nil {
				return
			}
			// Root makes no more of it than it was.
			again := exec.Command("sh", "-c", `exec 9<>in; echo go >&9; cr restart image && sed -n 2p out && stat -c %u:%g mark`)
			again.Dir, again.Env = dir, command.Env
			require.NoError(t, os.Remove(filepath.Join(dir, "mark")))
			out, err := again.CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Contains(t, string(out), c.want+"\n1000:1000\n")
		})
	}
}
