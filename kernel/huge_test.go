package kernel_test

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/kernel"
)

const hugePagesFile = "/proc/sys/vm/nr_hugepages"

// hugePages sets huge pages aside for a test, as many as are free now and more.
func hugePages(t *testing.T, more int) {
	t.Helper()
	b, err := os.ReadFile(hugePagesFile)
	if err != nil {
		t.Skipf("the kernel has no huge pages: %v", err)
	}
	was, err := strconv.Atoi(strings.TrimSpace(string(b)))
	require.NoError(t, err)
	want := strconv.Itoa(was + more)
	if err := os.WriteFile(hugePagesFile, []byte(want), 0); err != nil {
		t.Skipf("no huge pages can be set aside: %v", err)
	}
	t.Cleanup(func() { _ = os.WriteFile(hugePagesFile, []byte(strconv.Itoa(was)), 0) })
	if b, err = os.ReadFile(hugePagesFile); err != nil || strings.TrimSpace(string(b)) != want {
		t.Skipf("%s huge pages can be set aside, not %s", strings.TrimSpace(string(b)), want)
	}
}

const hugeScript = `
libc.mmap.restype = ctypes.c_void_p; libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
size = [int(l.split()[1]) << 10 for l in open("/proc/meminfo") if l.startswith("Hugepagesize:")][0]
def area(n, flags, fd=-1, at=None, offset=0):
    m = libc.mmap(at, n * size, 3, flags, fd, offset)
    if m == ctypes.c_void_p(-1).value: skip("no huge pages are free")
    return m
def put(m, b): ctypes.memmove(m, b, len(b))
def get(m, n=5): return ctypes.string_at(m, n)
def is_huge(m):
    here = False
    for l in open("/proc/self/smaps"):
        if "-" in l.split()[0]: a, b = l.split()[0].split("-"); here = int(a, 16) <= m < int(b, 16)
        if here and l.startswith("KernelPageSize:"): same(int(l.split()[1]) << 10, size); return
    assert False
`

var hugeCases = []struct{ name, script string }{
	{"private", `
m = area(3, 0x40022); put(m, b"first"); put(m + 2 * size + size - 5, b"third"); libc.mprotect(ctypes.c_void_p(m + 2 * size), size, 1)
w = area(1, 0x40022); put(w, b"w" * size)
ready(); same((get(m), get(m + size), get(m + 3 * size - 5)), (b"first", bytes(5), b"third")); put(m + size, b"again"); same(get(m + size), b"again"); same(get(w, size), b"w" * size)
for a in m, m + size, m + 2 * size, w: is_huge(a)
print("ok")`},
	{"shared", `
m = area(2, 0x40021); put(m + size + 7, b"share"); r, w = os.pipe()
child = os.fork()
if child == 0:
    os.close(w) # a process that is left as it was when its parent became another ends
    if os.read(r, 1) != b"x": os._exit(1)
    same(get(m), b"paren"); put(m + size, b"child"); os._exit(7)
ready(); same(get(m + size + 7), b"share"); put(m, b"parent"); os.write(w, b"x")
while os.wait()[1] != 7 << 8: pass
same(get(m + size), b"child"); is_huge(m); print("ok")`},
	{"memfd", `
f = os.memfd_create("huge", 4); os.ftruncate(f, 3 * size)
m = area(2, 1, f, None, size); put(m, b"inmid"); n = area(1, 1, f, None, 2 * size); put(n + 9, b"atend")
ready(); same(os.fstat(f).st_size, 3 * size); same(get(m), b"inmid"); same(get(m + size + 9), b"atend"); put(m + size, b"alias"); same(get(n), b"alias"); same(os.pread(f, 5, size), b"inmid")
is_huge(m); is_huge(n); same(os.readlink("/proc/self/fd/%d" % f), "/memfd:huge (deleted)"); print("ok")`},
}

func TestHugePages(t *testing.T) {
	hugePages(t, 16)
	for _, c := range hugeCases {
		c := c
		t.Run(c.name, func(t *testing.T) { killAndRestart(t, hugeScript+c.script) })
		t.Run(c.name+" where something is in its place", func(t *testing.T) {
			p := start(t, hugeScript+c.script)
			saved := p.checkpoint(kernel.CheckpointOptions{})
			_, err := kernel.RestartInto(p.pid, bytes.NewReader(saved), kernel.RestartOptions{})
			require.NoError(t, err)
			p.finish()
		})
	}
	t.Run("none free", func(t *testing.T) {
		path := buildWaiter(t)
		for _, c := range hugeCases {
			p := start(t, "os.dup2(1, 2)\n"+hugeScript+c.script)
			saved := p.checkpoint(kernel.CheckpointOptions{Kill: true})
			_, _ = p.end()
			b, err := os.ReadFile(hugePagesFile)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(hugePagesFile, []byte("0"), 0))
			w := startWaiter(t, path, nil)
			err = w.refuses(saved, kernel.RestartOptions{})
			require.NoError(t, os.WriteFile(hugePagesFile, b, 0))
			require.Equal(t, unix.ENOMEM, kernel.Errno(err), "%v", err)
			require.ErrorContains(t, err, "not enough free huge pages of")
			require.ErrorContains(t, err, "(sysctl vm.nr_hugepages=N sets some aside)")
		}
	})
}

// TestHugePagesRefused has huge pages that cannot be saved.
func TestHugePagesRefused(t *testing.T) {
	hugePages(t, 8)
	for _, c := range []struct{ name, script, want string }{
		{"private copy of a memfd", `
f = os.memfd_create("huge", 4); os.ftruncate(f, size); m = area(1, 2, f); put(m, b"copy"); ready()`, `mapping .* /memfd:huge \(deleted\): it is of huge pages that have a name`},
		{"System V shared memory", `
i = call("shmget", 0, ctypes.c_size_t(size), 0o1600 | 0o4000); libc.shmat.restype = ctypes.c_void_p; put(libc.shmat(i, None, 0), b"segment"); call("shmctl", i, 0, None); ready()`,
			`mapping .* /SYSV00000000 \(deleted\): it is of huge pages that have a name`},
		{"sealed against writing", `
f = os.memfd_create("huge", 4 | 2); os.ftruncate(f, size); fcntl.fcntl(f, 1033, 8); ready()`, `descriptor 3 /memfd:huge.*: a memfd of huge pages that is sealed against writing`},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Regexp(t, c.want, start(t, hugeScript+c.script).refused())
		})
	}
}
