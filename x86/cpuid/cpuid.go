//go:build (amd64 || 386) && gc

// Package cpuid asks the CPU what it is and has. It is no part of
// package x86, which runs on any host.
package cpuid

import "cr/x86"

const (
	extended = 0x80000000

	featureFn = 1
	structFn  = 7   // subleaves 0 to EAX
	xsaveFn   = 0xd // subleaves 0, 1, and one for each component
	osxsave   = 1 << 27
)

func cpuid(fn, sub uint32) (eax, ebx, ecx, edx uint32)

func xgetbv() (eax, edx uint32)

func leaf(fn, sub uint32) x86.Leaf {
	l := x86.Leaf{Fn: fn, Sub: sub}
	l.EAX, l.EBX, l.ECX, l.EDX = cpuid(fn, sub)
	return l
}

// Ask executes cpuid.
func Ask(fn, sub uint32) x86.Leaf { return leaf(fn, sub) }

// Leaves gives the leaves that x86.Describe asks for, as far as the CPU that the
// caller runs on has them. Each costs an exit from a virtual machine, so these
// are no more than needed.
func Leaves() []x86.Leaf {
	var leaves []x86.Leaf
	for _, fns := range [][]uint32{{featureFn, structFn, xsaveFn}, {extended + 1}} {
		base := fns[0] & extended
		last := leaf(base, 0).EAX
		// A CPU without the range answers for another leaf.
		if last < base || last > base+0xffff {
			continue
		}
		for _, fn := range fns {
			if fn > last {
				continue
			}
			l := leaf(fn, 0)
			leaves = append(leaves, l)
			subs := uint64(0)
			switch fn {
			case structFn:
				if l.EAX > 0 {
					subs = 1 << 1
				}
			case xsaveFn:
				subs = uint64(l.EDX)<<32 | uint64(l.EAX)&^1 | 1<<1
			}
			for sub := uint32(1); sub < 64; sub++ {
				if subs>>sub&1 != 0 {
					leaves = append(leaves, leaf(fn, sub))
				}
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
