package selftest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fakeEnv makes this test's own program a false cr.
const fakeEnv = "CR_SELFTEST_FAKE"

func TestMain(m *testing.M) {
	if how := os.Getenv(fakeEnv); how != "" && len(os.Args) > 1 {
		fake(how, os.Args[1:])
	}
	os.Exit(m.Run())
}

// fake does as if it were cr: its image is the name of the program, which its
// restart runs from the beginning. It does not return.
func fake(how string, args []string) {
	switch {
	case args[0] == "checkpoint" && how == "hang":
		fmt.Fprintf(os.Stderr, "pid %d hangs\n", os.Getpid())
		for {
			time.Sleep(time.Second)
		}
	case args[0] == "checkpoint" && how == "fail":
		fmt.Fprintln(os.Stderr, "cr checkpoint: no luck\nat all")
		os.Exit(125)
	case args[0] == "checkpoint":
		path, err := os.Readlink("/proc/" + args[1] + "/exe")
		if err == nil {
			err = os.WriteFile(args[3], []byte(path), 0o600)
		}
		exitWith(err)
	case args[0] == "restart":
		path, err := os.ReadFile(args[1])
		if err != nil {
			exitWith(err)
		}
		exitWith(syscall.Exec(string(path), []string{"", "spin", ""}, nil))
	case args[0] == "run":
		exitWith(syscall.Exec(args[2], args[2:], nil))
	}
	exitWith(fmt.Errorf("what is %v?", args))
}

func exitWith(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// runFake runs a test of this machine's with a false cr.
func runFake(t *testing.T, how, match string, timeout time.Duration) (ok bool, ktap string) {
	t.Helper()
	if _, _, notBuilt, err := abis(t.TempDir()); err != nil || len(notBuilt) > 0 {
		t.Skip(errNotBuilt)
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	t.Setenv(fakeEnv, how)
	var out bytes.Buffer
	totals, err := Run(Config{
		Out:        &out,
		Executable: exe,
		Match:      regexp.MustCompile(match),
		Timeout:    timeout,
		TempDir:    t.TempDir(),
	})
	require.NoError(t, err)
	return totals.Failed == 0, out.String()
}

func TestRunPasses(t *testing.T) {
	ok, ktap := runFake(t, "well", "^(gpr|mem)/external$", time.Minute)
	require.True(t, ok)
	require.Equal(t, `KTAP version 1
1..2
  KTAP version 1
  1..1
  ok 1 external
ok 1 gpr
  KTAP version 1
  1..1
  ok 1 external
ok 2 mem
# Totals: pass:2 fail:0 xfail:0 xpass:0 skip:0 error:0
`, ktap)
}

// TestRunSeesNoCheckpoint: the false cr offers no calls.
func TestRunSeesNoCheckpoint(t *testing.T) {
	ok, ktap := runFake(t, "well", "^gpr/self$", time.Minute)
	require.False(t, ok)
	require.Regexp(t, `(?m)^  # original: checkpoint returned -\d+$`, ktap)
	require.Contains(t, ktap, "  not ok 1 self\nnot ok 1 gpr\n")
	require.Contains(t, ktap, "# Totals: pass:0 fail:1 ")
}

func TestRunShowsWhatFailed(t *testing.T) {
	ok, ktap := runFake(t, "fail", "^gpr/external$", time.Minute)
	require.False(t, ok)
	require.Contains(t, ktap, `  # cr checkpoint: exit status 125
  # cr checkpoint: no luck
  # at all
  not ok 1 external
`)
}

// TestRunEndsHang: what hangs is described and killed.
func TestRunEndsHang(t *testing.T) {
	begin := time.Now()
	ok, ktap := runFake(t, "hang", "^gpr/external$", 3*time.Second)
	require.False(t, ok)
	require.Less(t, time.Since(begin), 20*time.Second)
	require.Contains(t, ktap, "  # not over after 3s\n")
	require.Contains(t, ktap, "  not ok 1 external # TIMEOUT\nnot ok 1 gpr\n")
	pids := regexp.MustCompile(`(?m)^  # pid (\d+) cmdline: (.*)$`).FindAllStringSubmatch(ktap, -1)
	require.Len(t, pids, 2, ktap) // the program and the false cr
	for _, p := range pids {
		pid, err := strconv.Atoi(p[1])
		require.NoError(t, err)
		require.Equal(t, syscall.ESRCH, syscall.Kill(pid, 0), "pid %d, %s", pid, p[2])
	}
}

// TestAwaitSpinOfTheDead: a program that ends without having come to its spin
// is not waited for.
func TestAwaitSpinOfTheDead(t *testing.T) {
	abis, _, _, err := abis(t.TempDir())
	if err != nil {
		t.Skip(err)
	}
	p, err := unpack(t.TempDir(), abis[0], "gpr")
	require.NoError(t, err)
	cmd := exec.Command(p.path, "self")
	require.NoError(t, cmd.Start())
	begin := time.Now()
	require.ErrorIs(t, awaitSpin(cmd.Process.Pid, p, begin.Add(time.Minute)), errExited)
	require.Less(t, time.Since(begin), 30*time.Second)
	require.NoError(t, cmd.Wait())
}

func TestList(t *testing.T) {
	if _, _, _, err := abis(t.TempDir()); err != nil {
		t.Skip(err)
	}
	cases, err := List(Config{Match: regexp.MustCompile("^gpr/"), TempDir: t.TempDir()})
	require.NoError(t, err)
	require.Len(t, cases, 1)
	require.Equal(t, "gpr", cases[0].Name)
	require.Len(t, cases[0].Tests, 2)

	cases, err = List(Config{Match: regexp.MustCompile("^gpr/"), Skip: regexp.MustCompile("/self$"), TempDir: t.TempDir()})
	require.NoError(t, err)
	require.Len(t, cases, 1)
	require.Len(t, cases[0].Tests, 1)
	require.Equal(t, "external", cases[0].Tests[0].Name)
}

func TestSkipIsOneLine(t *testing.T) {
	var out strings.Builder
	r := &report{w: &out}
	r.note(1, "one\ntwo\n")
	r.result(1, 3, "name", skipped, "no\nreason")
	require.Equal(t, "  # one\n  # two\n  ok 3 name # SKIP no; reason\n", out.String())
}
