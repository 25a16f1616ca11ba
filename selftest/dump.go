package selftest

import (
	"bytes"
	"fmt"

	"cr/regset"
)

// A dump begins with a header of 16 bytes: magic, and the result of the
// checkpoint call as a signed 64-bit number in the byte order of the task.
const (
	magic      = "CRDUMP\x00\x01"
	headerSize = len(magic) + 8
)

// dump is what a target program prints once.
type dump struct {
	result int64
	body   []byte
}

// parseDumps splits the output of a target into dumps of size bytes each.
func parseDumps(abi regset.ABI, out []byte, size int) ([]dump, error) {
	var dumps []dump
	for at := 0; at < len(out); {
		rest := out[at:]
		if len(rest) < headerSize+size {
			return dumps, fmt.Errorf("dump %d is cut: %d of %d bytes", len(dumps)+1, len(rest), headerSize+size)
		}
		if !bytes.HasPrefix(rest, []byte(magic)) {
			return dumps, fmt.Errorf("dump %d begins with %q", len(dumps)+1, rest[:len(magic)])
		}
		dumps = append(dumps, dump{
			result: int64(abi.Order().Uint64(rest[len(magic):])),
			body:   rest[headerSize : headerSize+size],
		})
		at += headerSize + size
	}
	return dumps, nil
}

// size is the number of bytes that the registers take in a dump.
func size(regs []Reg) int {
	n := 0
	for i := range regs {
		n += len(regs[i].P)
	}
	return n
}

// which is P or Q: what was in the registers when they were dumped.
type which int

const (
	patternP which = iota // as loaded
	afterCall
	patternQ
)

// compare returns a line for each register that is not as it was loaded.
func compare(abi regset.ABI, regs []Reg, body []byte, w which) []string {
	var wrong []string
	for i := range regs {
		r := &regs[i]
		got := body[:len(r.P)]
		body = body[len(r.P):]
		want, mask := r.P, r.Mask
		switch {
		case w == patternQ:
			want = r.Q
		case w == afterCall && r.CallMask != nil:
			mask = r.CallMask
		}
		if !same(want, got, mask) {
			line := difference(abi, r, want, got)
			if mask != nil {
				line += fmt.Sprintf(" (bits %x count)", r.value(abi, mask))
			}
			wrong = append(wrong, line)
		}
	}
	return wrong
}

// difference is the line for a register that is not as it should be.
func difference(abi regset.ABI, r *Reg, want, got []byte) string {
	return fmt.Sprintf("%s: want %x got %x", r.Name, r.value(abi, want), r.value(abi, got))
}
