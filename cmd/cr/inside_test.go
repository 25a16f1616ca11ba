package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestInside saves and restarts a program within namespaces of its own, as a
// container has them: run there, cr finds them the same for both.
func TestInside(t *testing.T) {
	cr, dir := built(t), t.TempDir()
	script := filepath.Join(dir, "script")
	require.NoError(t, os.WriteFile(script, []byte(`
set -e
hostname "$1"
python3 -c '
import os, socket, sys
r, w = os.pipe()
print(os.getpid(), flush=True)
line = sys.stdin.readline()
print(line.strip(), socket.gethostname(), os.getpid(), *(os.readlink("/proc/self/ns/" + n) for n in ("ipc", "mnt", "net", "uts")), flush=True)
' <in >out 2>err &
exec 9<>in
until [ -s out ]; do sleep 0.1; done
cr checkpoint --kill -o image $!
echo go >&9
cr restart image
echo outside $(hostname) $! $(readlink /proc/self/ns/ipc) $(readlink /proc/self/ns/mnt) $(readlink /proc/self/ns/net) $(readlink /proc/self/ns/uts) >>out
`), 0o644))
	require.NoError(t, exec.Command("mkfifo", filepath.Join(dir, "in")).Run())
	argv := []string{"unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--mount-proc"}
	if os.Getuid() != 0 {
		argv = append(argv, "--map-root-user")
	}
	c := exec.Command(argv[0], append(argv[1:], "sh", script, "inside")...)
	c.Dir, c.Env = dir, append(os.Environ(), "PATH="+filepath.Dir(cr)+":"+os.Getenv("PATH"))
	said, err := c.CombinedOutput()
	if err != nil && strings.Contains(string(said), "unshare failed") {
		t.Skipf("no namespaces can be made here: %s", said)
	}
	require.NoError(t, err, "%s", said)
	out, err := os.ReadFile(filepath.Join(dir, "out"))
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	require.Len(t, lines, 3, "%s", out)
	program, shell := strings.Fields(lines[1]), strings.Fields(lines[2])
	require.Equal(t, "go", program[0])
	require.Equal(t, lines[0], program[2], "its pid")
	require.Equal(t, shell[1:], program[1:], "host name, pid, namespaces")
	require.Equal(t, "inside", program[1])
}
