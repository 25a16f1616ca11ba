package kernel_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/image"
	"cr/kernel"
)

// commonScript has 64 MiB of memory and a stack in common with eight children and
// a child of one of these, each of which has changed something. All of them must
// have what they had, and few pages for themselves (bit 56 of pagemap).
const commonScript = `
import zlib
size, page = 64 << 20, 4096
mem = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for at in range(0, size, 1 << 20): mem[at:at+(1<<20)] = os.urandom(1 << 20)
addr = ctypes.addressof(ctypes.c_char.from_buffer(mem))
PROT_READ, PROT_RW, DONTNEED, MiB = 1, 3, 4, 1 << 20
holes = set()
libc.mmap.restype = ctypes.c_void_p
def at(where): return ctypes.c_void_p(addr + where)
def change(i):
    for k in range(3 * i): mem[(k * 37 + i) * page] = i
    if i == 2: call("madvise", at(32 * MiB), MiB, DONTNEED)
    if i == 3: call("mprotect", at(40 * MiB), MiB, PROT_READ)
    if i == 4: call("munmap", at(48 * MiB), MiB); holes.add(48)
    if i == 5: call("mlock", at(62 * MiB), 4 * page)
    if i == 6: call("madvise", at(50 * MiB), MiB, 10) # MADV_DONTFORK
    if i == 7: libc.mmap(at(51 * MiB), MiB, PROT_RW, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x10, -1, ctypes.c_long(0)); mem[51*MiB] = 7 # MAP_FIXED
    if i == 8:
        mem[20*MiB:21*MiB] = os.urandom(MiB)
        born(9)
    if i == 9: mem[20*MiB] = 9
def look():
    crc = 0
    for n in range(size // MiB):
        if n not in holes: crc = zlib.crc32(mem[n*MiB:(n+1)*MiB], crc)
    f = open("/proc/self/pagemap", "rb", 0)
    f.seek(addr // page * 8)
    alone = sum(e >> 56 & 0x81 == 0x81 for (e,) in struct.iter_unpack("<Q", f.read(size // page * 8)))
    return os.getpid(), crc, alone
r, w = os.pipe()
downs = os.pipe(), os.pipe() # one for each of the two times: nobody takes what another waits for
def born(i):
    p = os.fork()
    if p: return
    change(i)
    for k in range(2):
        os.write(w, struct.pack("=IIQ", *look()))
        os.read(downs[k][0], 1)
    os._exit(0)
def told(): return sorted(struct.unpack("=IIQ", os.read(r, 16)) for i in range(9))
for i in range(1, 9): born(i)
for k in range(100): mem[16*MiB + 2*k*page] = 99
was, own = told(), look()
ready()
os.write(downs[0][1], b"x" * 9)
for before, now in zip(was + [own], told() + [look()]):
    same(now[:2], before[:2])
    # 256 pages of the child's that has a child can be in one place only, 100 that the root has changed too.
    assert now[2] <= before[2] + 400, (before, now)
os.write(downs[1][1], b"x" * 9)
for i in range(8): os.wait()
print("ok")
`

// TestCommonPages saves processes that share memory since a fork, twice: the
// memory is in the image once, the processes share it as before, and so do those
// that are made of the image.
func TestCommonPages(t *testing.T) {
	p := start(t, commonScript)
	p.checkpoint(kernel.CheckpointOptions{})
	saved := p.checkpoint(kernel.CheckpointOptions{})
	p.finish()
	m, rd, err := image.Read(bytes.NewReader(saved))
	require.NoError(t, err)
	require.Len(t, m.MMs, 10)
	var once, all int
	require.NoError(t, rd.Each(func(p *image.Pages) error {
		if all += len(p.Data); p.From == 0 {
			once += len(p.Data)
		}
		return nil
	}))
	require.Less(t, once, 90<<20)
	require.Greater(t, all, 9*(64<<20))
	restart(t, saved).finish()
}

// TestCommonPagesKilled makes sure that pages which the original has no more come
// back, to one whose memory they are put in from elsewhere.
func TestCommonPagesKilled(t *testing.T) { killAndRestart(t, commonScript) }
