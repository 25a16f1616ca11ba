package vmtests

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/convert"
	"cr/initramfs/agent"
	"cr/regset"
	"cr/vmtests/ktap"
)

// guests are those of all tests.
var guests fleet

func TestMain(m *testing.M) {
	status := m.Run()
	guests.end()
	os.Exit(status)
}

// fleet is the guests that tests share, by name. Each is booted by the first
// test that wants it, and stands still while no test does: some kernels' idle
// loop keeps a processor of the host busy.
type fleet struct {
	mu  sync.Mutex
	all map[string]*member
}

// member is a guest of a fleet.
type member struct {
	*VM
	guest   *prepared
	dir     string // of the host
	machine *regset.Machine

	mu    sync.Mutex
	users map[*testing.T]bool
	saved map[string]ktap.Result // by test, nil if it has not saved yet
}

// get gives a test a guest, until the test ends.
func (f *fleet) get(t *testing.T, name string) *member {
	t.Helper()
	g, err := Find(name)
	require.NoError(t, err)
	if g.Slow && testing.Short() {
		t.Skipf("guest %s is left out by -short", name)
	}
	m, err := f.try(t, g)
	require.NoError(t, err)
	if m.machine == nil {
		m.learn(t)
	}
	return m
}

// try is get for a guest that may not come up.
func (f *fleet) try(t *testing.T, g Guest) (*member, error) {
	t.Helper()
	m := f.find(g.Name)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.VM != nil && m.ended() {
		m.VM = nil // by a test that has failed
	}
	if m.VM == nil {
		m.guest = prepare(t, g, m.dir)
		m.dir = m.guest.config.Dir
		vm, err := m.guest.boot(t)
		if err != nil {
			return m, err
		}
		m.VM, m.machine, m.users = vm, nil, make(map[*testing.T]bool)
	} else if len(m.users) == 0 {
		require.NoError(t, m.Continue())
	}
	m.users[t] = true
	logConsole(t, m.VM)
	t.Cleanup(func() { m.leave(t) })
	return m, nil
}

// leave is for a test that has no more for a guest to do, or not for now.
func (m *member) leave(t *testing.T) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.users[t] {
		return
	}
	delete(m.users, t)
	if len(m.users) == 0 && !m.ended() {
		require.NoError(t, m.Stop())
	}
}

// enter is for a test that comes back to a guest which it has left.
func (m *member) enter(t *testing.T) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.users) == 0 {
		require.NoError(t, m.Continue())
	}
	m.users[t] = true
}

func (f *fleet) find(name string) *member {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = make(map[string]*member)
	}
	if f.all[name] == nil {
		f.all[name] = &member{}
	}
	return f.all[name]
}

// end ends all guests.
func (f *fleet) end() {
	for _, m := range f.all {
		if m.VM != nil {
			m.Close()
		}
		if m.dir != "" && !*keepFlag {
			_ = os.RemoveAll(m.dir)
		}
	}
}

// learn asks a guest what it is.
func (m *member) learn(t *testing.T) {
	t.Helper()
	out, err := m.Output(t.Context(), "cr", "features", "--json")
	require.NoError(t, err)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.machine, err = convert.ReadMachine(strings.NewReader(out))
	require.NoError(t, err)
}

// keep notes the results of the tests of registers whose images a guest has left
// in its directory as save has it. Those of 32-bit tasks end in -32 there.
func (m *member) keep(results map[string]ktap.Result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.saved = make(map[string]ktap.Result)
	for name, r := range results {
		c, mode, _ := strings.Cut(name, "/")
		class, abi := OwnABI(m.Guest.Name, c)
		m.saved[class+"-"+abi+"/"+mode] = r
	}
}

// save makes a guest save all its images if it has not kept them, below the
// directory that it returns too, which is one of the host's.
func (m *member) save(t *testing.T) (saved map[string]ktap.Result, dir string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = m.Guest.Name
	if m.saved == nil {
		m.saved = m.selftest(t, only("--save="+path.Join(agent.Dir, dir))...)
	}
	// Results of what is in no image are of no interest.
	saved = maps.Clone(m.saved)
	maps.DeleteFunc(saved, func(name string, _ ktap.Result) bool {
		return !strings.HasSuffix(name, "/self") && !strings.HasSuffix(name, "/external")
	})
	return saved, dir
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
	if errors.As(err, &exit) && (exit.Status == 1 || exit.Status == 4) {
		err = nil // a test failed, or all were skipped
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
