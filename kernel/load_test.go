package kernel

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// loadEnv makes TestLoad do the whole of it.
const loadEnv = "CR_TEST_LOAD"

// loadProgram has as many of something as its arguments say.
const loadProgram = `
import mmap, os, resource, sys, threading, time
what, n = sys.argv[1], int(sys.argv[2])
def cannot(*why):
    print("skip:", *why, flush=True)
    os.killpg(0, 9)
sys.excepthook = cannot
if what == "threads":
    threading.stack_size(65536)
    for i in range(n): threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
elif what == "processes":
    for i in range(n):
        if os.fork() == 0:
            time.sleep(1000); os._exit(0)
elif what == "mappings":
    # Neighbours that the kernel cannot merge.
    m = [mmap.mmap(-1, 4096, prot=mmap.PROT_READ | (mmap.PROT_WRITE if i % 2 else 0), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) for i in range(n)]
elif what == "descriptors":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    f = [os.eventfd(i) if i % 2 else os.open("/dev/null", os.O_RDONLY) for i in range(n)]
elif what == "MiB":
    m = mmap.mmap(-1, n << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for i in range(n): m[i << 20:(i + 1) << 20] = bytes([i % 255 + 1]) * (1 << 20)
print("ready", flush=True)
sys.stdin.readline()
os.killpg(0, 9)
`

// cost is what something takes: microseconds, those of the kernel side's processor
// time, and the most memory that it had, in kilobytes.
type cost struct{ us, cpu, kb float64 }

// measure does something, and prints what it takes.
func measure(do func() error) error {
	begin := time.Now()
	if err := do(); err != nil {
		return err
	}
	took := time.Since(begin)
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return err
	}
	cpu := (used.Utime.Nano() + used.Stime.Nano()) / 1000
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for _, line := range strings.Split(string(b), "\n") {
		if strings.HasPrefix(line, "VmHWM:") {
			fmt.Println(took.Microseconds(), cpu, strings.Fields(line)[1])
		}
	}
	return nil
}

// measureCheckpoint saves a tree to a file.
func measureCheckpoint(pid int, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return measure(func() error {
		_, err := Checkpoint(pid, f, CheckpointOptions{Tree: true})
		return err
	})
}

// measureRestart makes a tree of an image, and ends it.
func measureRestart(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	in, out, err := os.Pipe() // it had two
	if err != nil {
		return err
	}
	pid := 0
	err = measure(func() error {
		made, err := Restart(f, LaunchOptions{PIDs: FreshPIDs, Files: []*os.File{in, out, os.Stderr}})
		if err == nil {
			pid = made.PID
		}
		return err
	})
	if err != nil {
		return err
	}
	list, err := members(pid, true)
	for i := len(list) - 1; i >= 0; i-- {
		_ = unix.Kill(list[i], unix.SIGKILL)
	}
	return err
}

// TestLoad saves programs that have much of something: it works, and the time
// and the memory that a checkpoint takes are printed.
func TestLoad(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 to run the program with")
	}
	for _, c := range []struct {
		what       string
		full, some int
	}{
		{"threads", 1000, 100}, {"processes", 1000, 40}, {"mappings", 10000, 2000}, {"descriptors", 10000, 2000}, {"MiB", 4096, 128},
	} {
		t.Run(c.what, func(t *testing.T) {
			n := c.some
			if os.Getenv(loadEnv) != "" {
				n = c.full
			}
			most := 200.0 * 1024
			if c.what == "processes" {
				most += 200 * float64(n)
			}
			var before, slope [2]float64
			for _, n := range []int{n / 4, n / 2, n} {
				saved, image := load(t, python, c.what, n)
				costs := []cost{saved}
				if image != os.DevNull {
					costs = append(costs, measured(t, "load-restart", image))
				}
				for i, cost := range costs {
					if before[i] != 0 {
						slope[i] = (cost.cpu - before[i]) / float64(n-n/2)
					}
					before[i] = cost.cpu
					t.Logf("%6d %s: %-10s %8.1f ms, %8.1f ms of processor time: %.1f µs for each of the last ones; most memory of cr %5.1f MiB",
						n, c.what, []string{"checkpoint", "restart"}[i], cost.us/1000, cost.cpu/1000, slope[i], cost.kb/1024)
					// An image of 4 GiB must not be in memory. What is noted of
					// objects is a few kilobytes each, of processes more.
					require.Less(t, cost.kb, most)
				}
			}
		})
	}
}

func load(t *testing.T, python, what string, n int) (_ cost, image string) {
	t.Helper()
	p := exec.Command(python, "-c", loadProgram, what, strconv.Itoa(n))
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := p.StdinPipe()
	require.NoError(t, err)
	out, err := p.StdoutPipe()
	require.NoError(t, err)
	p.Stderr = os.Stderr
	require.NoError(t, p.Start())
	defer func() {
		in.Close()
		_ = p.Wait()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	if strings.HasPrefix(line, "skip: ") {
		t.Skipf("this machine has no room for %d %s: %s", n, what, line)
	}
	require.Equal(t, "ready\n", line)
	image = os.DevNull
	if what != "MiB" {
		image = filepath.Join(t.TempDir(), "image")
	}
	return measured(t, "load", p.Process.Pid, image), image
}

// measured has a kernel side do something, which prints its time and its memory.
func measured(t *testing.T, what string, args ...any) (c cost) {
	t.Helper()
	h := kernelSide(t, append([]any{what, -1}, args...)...)
	h.Stderr = os.Stderr
	said, err := h.Output()
	require.NoError(t, err, "%s", said)
	_, err = fmt.Sscan(string(said), &c.us, &c.cpu, &c.kb)
	require.NoError(t, err, "%s", said)
	return c
}
