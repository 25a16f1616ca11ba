package kernel

import (
	"golang.org/x/sys/unix"
)

// kindOf tells of what kind the file is that a path leads to, and which device
// if it is one. The leader of a process looks it up, so that nobody learns of
// files that the process may not see.
func (r *reborn) kindOf(path string, flags int) (kind uint32, rdev uint64, err error) {
	// Offsets in struct statx (include/uapi/linux/stat.h), which is the same on
	// all machines.
	const size, modeAt, majorAt, minorAt = 256, 28, 128, 132
	st := make(out, size)
	if _, err := r.do(sysStatx, atFdcwd, append([]byte(path), 0), flags, uint32(unix.STATX_TYPE), st); err != nil {
		return 0, 0, err
	}
	order := r.leader().abi.Order()
	return uint32(order.Uint16(st[modeAt:])) & unix.S_IFMT, unix.Mkdev(order.Uint32(st[majorAt:]), order.Uint32(st[minorAt:])), nil
}
