package kernel

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/internal/steady"
)

// killedEnv makes the tests of a kernel side that is killed complete: every
// step, 1,000 random instants.
const killedEnv = "CR_TEST_KILLED"

// killedHelper is a kernel side that kills itself: what to do, the step before
// which it kills itself (-1: none), and arguments.
func killedHelper(args []string) error {
	at, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	steps := 0
	step = func() {
		if steps == at {
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
		steps++
	}
	switch args[0] {
	case "checkpoint":
		pid, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		if _, err = Checkpoint(pid, io.Discard, CheckpointOptions{}); err != nil {
			return err
		}
	case "restart":
		f, err := os.Open(args[2])
		if err != nil {
			return err
		}
		pids := NamespacePIDs
		if args[3] == "new" {
			pids = FreshPIDs
		}
		if _, err := Restart(f, LaunchOptions{PIDs: pids}); err != nil {
			return err
		}
	}
	fmt.Println(steps)
	return nil
}

// kernelSide starts a helper.
func kernelSide(t *testing.T, args ...any) *exec.Cmd {
	t.Helper()
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), helperEnv+"=killed "+fmt.Sprintln(args...))
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// killedAt runs a helper that kills itself before a step. It returns false if
// the helper came to its end before.
func killedAt(t *testing.T, what string, at int, args ...any) bool {
	t.Helper()
	c := kernelSide(t, append([]any{what, at}, args...)...)
	c.Stderr = os.Stderr
	out, err := c.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return true
	}
	require.NoError(t, err, "%s", out)
	return false
}

// stepsOf counts the steps of what a helper does.
func stepsOf(t *testing.T, what string, args ...any) int {
	t.Helper()
	c := kernelSide(t, append([]any{what, -1}, args...)...)
	c.Stderr = os.Stderr
	out, err := c.Output()
	require.NoError(t, err, "%s", out)
	var n int
	_, err = fmt.Sscan(string(out), &n)
	require.NoError(t, err)
	require.NotZero(t, n)
	return n
}

// everyStep calls f for each of n steps, or for as many of them as there is
// time for, spread over all.
func everyStep(t *testing.T, n int, f func(at int)) {
	t.Helper()
	stride := 1
	if os.Getenv(killedEnv) == "" {
		// A prime that does not divide n visits all, if there is time.
		for stride = 61; n%stride == 0; stride += 2 {
		}
	}
	end := time.Now().Add(30 * time.Second)
	done := 0
	for i := 0; i < n; i++ {
		if os.Getenv(killedEnv) == "" && time.Now().After(end) {
			break
		}
		f(i * stride % n)
		done++
	}
	t.Logf("killed before %d of %d steps (%s=1: all)", done, n, killedEnv)
}

// A checkpoint that is killed before any of its steps leaves the program as it
// was.
func TestKilledAtStep(t *testing.T) {
	runtime.LockOSThread()
	p := steady.Start(t, 4, steady.Build(t))
	n := stepsOf(t, "checkpoint", p.PID)
	p.Unharmed()
	everyStep(t, n, func(at int) {
		p.Signal()
		killedAt(t, "checkpoint", at, p.PID)
		p.Signal()
		p.Unharmed()
		if t.Failed() {
			t.Fatalf("killed before step %d", at)
		}
	})
	require.False(t, killedAt(t, "checkpoint", -1, p.PID), "a checkpoint after all")
	p.Unharmed()
}

// No half-started tree survives a restart that is killed before any of its
// steps.
func TestRestartKilledAtStep(t *testing.T) {
	runtime.LockOSThread()
	p := steady.Start(t, 4, steady.Build(t))
	image := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(image)
	require.NoError(t, err)
	defer f.Close()
	_, err = Checkpoint(p.PID, f, CheckpointOptions{})
	require.NoError(t, err)
	for _, pids := range []string{"namespace", "new"} {
		t.Run(pids, func(t *testing.T) {
			orphans(t, func() { stepsOf(t, "restart", image, pids) }, true)
			n := stepsOf(t, "restart", image, pids)
			everyStep(t, n, func(at int) {
				orphans(t, func() { killedAt(t, "restart", at, image, pids) }, false)
			})
		})
	}
}

// orphans makes this program the one that orphans pass to, does f, and tells
// whether there are some, which it ends.
func orphans(t *testing.T, f func(), want bool) {
	t.Helper()
	require.NoError(t, unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
	defer func() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) }()
	f()
}
