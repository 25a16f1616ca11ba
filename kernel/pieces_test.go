package kernel_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/kernel"
)

// large has more memory than is written in one thread.
const large = `
b = os.urandom(1 << 20) * 40
import hashlib
want = hashlib.sha256(b).digest()
ready()
same(hashlib.sha256(b).digest(), want)
print("ok")
`

func TestLargeMemory(t *testing.T) { roundTrip(t, large) }

// fullDisk takes a number of bytes.
type fullDisk int

func (d *fullDisk) Write(b []byte) (int, error) {
	if *d -= fullDisk(len(b)); *d < 0 {
		return 0, unix.ENOSPC
	}
	return len(b), nil
}

// TestDiskFull makes writes fail early, midway and with the tail.
func TestDiskFull(t *testing.T) {
	p := start(t, large)
	whole := len(p.checkpoint(kernel.CheckpointOptions{}))
	for _, room := range []int{0, 1 << 20, whole / 2, whole - 1} {
		d := fullDisk(room)
		_, err := kernel.Checkpoint(p.pid, &d, kernel.CheckpointOptions{Kill: true})
		require.ErrorIs(t, err, unix.ENOSPC)
	}
	p.finish()
}
