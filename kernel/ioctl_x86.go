//go:build 386 || amd64

package kernel

// iocWrite is the direction bit of _IOW (include/uapi/asm-generic/ioctl.h).
const iocWrite = 1 << 30
