package kernel_test

import (
	"bytes"
	"os"
	"os/exec"
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
	if os.Geteuid() != 0 {
		by = append(by, "--user", "--map-root-user")
	}
	if out, err := exec.Command(by[0], append(by[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("%q: %v: %s", by, err, out)
	}
	return by
}

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
		require.Equal(t, []*image.Namespaces{{Own: image.NewUTS, Hostname: "inside", Domainname: "example.org"}}, m.Namespaces)
	}},
	{"UTS without a name", "--uts", `
call("sethostname", b"", 0); ready(); same(os.uname().nodename, ""); print("ok")`, func(t *testing.T, m *image.Image) {
		require.Empty(t, m.Namespaces[0].Hostname)
	}},
}

// hostState is what a restart into other namespaces must leave alone.
func hostState(t *testing.T) string {
	t.Helper()
	var uts unix.Utsname
	require.NoError(t, unix.Uname(&uts))
	return string(uts.Nodename[:]) + string(uts.Domainname[:])
}

func TestNamespaces(t *testing.T) {
	for _, c := range namespaceCases {
		c := c
		t.Run(c.name, func(t *testing.T) {
			before := hostState(t)
			p := startBy(t, unshared(t, c.option), c.script)
			saved := p.checkpoint(kernel.CheckpointOptions{})
			p.finish()
			m, _, err := image.Read(bytes.NewReader(saved))
			require.NoError(t, err)
			c.holds(t, m)
			for name, pids := range map[string]kernel.PIDs{"namespace": kernel.NamespacePIDs, "new": kernel.FreshPIDs, "keep": kernel.SamePIDs} {
				q, err := tryRestart(t, saved, func(o *kernel.LaunchOptions) { o.PIDs = pids })
				if pids == kernel.SamePIDs && os.Geteuid() != 0 {
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
