package selftest

import (
	"encoding/binary"
	"fmt"

	"cr/regset"
)

// checksum of memory, as macro sums of the programs has it.
func checksum(order binary.ByteOrder, b []byte) uint32 {
	h := uint32(0)
	for ; len(b) >= 4; b = b[4:] {
		h = h*0x9e3779b1 + order.Uint32(b)
	}
	return h
}

// memRegs lists the checksums of targets/common/mem.S, one for each 4 KiB, and
// what getcwd(2) returns where it may not write.
func memRegs(abi regset.ABI, _ func(string) uint64) []Reg {
	const words = 1024
	order := abi.Order()
	l := &layout{abi: abi}
	for _, region := range []struct {
		name   string
		first  int // word of the pattern
		filled int // of chunks of 4 KiB
		chunks int
	}{
		{".data", 0, 1, 1},
		{".bss", 0x400, 1, 1},
		{"stack", 0x800, 1, 1},
		{"heap", 0xc00, 16, 16},
		{"private mapping", 0x4c00, 16, 64},
		{"shared mapping", 0x8c00, 16, 16},
		{"read-only mapping", 0xcc00, 16, 16},
	} {
		for i := 0; i < region.chunks; i++ {
			var p, q uint32
			if i < region.filled {
				p = checksum(order, pattern(order, region.first+i*words, words, 0))
				q = checksum(order, pattern(order, region.first+i*words, words, 0xffffffff))
			}
			l.fixed(fmt.Sprintf("checksum of %s+%#x", region.name, i*4*words), 4, uint64(p), uint64(q))
		}
	}
	l.unchecked(4)
	efault := int64(-14)
	l.fixed("write to read-only mapping", abi.WordSize(), uint64(efault), uint64(efault))
	return l.regs
}
