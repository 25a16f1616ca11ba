package vmtests

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/convert"
	"cr/initramfs/agent"
	"cr/regset"
	"cr/vmtests/ktap"
)

// fleet is the guests of a test that needs several, by name. They live as long
// as the test, whichever subtest needed them first.
type fleet struct {
	root testing.TB
	all  map[string]*member
}

// member is a guest of a fleet.
type member struct {
	*VM
	dir     string // of the host
	machine *regset.Machine
	saved   map[string]ktap.Result // by test, nil if it has not saved yet
}

// longer is a subtest whose guests live as long as the test.
type longer struct {
	testing.TB
	root testing.TB
}

func (l longer) Cleanup(f func())         { l.root.Cleanup(f) }
func (l longer) TempDir() string          { return l.root.TempDir() }
func (l longer) Context() context.Context { return l.root.Context() }
func (l longer) Failed() bool             { return l.root.Failed() }
func (l longer) Logf(f string, a ...any)  { l.root.Logf(f, a...) }

// get boots a guest that is not up yet, and asks it what it is.
func (f *fleet) get(t *testing.T, name string) *member {
	t.Helper()
	if m := f.all[name]; m != nil {
		return m
	}
	g, err := Find(name)
	require.NoError(t, err)
	if g.Slow && testing.Short() {
		t.Skipf("guest %s is left out by -short", name)
	}
	m := &member{}
	m.VM, m.dir = start(longer{t, f.root}, g)
	out, err := m.Output(t.Context(), "cr", "features", "--json")
	require.NoError(t, err)
	m.machine, err = convert.ReadMachine(strings.NewReader(out))
	require.NoError(t, err)
	if f.all == nil {
		f.all = make(map[string]*member)
	}
	f.all[name] = m
	return m
}

// save makes a guest save all its images, below the directory that it returns
// too, which is one of the host's.
func (m *member) save(t *testing.T) (saved map[string]ktap.Result, dir string) {
	t.Helper()
	dir = m.Guest.Name
	if m.saved == nil {
		m.saved = m.selftest(t, only("--save="+path.Join(agent.Dir, dir))...)
	}
	return m.saved, dir
}

// lend gives another guest the images in a directory, below the same path.
func (m *member) lend(t *testing.T, to *member, dir string) {
	t.Helper()
	// The times of the files are part of what a restart checks.
	out, err := exec.Command("cp", "-a", filepath.Join(m.dir, dir), to.dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// load restarts the images in a directory. It returns the results by test.
func (m *member) load(t *testing.T, dir string) map[string]ktap.Result {
	t.Helper()
	return m.selftest(t, only("--load="+path.Join(agent.Dir, dir))...)
}

// only adds to the options of cr selftest the one that selects what the -run
// pattern of go test does, if it is for one test.
func only(options ...string) []string {
	run := flag.Lookup("test.run").Value.String()
	if match := pattern(run); match != "" && !strings.Contains(run, "|Test") {
		options = append(options, "--run="+match)
	}
	return options
}

// selftest runs cr selftest and gives the results of its tests.
func (m *member) selftest(t *testing.T, options ...string) map[string]ktap.Result {
	t.Helper()
	ctx, alive, stop := watchdog(t.Context(), *idleFlag)
	defer stop()
	var out, said bytes.Buffer
	err := m.Run(ctx, Command{Argv: append([]string{"cr", "selftest"}, options...), Stdout: io.MultiWriter(&out, alive), Stderr: &said})
	var exit *ExitError
	if errors.As(err, &exit) && exit.Status == 1 {
		err = nil // a test failed
	}
	require.NoError(t, err, "%s\n%s", &out, &said)
	results := make(map[string]ktap.Result)
	for r := ktap.NewReader(&out); ; {
		c, err := r.Next()
		if errors.Is(err, io.EOF) {
			return results
		}
		require.NoError(t, err)
		for _, test := range c.Subtests {
			results[c.Name+"/"+test.Name] = test
		}
	}
}
