package kernel_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/image"
	"cr/kernel"
)

// racer forks, executes, exits, maps, unmaps, opens, closes and gets signals as
// fast as it can.
const racer = `
import threading
def handler(*_): pass
signal.signal(signal.SIGUSR1, handler)
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
def files():
    while True:
        f = [os.open("/dev/null", os.O_RDONLY) for i in range(20)]
        r, w = os.pipe()
        for i in f + [r, w]: os.close(i)
def maps():
    while True:
        m = [mmap.mmap(-1, 4096 * (i + 1)) for i in range(20)]
        for i in m: i[0] = 1; i.close()
def threads():
    while True:
        t = [threading.Thread(target=time.sleep, args=(0.001,)) for i in range(4)]
        for i in t: i.start()
        for i in t: i.join()
def signals():
    while True:
        os.kill(os.getpid(), signal.SIGUSR1); time.sleep(0.0001)
for f in files, maps, threads, signals:
    threading.Thread(target=f, daemon=True).start()
print("ready", flush=True)
while True:
    p = [os.posix_spawn("/bin/true", ["true"], {}) for i in range(2)]
    q = os.posix_spawn("/bin/sh", ["sh", "-c", "/bin/true; /bin/true & wait"], {})
    for i in p + [q]: os.waitpid(i, 0)
`

// testRounds is how often something is tried that depends on chance.
func testRounds(t *testing.T, few int) int {
	t.Helper()
	s := os.Getenv("CR_TEST_ROUNDS")
	if s == "" {
		return few
	}
	n, err := strconv.Atoi(s)
	require.NoError(t, err)
	return n
}

// TestRacing saves a tree that changes as fast as it can: the image is whole and
// consistent with itself, or the checkpoint is refused, and the tree goes on.
func TestRacing(t *testing.T) {
	p := start(t, racer)
	n, whole, refused, gone := testRounds(t, 60), 0, 0, 0
	reasons := map[string]int{}
	end := time.Now().Add(30 * time.Second)
	for i := 0; i < n && (os.Getenv("CR_TEST_ROUNDS") != "" || time.Now().Before(end)); i++ {
		var b bytes.Buffer
		_, err := kernel.Checkpoint(p.pid, &b, kernel.CheckpointOptions{Tree: true})
		var list kernel.RefusedErrors
		switch {
		case err == nil:
			whole++
			img, rd, err := image.Read(&b)
			require.NoError(t, err)
			require.NoError(t, img.Validate())
			for err == nil {
				_, err = rd.Next()
			}
			require.ErrorIs(t, err, io.EOF)
		case errors.As(err, &list):
			refused++
			for _, r := range list {
				reasons[r.Kind+": "+r.Reason]++
			}
		case errors.Is(err, unix.ESRCH):
			gone++
		default:
			require.NoError(t, err, "round %d", i)
		}
	}
	t.Logf("%d rounds: %d images, %d refused, %d with a task that was gone; reasons: %v", whole+refused+gone, whole, refused, gone, reasons)
	require.NotZero(t, whole)
	noTracer(t, p.pid)
}

// noTracer makes sure that no task of a process is stopped or traced.
func noTracer(t *testing.T, pid int) {
	t.Helper()
	require.Eventually(t, func() bool {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
		return err == nil && bytes.Contains(b, []byte("TracerPid:\t0\n")) && !bytes.Contains(b, []byte("(tracing stop)"))
	}, 10*time.Second, time.Millisecond)
}

// TestTwoAtOnce makes two checkpoints of one program at a time: each is whole,
// or is told that the other is at it.
func TestTwoAtOnce(t *testing.T) {
	p := start(t, "ready()\nprint('ok')\n")
	n := testRounds(t, 30) / 2
	var mu sync.Mutex
	var wait sync.WaitGroup
	whole, busy := 0, 0
	for g := 0; g < 2; g++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for i := 0; i < n; i++ {
				var b bytes.Buffer
				_, err := kernel.Checkpoint(p.pid, &b, kernel.CheckpointOptions{})
				mu.Lock()
				switch {
				case err == nil:
					whole++
				case errors.Is(err, unix.EBUSY):
					busy++
					if !bytes.Contains([]byte(err.Error()), []byte("traced already")) {
						t.Errorf("%v", err)
					}
				default:
					t.Errorf("%v", err)
				}
				mu.Unlock()
			}
		}()
	}
	wait.Wait()
	t.Logf("%d whole, %d told that another one is at it", whole, busy)
	require.NotZero(t, whole)
	p.finish()
}

// TestUnderDebugger saves a program that strace or gdb is at.
func TestUnderDebugger(t *testing.T) {
	attached := filepath.Join(t.TempDir(), "attached")
	for _, command := range [][]string{
		{"strace", "-f", "-o", attached, "-p"},
		{"gdb", "-q", "-batch", "-nx", "-ex", "shell touch " + attached + "; exec sleep 1000", "-p"},
	} {
		t.Run(command[0], func(t *testing.T) {
			path, err := exec.LookPath(command[0])
			if err != nil {
				t.Skipf("no %s", command[0])
			}
			p := start(t, "ready()\nprint('ok')\n")
			c := exec.Command(path, append(command[1:], strconv.Itoa(p.pid))...)
			c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			_ = os.Remove(attached)
			require.NoError(t, c.Start())
			// Killed: gdb would pass a SIGTERM on to the program as SIGINT.
			end := func() {
				_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
				_, _ = c.Process.Wait()
			}
			defer end()
			require.Eventually(t, func() bool {
				b, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/status")
				_, e := os.Stat(attached)
				return err == nil && e == nil && !bytes.Contains(b, []byte("TracerPid:\t0\n"))
			}, time.Minute, time.Millisecond)
			var refused *kernel.RefusedError
			_, err = kernel.Checkpoint(p.pid, io.Discard, kernel.CheckpointOptions{})
			require.ErrorAs(t, err, &refused)
			require.ErrorIs(t, err, unix.EBUSY)
			require.ErrorContains(t, err, "it is traced already, by pid")
			end()
			noTracer(t, p.pid)
			p.finish()
		})
	}
}

// TestKilledMeanwhile kills a program while it is saved: there is an image, or
// an error that says that it is gone.
func TestKilledMeanwhile(t *testing.T) {
	n, whole, gone := testRounds(t, 20), 0, 0
	for i := 0; i < n; i++ {
		c := exec.Command("sleep", "1000")
		require.NoError(t, c.Start())
		time.Sleep(5 * time.Millisecond)
		go func() {
			time.Sleep(time.Duration(i%20) * 2 * time.Millisecond)
			_ = c.Process.Kill()
		}()
		var b bytes.Buffer
		_, err := kernel.Checkpoint(c.Process.Pid, &b, kernel.CheckpointOptions{})
		switch {
		case err == nil:
			whole++
		case errors.Is(err, unix.ESRCH), errors.Is(err, os.ErrNotExist):
			gone++
		default:
			require.NoError(t, err, "round %d", i)
		}
		_ = c.Wait()
	}
	t.Logf("%d rounds: %d images, %d gone", n, whole, gone)
}

// TestCheckpointDuringRestart saves a process while it is being made: whoever
// comes second is told that the other is at it.
func TestCheckpointDuringRestart(t *testing.T) {
	p := start(t, "m = bytearray(16 << 20)\nready()\nprint('ok')\n")
	b := p.checkpoint(kernel.CheckpointOptions{Kill: true})
	_, _ = p.end()
	for i := 0; i < 2; i++ {
		done := make(chan struct{})
		var wait sync.WaitGroup
		wait.Add(1)
		busy, whole := 0, 0
		go func() {
			defer wait.Done()
			for {
				select {
				case <-done:
					return
				default:
				}
				for _, pid := range childrenOfSelf() {
					_, err := kernel.Checkpoint(pid, io.Discard, kernel.CheckpointOptions{Tree: true})
					if err == nil {
						whole++
					} else if errors.Is(err, unix.EBUSY) {
						busy++
					}
				}
			}
		}()
		q, err := tryRestart(t, b)
		close(done)
		wait.Wait()
		t.Logf("checkpoint: %d times refused, %d images; restart: %v", busy, whole, err)
		if err != nil {
			require.ErrorIs(t, err, unix.EBUSY, "the other was first")
			continue
		}
		q.finish()
	}
}

// childrenOfSelf lists the children of this program.
func childrenOfSelf() (list []int) {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil
	}
	for _, task := range tasks {
		b, err := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		if err != nil {
			continue
		}
		for _, f := range bytes.Fields(b) {
			if pid, err := strconv.Atoi(string(f)); err == nil {
				list = append(list, pid)
			}
		}
	}
	return list
}
