package kernel

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// loadEnv makes TestLoad do the whole of it.
const loadEnv = "CR_TEST_LOAD"

// loadProgram has as many of something as its arguments say.
const loadProgram = `
import mmap, os, resource, sys, threading, time
what, n = sys.argv[1], int(sys.argv[2])
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

// measure saves a tree, and prints how long it took and the most memory that
// this program had, in kilobytes.
func measure(pid int) error {
	begin := time.Now()
	if _, err := Checkpoint(pid, io.Discard, CheckpointOptions{Tree: true}); err != nil {
		return err
	}
	took := time.Since(begin)
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for _, line := range strings.Split(string(b), "\n") {
		if strings.HasPrefix(line, "VmHWM:") {
			fmt.Println(took.Microseconds(), strings.Fields(line)[1])
		}
	}
	return nil
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
			var before, slope float64
			for _, n := range []int{n / 4, n / 2, n} {
				us, kb := load(t, python, c.what, n)
				if before != 0 {
					slope = (us - before) / float64(n-n/2)
				}
				before = us
				t.Logf("%6d %s: checkpoint %8.1f ms, most memory of cr %5.1f MiB, %.1f µs for each of the last ones",
					n, c.what, us/1000, kb/1024, slope)
				// An image of 4 GiB must not be in memory. What is noted of
				// objects is a few kilobytes each.
				require.Less(t, kb, 200.0*1024)
			}
		})
	}
}

func load(t *testing.T, python, what string, n int) (us, kb float64) {
	t.Helper()
	c := exec.Command(python, "-c", loadProgram, what, strconv.Itoa(n))
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := c.StdinPipe()
	require.NoError(t, err)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	c.Stderr = os.Stderr
	require.NoError(t, c.Start())
	defer func() {
		in.Close()
		_ = c.Wait()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	h := kernelSide(t, "load", -1, c.Process.Pid)
	h.Stderr = os.Stderr
	said, err := h.Output()
	require.NoError(t, err, "%s", said)
	_, err = fmt.Sscan(string(said), &us, &kb)
	require.NoError(t, err, "%s", said)
	return us, kb
}
