package main

import (
	"bytes"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cr/internal/steady"
)

// rounds is how often a test is made that hits something by chance: a number
// from the environment, or few.
func rounds(t *testing.T, few int) int {
	t.Helper()
	s := os.Getenv("CR_TEST_ROUNDS")
	if s == "" {
		return few
	}
	n, err := strconv.Atoi(s)
	require.NoError(t, err)
	return n
}

// A program that verifies itself does not notice that cr checkpoint is killed at
// random instants.
func TestCheckpointKilledAtRandom(t *testing.T) {
	runtime.LockOSThread()
	cr, _ := programs(t)
	p := steady.Start(t, 8, steady.Build(t))
	image := filepath.Join(t.TempDir(), "image")
	var whole []time.Duration
	for i := 0; i < 5; i++ {
		begin := time.Now()
		_, said, w := run(t, cr, "checkpoint", "-o", image, strconv.Itoa(p.PID))
		require.Zero(t, w.ExitStatus(), said)
		whole = append(whole, time.Since(begin))
	}
	p.Unharmed()
	sort.Slice(whole, func(i, j int) bool { return whole[i] < whole[j] })
	usual := whole[len(whole)/2]
	n, hit := rounds(t, 100), 0
	for i := 0; i < n; i++ {
		if i%4 == 0 {
			p.Signal()
		}
		c := exec.Command(cr, "checkpoint", "-o", image, strconv.Itoa(p.PID))
		var said bytes.Buffer
		c.Stderr = &said
		require.NoError(t, c.Start())
		time.Sleep(time.Duration(rand.Int63n(int64(usual * 5 / 4))))
		_ = c.Process.Kill()
		if i%4 == 1 {
			p.Signal()
		}
		_ = c.Wait()
		w := c.ProcessState.Sys().(syscall.WaitStatus)
		if w.Signaled() {
			hit++
		} else {
			require.Zero(t, w.ExitStatus(), said.String())
		}
		p.Unharmed()
	}
	t.Logf("cr checkpoint killed %d times in %d rounds; a checkpoint takes %v", hit, n, usual)
	require.NotZero(t, hit)
	_, said, w := run(t, cr, "checkpoint", "-o", image, strconv.Itoa(p.PID))
	require.Zero(t, w.ExitStatus(), said)
	p.Unharmed()
}

// Programs that checkpoint themselves all the time under cr run go on when their
// kernel side is killed at random instants, and then the call is ENOSYS.
func TestRunKilledInCall(t *testing.T) {
	runtime.LockOSThread()
	cr, _ := programs(t)
	path := steady.Build(t)
	n := rounds(t, 100) / 10
	for i := 0; i < n; i++ {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			p := steady.StartBy(t, 4, []string{cr, "run", "--", path}, filepath.Join(t.TempDir(), "image"))
			p.Go()
			require.Eventually(t, func() bool {
				calls, _ := p.Calls()
				return calls > 1
			}, limit, time.Millisecond)
			side := childrenOf(t, p.Parent)
			require.Len(t, side, 1)
			time.Sleep(time.Duration(rand.Int63n(int64(50 * time.Millisecond))))
			require.NoError(t, syscall.Kill(side[0], syscall.SIGKILL))
			p.Signal()
			require.Eventually(t, func() bool {
				_, refused := p.Calls()
				return refused
			}, limit, time.Millisecond, "the call is still there")
			p.Unharmed()
		})
	}
}
