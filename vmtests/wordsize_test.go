package vmtests

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/initramfs/agent"
)

// TestWordSize restarts images of 64-bit and of 32-bit tasks in callers of
// either kind: the restart call replaces a caller of the other kind, too.
func TestWordSize(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		guest string
		abis  []string
	}{
		{"x86_64-max", []string{"x86_64", "i386"}},
		{"ppc64-power8", []string{"ppc64", "ppc"}},
	} {
		t.Run(test.guest, func(t *testing.T) {
			t.Parallel()
			g := guests.get(t, test.guest)
			_, dir := g.save(t)
			for _, caller := range test.abis {
				program := compile(t, g.dir, caller, "caller")
				for _, abi := range test.abis {
					image := path.Join(dir, abi, "gpr.self", "image")
					t.Run(caller+" caller/"+abi+" image", func(t *testing.T) {
						want, said, status := g.try(t, "cr", "restart", path.Join(agent.Dir, image))
						require.Zero(t, status, said)
						for _, thread := range []bool{false, true} {
							argv := []string{"cr", "run", "--", g.see(t, program), path.Join(agent.Dir, image)}
							if thread {
								argv = append(argv, "thread")
							}
							got, said, status := g.try(t, argv...)
							require.Zero(t, status, "%s%s", got, said)
							require.Empty(t, said)
							require.Equal(t, want, got)
						}
					})
					t.Run(caller+" caller/damaged "+abi+" image", func(t *testing.T) {
						b, err := os.ReadFile(filepath.Join(g.dir, image))
						require.NoError(t, err)
						b[len(b)-200] ^= 1 // in the last page
						bad := filepath.Join(g.dir, "damaged")
						require.NoError(t, os.WriteFile(bad, b, 0o600))
						got, said, status := g.try(t, "cr", "run", "--", g.see(t, program), g.see(t, bad), "thread")
						require.Equal(t, 2, status, "the caller lives: %s", said)
						require.Equal(t, "restart: Exec format error\n", got)
						require.Contains(t, said, "corrupt")
					})
				}
			}
		})
	}
}

// try runs a command and returns what it wrote and its exit status.
func (m *member) try(t *testing.T, argv ...string) (out, said string, status int) {
	t.Helper()
	// A task that is restarted where it must not be may never end.
	ctx, stop := context.WithTimeout(t.Context(), *idleFlag)
	defer stop()
	var stdout, stderr bytes.Buffer
	err := m.Run(ctx, Command{Argv: argv, Stdout: &stdout, Stderr: &stderr})
	var exit *ExitError
	if errors.As(err, &exit) {
		return stdout.String(), stderr.String(), exit.Status
	}
	require.NoError(t, err)
	return stdout.String(), stderr.String(), 0
}

// see is the path by which a guest sees a file in its directory of the host.
func (m *member) see(t *testing.T, file string) string {
	t.Helper()
	rel, err := filepath.Rel(m.dir, file)
	require.NoError(t, err)
	return path.Join(agent.Dir, rel)
}
