//go:build (amd64 || 386) && gc

// Package cpuid asks the CPU what it is and has. It is no part of
// package x86, which runs on any host.
package cpuid

import "cr/x86"

const (
	extended = 0x80000000

	featureFn = 1
	structFn  = 7   // subleaves 0 to EAX
	xsaveFn   = 0xd // subleaves 0 to 63
	osxsave   = 1 << 27
)

func cpuid(fn, sub uint32) (eax, ebx, ecx, edx uint32)

func xgetbv() (eax, edx uint32)

func leaf(fn, sub uint32) x86.Leaf {
	l := x86.Leaf{Fn: fn, Sub: sub}
	l.EAX, l.EBX, l.ECX, l.EDX = cpuid(fn, sub)
	return l
}

// Leaves gives the basic and extended leaves that the CPU has, with the
// subleaves of 7 and 0xd, as the CPU that the caller runs on gives them.
func Leaves() []x86.Leaf {
	var leaves []x86.Leaf
	for _, base := range []uint32{0, extended} {
		last := leaf(base, 0).EAX
		// A CPU without the range answers for another leaf.
		if last < base || last > base+0xffff {
			continue
		}
		for fn := base; fn <= last; fn++ {
			l := leaf(fn, 0)
			leaves = append(leaves, l)
			subs := uint32(0)
			switch fn {
			case structFn:
				subs = l.EAX
			case xsaveFn:
				subs = 63
			}
			for sub := uint32(1); sub <= subs; sub++ {
				leaves = append(leaves, leaf(fn, sub))
			}
		}
	}
	return leaves
}

// XCR0 gives the state components that the kernel has enabled, 0 if it has not
// enabled XSAVE.
func XCR0() uint64 {
	if leaf(0, 0).EAX < featureFn || leaf(featureFn, 0).ECX&osxsave == 0 {
		return 0
	}
	lo, hi := xgetbv()
	return uint64(hi)<<32 | uint64(lo)
}
