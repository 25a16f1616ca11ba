//go:build ppc || ppc64 || ppc64le

package kernel

// iocWrite is the direction bit of _IOW (arch/powerpc/include/uapi/asm/ioctl.h).
const iocWrite = 1 << 31
