//go:build (amd64 || 386) && gc

package cpuid

import "encoding/binary"

const (
	fxsaveSize  = 512
	fxsaveAlign = 16
	mxcsrMask   = 28     // offset (Intel SDM volume 1, 10.5.1)
	defaultMask = 0xffbf // where the CPU says nothing
	fxsr        = 1 << 24
)

// fxsave writes an FXSAVE area to the first address in buf that is aligned for
// it, and returns its offset.
func fxsave(buf *[fxsaveSize + fxsaveAlign]byte) (off uintptr)

// MXCSRMask gives the bits of MXCSR that the CPU has (Intel SDM volume 1,
// 11.6.6), 0 if it has no FXSAVE.
func MXCSRMask() uint32 {
	if leaf(0, 0).EAX < featureFn || leaf(featureFn, 0).EDX&fxsr == 0 {
		return 0
	}
	var buf [fxsaveSize + fxsaveAlign]byte
	off := fxsave(&buf)
	if mask := binary.LittleEndian.Uint32(buf[off+mxcsrMask:]); mask != 0 {
		return mask
	}
	return defaultMask
}

// XStateSize gives the size in bytes of an area of XSAVE's standard format that
// has the components of XCR0, 0 if the kernel has not enabled XSAVE.
func XStateSize() int {
	if XCR0() == 0 {
		return 0
	}
	return int(leaf(xsaveFn, 0).EBX)
}
