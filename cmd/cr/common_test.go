package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// forked has 32 MiB in common with four children, which have changed 0, 1, 2 and
// 3 pages of it. Each line that it reads is answered by whether they have no more
// than these for themselves, and whether their contents are right.
const forked = `
import ctypes, mmap, os, struct, sys, zlib
size = 32 << 20
mem = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for at in range(0, size, 1 << 20): mem[at:at+(1<<20)] = os.urandom(1 << 20)
addr = ctypes.addressof(ctypes.c_char.from_buffer(mem))
down, up = os.pipe()
r, w = os.pipe()
def look():
    f = open("/proc/self/pagemap", "rb", 0)
    f.seek(addr // 4096 * 8)
    alone = sum(e >> 56 & 0x81 == 0x81 for (e,) in struct.iter_unpack("<Q", f.read(size // 4096 * 8)))
    return alone, zlib.crc32(mem)
for i in range(4):
    if os.fork() == 0:
        for k in range(i): mem[k * 8192] = i
        crc = zlib.crc32(mem)
        while os.read(down, 1):
            alone, now = look()
            os.write(w, struct.pack("=IB", alone, now == crc))
        os._exit(0)
print("begun", flush=True)
for line in sys.stdin:
    os.write(up, b"x" * 4)
    got = [struct.unpack("=IB", os.read(r, 5)) for i in range(4)]
    print(sum(g[0] for g in got) <= 6 + 64, all(g[1] for g in got), flush=True)
`

// TestCommonPagesOfUser saves and restarts, without privilege, processes that
// share memory since a fork.
func TestCommonPagesOfUser(t *testing.T) {
	const python = "/usr/bin/python3" // one in root's directory is nobody else's
	if _, err := os.Stat(python); err != nil {
		t.Skipf("no python3 to run the program with: %v", err)
	}
	dir, cr, _ := forAll(t)
	own := filepath.Join(dir, "own")
	require.NoError(t, os.Mkdir(own, 0o700))
	require.NoError(t, os.Chown(own, user, user))
	file := filepath.Join(own, "image")
	p := launch(t, func(c *exec.Cmd) { c.Dir = "/" }, append(append([]string{}, as...), python, "-c", forked)...)
	require.Equal(t, "begun", p.line(), "%s", p.said)
	const want = "True True"
	p.say("look")
	require.Equal(t, want, p.line())
	_, said, w := run(t, as[0], append(append([]string{}, as[1:]...), cr, "checkpoint", "-o", file, strconv.Itoa(p.cmd.Process.Pid))...)
	require.Zero(t, w.ExitStatus(), said)
	p.say("look")
	require.Equal(t, want, p.line())
	endTree(p.cmd.Process.Pid)
	p.end()
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(64<<20))
	q := launch(t, func(c *exec.Cmd) { c.Dir = "/" }, append(append([]string{}, as...), cr, "restart", file)...)
	q.say("look")
	require.Equal(t, want, q.line(), "%s", q.said)
}
