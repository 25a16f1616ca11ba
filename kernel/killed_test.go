package kernel

import (
	"bytes"
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

	"cr/image"
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
	case "checkpoint", "checkpoint-over", "checkpoint-one-by-one":
		noRoomBehind = args[0] == "checkpoint-over"
		noLists = args[0] == "checkpoint-one-by-one"
		pid, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		if _, err = Checkpoint(pid, io.Discard, CheckpointOptions{}); err != nil {
			return err
		}
	case "load":
		pid, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		return measureCheckpoint(pid, args[3])
	case "load-restart":
		return measureRestart(args[2])
	case "into", "into-stub":
		alwaysStub = args[0] == "into-stub"
		pid, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		f, err := os.Open(args[3])
		if err != nil {
			return err
		}
		if _, err := RestartInto(pid, f, RestartOptions{}); err != nil {
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

// everyStepFor calls f for each of n steps, or for the last, where the tasks are let
// go, and for as many others as there is time for, spread over all.
func everyStepFor(t *testing.T, n int, most time.Duration, f func(at int)) {
	t.Helper()
	all := os.Getenv(killedEnv) != ""
	const last = 16
	stride := 1
	if !all {
		// A prime that does not divide n visits all, if there is time.
		for stride = 61; n%stride == 0; stride += 2 {
		}
	}
	end := time.Now().Add(most)
	done := make(map[int]bool)
	for i := -last; i < n && (all || time.Now().Before(end)); i++ {
		at := i * stride % n
		if i < 0 {
			at = n + i
		}
		if at >= 0 && !done[at] {
			f(at)
			done[at] = true
		}
	}
	t.Logf("killed before %d of %d steps (%s=1: all)", len(done), n, killedEnv)
}

// A checkpoint that is killed before any of its steps leaves the program as it
// was, whether its tasks work off lists of calls or make one after the other.
func TestKilledAtStep(t *testing.T) {
	for _, what := range []string{"checkpoint", "checkpoint-one-by-one"} {
		t.Run(what, func(t *testing.T) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			p := steady.Start(t, 4, steady.Build(t))
			n := stepsOf(t, what, p.PID)
			p.Unharmed()
			everyStepFor(t, n, 15*time.Second, func(at int) {
				p.Signal()
				killedAt(t, what, at, p.PID)
				p.Signal()
				p.Unharmed()
				if t.Failed() {
					t.Fatalf("killed before step %d", at)
				}
			})
			require.False(t, killedAt(t, what, -1, p.PID), "a checkpoint after all")
			p.Unharmed()
		})
	}
}

// The same where the code that leads back lies over symbols and section headers
// of the vdso, as on powerpc before POWER8: the next checkpoint finds it, and has
// the vdso that the kernel made in its image.
func TestKilledOverSections(t *testing.T) {
	runtime.LockOSThread()
	p := steady.Start(t, 4, steady.Build(t))
	whole, err := kernelVDSO(hostABI)
	require.NoError(t, err)
	v, err := (&process{pid: p.PID}).readVDSO()
	require.NoError(t, err)
	now := func() []byte {
		b := make([]byte, len(v.content))
		mem, err := openMemory(p.PID)
		require.NoError(t, err)
		defer mem.close()
		require.NoError(t, mem.read(v.start, b))
		return b
	}
	left := 0
	n := stepsOf(t, "checkpoint-over", p.PID)
	require.Equal(t, whole, now(), "after a checkpoint")
	everyStepFor(t, n, 10*time.Second, func(at int) {
		p.Signal()
		killedAt(t, "checkpoint-over", at, p.PID)
		p.Signal()
		p.Unharmed()
		b := now()
		if !hasUndo(b[v.segments:]) {
			return
		}
		if left++; left%4 != 0 { // let the others find what this one has left
			return
		}
		var saved bytes.Buffer
		_, err := Checkpoint(p.PID, &saved, CheckpointOptions{})
		require.NoError(t, err)
		img, _, err := image.Read(&saved)
		require.NoError(t, err)
		require.Equal(t, whole, img.MMs[0].VDSO, "in the image, after a kill before step %d", at)
		require.Equal(t, whole, now(), "in the process, after a kill before step %d", at)
	})
	require.NotZero(t, left, "checkpoints that have left code")
	t.Logf("%d have left code", left)
	p.Unharmed()
}

// Nothing is left of a restart that is killed before any of its steps: there is
// no half-started tree.
func TestRestartKilledAtStep(t *testing.T) {
	require.NoError(t, unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
	defer func() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) }()
	for _, c := range []struct {
		pids, script string
		processes    int
	}{
		{"namespace", "sleep 1000 & sleep 1000 & wait", 4},
		{"new", "exec sleep 1000", 1},
		{"new", "sleep 1000 & sleep 1000 & wait", 3},
	} {
		t.Run(fmt.Sprintf("%s, %d processes", c.pids, c.processes), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "image")
			imageOf(t, c.script, path)
			n := 0
			left := orphans(func() { n = stepsOf(t, "restart", path, c.pids) })
			require.Len(t, left, c.processes, "processes that a restart makes")
			everyStepFor(t, n, 15*time.Second, func(at int) {
				left := orphans(func() { killedAt(t, "restart", at, path, c.pids) })
				require.Empty(t, left, "processes that are left when killed before step %d of %d", at, n)
			})
		})
	}
}

// imageOf makes an image of a shell script that has come to its end or to where
// it waits.
func imageOf(t *testing.T, script, path string) {
	t.Helper()
	c := exec.Command("sh", "-c", script)
	require.NoError(t, c.Start())
	time.Sleep(500 * time.Millisecond)
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	_, err = Checkpoint(c.Process.Pid, f, CheckpointOptions{Tree: true, Kill: true})
	require.NoError(t, err)
	_ = c.Wait()
	orphans(func() {})
}

// orphans does f and returns the processes that have become children of this
// program by it and that go on, which it ends.
func orphans(f func()) (left []int) {
	f()
	for end := time.Now().Add(2 * time.Second); ; time.Sleep(time.Millisecond) {
		for {
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
		list, err := members(os.Getpid(), true)
		if err == nil && len(list) == 1 {
			return nil
		}
		if err == nil && time.Now().After(end) {
			for _, pid := range list[1:] {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
			orphans(func() {})
			return list[1:]
		}
	}
}
