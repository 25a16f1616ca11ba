package kernel_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/image"
	"cr/kernel"
)

// A memoryGroup is a control group whose memory is limited, of either version
// (Documentation/admin-guide/cgroup-v1/memory.rst, cgroup-v2.rst).
type memoryGroup struct {
	t          *testing.T
	dir, limit string // its directory, and the name of the file with the limit
}

// newMemoryGroup makes a control group below that of this program, or skips the
// test.
func newMemoryGroup(t *testing.T) *memoryGroup {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	own, err := os.ReadFile("/proc/self/cgroup")
	require.NoError(t, err)
	why := "no control groups are mounted that have memory"
	for _, line := range strings.Split(string(mounts), "\n") {
		f := strings.Fields(line) // what, where, type, options
		if len(f) < 4 {
			continue
		}
		controller, limit := "", "memory.max"
		switch {
		case f[2] == "cgroup" && strings.Contains(","+f[3]+",", ",memory,"):
			controller, limit = "memory", "memory.limit_in_bytes"
		case f[2] != "cgroup2":
			continue
		}
		for _, line := range strings.Split(string(own), "\n") {
			c := strings.SplitN(line, ":", 3) // number, controllers, path
			if len(c) < 3 || !strings.Contains(","+c[1]+",", ","+controller+",") {
				continue
			}
			g := &memoryGroup{t, filepath.Join(f[1], c[2], "cr-test-"+strconv.Itoa(os.Getpid())), limit}
			if err := os.Mkdir(g.dir, 0o755); err != nil {
				why = err.Error()
				continue
			}
			t.Cleanup(func() { require.NoError(t, os.Remove(g.dir)) })
			if _, err := os.Stat(filepath.Join(g.dir, limit)); err != nil {
				why = err.Error()
				continue
			}
			return g
		}
	}
	t.Skipf("no control group to limit memory with can be made: %s", why)
	return nil
}

func (g *memoryGroup) write(name string, value int) {
	g.t.Helper()
	require.NoError(g.t, os.WriteFile(filepath.Join(g.dir, name), []byte(strconv.Itoa(value)), 0))
}

// kills is how often the kernel has killed a process of the group.
func (g *memoryGroup) kills() (n int) {
	g.t.Helper()
	for _, name := range []string{"memory.oom_control", "memory.events"} {
		b, err := os.ReadFile(filepath.Join(g.dir, name))
		if err != nil {
			continue
		}
		for _, line := range strings.Split(string(b), "\n") {
			if key, v, _ := strings.Cut(line, " "); key == "oom_kill" {
				n, err = strconv.Atoi(v)
				require.NoError(g.t, err)
				return n
			}
		}
	}
	require.FailNow(g.t, "the group does not tell how often")
	return 0
}

// TestNoRoomInGroup restarts in callers whose control group may have a little
// more memory each time, until there is enough: ENOMEM, before the kernel ends
// the caller.
func TestNoRoomInGroup(t *testing.T) {
	g := newMemoryGroup(t)
	adopting(t)
	const private, shared = 8 << 20, 4 << 20
	step := 3<<20 + 4096
	if os.Getenv(everyCallEnv) != "" {
		step = 256 << 10
	}
	image := savedOnce(t, fmt.Sprintf(`
m = mmap.mmap(-1, %[1]d, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS); m.write(b"x" * %[1]d); s = mmap.mmap(-1, %[2]d); s.write(b"y" * %[2]d)
if os.fork() == 0: m.seek(0); m.write(b"z" * %[1]d); signal.pause()
print("ready", flush=True); signal.pause()`, private, shared))
	path, dir := buildWaiter(t), t.TempDir()
	undone, killed := 0, 0
	for limit := step; ; limit += step {
		w := startWaiter(t, path, nil)
		g.write("cgroup.procs", w.pid)
		g.write(g.limit, limit)
		w.before = w.look()
		pid, count, was, kills := w.pid, w.word(countAt), outside(dir, w.pid), g.kills()
		answered, err := kernel.RestartInto(pid, bytes.NewReader(image), kernel.RestartOptions{})
		switch {
		case err == nil:
			w.end()
			// It may have been ended meanwhile, and its child has not.
			for _, pid := range descendants(os.Getpid())[1:] {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
			require.Empty(t, reap(t))
			require.Greater(t, limit, 2*private+shared)
			require.GreaterOrEqual(t, undone, (2*private+shared)/step)
			t.Logf("with limits up to %d: %d times ENOMEM, %d times ended by the kernel; then it had room", limit-step, undone, killed)
			return
		case errors.Is(err, kernel.ErrKilled):
			killed++
			ws, e := awaitEnd(pid)
			require.NoError(t, e)
			require.Equal(t, unix.SIGKILL, ws.Signal())
			require.NotEqual(t, kills, g.kills(), "it was not the control group: %v", err)
			t.Logf("limit %d: %v", limit, err)
		default:
			undone++
			require.ErrorIs(t, err, unix.ENOMEM)
			require.Empty(t, w.unharmed(count, answered, err), "after: %v", err)
			require.Equal(t, kills, g.kills())
		}
		w.end()
		require.Empty(t, reap(t))
		for _, d := range was.differs(outside(dir, pid)) {
			require.Fail(t, "outside of it", "%s after: %v", d, err)
		}
	}
}

// TestControlGroups restarts a program and its child in the control group that
// they were in, if that is asked for and is there.
func TestControlGroups(t *testing.T) {
	g := newMemoryGroup(t)
	p := start(t, `
def inside(): return "/cr-test-" in open("/proc/self/cgroup").read()
r, w = os.pipe()
if os.fork() == 0: os.read(r, 1); os._exit(inside())
ready()
os.write(w, b"x")
print(inside() + os.waitstatus_to_exitcode(os.wait()[1]))
`)
	for _, pid := range descendants(p.pid) {
		g.write("cgroup.procs", pid)
	}
	saved := p.checkpoint(kernel.CheckpointOptions{Kill: true})
	_, _ = p.end()
	enter := func(o *kernel.LaunchOptions) { o.ControlGroups = true }

	for want, options := range map[string][]func(*kernel.LaunchOptions){"0": nil, "2": {enter}} {
		q := restart(t, saved, options...)
		_, err := io.WriteString(q.in, "go\n")
		require.NoError(t, err)
		q.expect(want)
		_, err = q.end()
		require.NoError(t, err)
	}

	elsewhere := changed(t, saved, func(m *image.Image) {
		for _, rec := range m.Processes {
			rec.Cgroup = strings.Replace(rec.Cgroup, "/cr-test-", "/cr-none-", 1)
		}
	})
	_, err := tryRestart(t, elsewhere, enter)
	require.ErrorIs(t, err, unix.ENOENT)
	require.Regexp(t, `control group (memory:)?/.*cr-none-\d+: it cannot be entered: .* \(make it, or restart without --cgroups\)`, err.Error())

	outside := changed(t, saved, func(m *image.Image) {
		for _, rec := range m.Processes {
			rec.Cgroup = strings.Replace(rec.Cgroup, "/cr-test-", "/../cr-test-", 1)
		}
	})
	_, err = tryRestart(t, outside, enter)
	require.ErrorContains(t, err, "no such group is mounted")
}

// TestGroupNamespace: with its control groups, a program has a namespace again
// whose root is the group that it was in.
func TestGroupNamespace(t *testing.T) {
	g := newMemoryGroup(t)
	by := append([]string{"sh", "-c", `echo $$ >"$0"/cgroup.procs && exec "$@"`, g.dir}, unshared(t, "--cgroup")...)
	p := startBy(t, by, `
def groups(): return set(l.strip().split(":", 2)[2] for l in open("/proc/self/cgroup"))
same(groups(), {"/"}); ready(); same(groups(), {"/"}); ready(); print("ok")`)
	saved := p.checkpoint(kernel.CheckpointOptions{Kill: true})
	_, _ = p.end()
	for _, pids := range []kernel.PIDs{kernel.NamespacePIDs, kernel.FreshPIDs} {
		q := restart(t, saved, func(o *kernel.LaunchOptions) { o.ControlGroups, o.PIDs = true, pids })
		_, err := io.WriteString(q.in, "go\n")
		require.NoError(t, err)
		q.expect("ready")
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", q.pid))
		require.NoError(t, err)
		require.Contains(t, string(b), "/"+filepath.Base(g.dir)+"\n")
		q.finish()
	}
	m, _, err := image.Read(bytes.NewReader(saved))
	require.NoError(t, err)
	require.True(t, m.OwnNamespaces().Has(image.NewCgroup))
}
