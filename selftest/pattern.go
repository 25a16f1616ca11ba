package selftest

import (
	"encoding/binary"

	"cr/regset"
)

// pattern is words first+1, first+2, ... of the pattern of targets/pattern.inc,
// in the byte order of the task, each inverted by flip.
func pattern(order binary.ByteOrder, first, words int, flip uint32) []byte {
	b := make([]byte, 4*words)
	for i := 0; i < words; i++ {
		order.PutUint32(b[4*i:], uint32(first+i+1)*0x9e3779b1^flip)
	}
	return b
}

// number is v as the task stores it in size bytes.
func number(order binary.ByteOrder, size int, v uint64) []byte {
	b := make([]byte, 8)
	if order == binary.ByteOrder(binary.BigEndian) {
		order.PutUint64(b, v<<uint(64-8*size))
	} else {
		order.PutUint64(b, v)
	}
	return b[:size]
}

// Reg is one register as a target's dump holds it. P and Q are the bytes that
// the program loads, in the byte order of the task.
type Reg struct {
	Name string
	P, Q []byte

	// Mask has the bits that count; nil if all do.
	Mask []byte

	// CallMask has the bits that count after a checkpoint of oneself, where
	// the system call changes some by the ABI; nil if it changes none.
	CallMask []byte

	// Unit is the size in bytes of the numbers that the register is stored
	// as, 0 if it is one number.
	Unit int
}

// value is bytes of the register as people read them, in hex digits, most
// significant byte first.
func (r *Reg) value(abi regset.ABI, b []byte) []byte {
	if abi.BigEndian {
		return b
	}
	unit := r.Unit
	if unit == 0 {
		unit = len(b)
	}
	v := make([]byte, len(b))
	for at := 0; at < len(b); at += unit {
		for i := 0; i < unit; i++ {
			v[at+i] = b[at+unit-1-i]
		}
	}
	return v
}

// layout builds the list of registers of a class, in the order of the dump.
type layout struct {
	abi  regset.ABI
	regs []Reg
	word int // of the pattern
}

// filled appends a register of size bytes that holds the next of the pattern.
func (l *layout) filled(name string, size int) *Reg {
	order := l.abi.Order()
	n := size / 4
	l.regs = append(l.regs, Reg{
		Name: name,
		P:    pattern(order, l.word, n, 0),
		Q:    pattern(order, l.word, n, 0xffffffff),
	})
	l.word += n
	return &l.regs[len(l.regs)-1]
}

// fixed appends a register with values of its own.
func (l *layout) fixed(name string, size int, p, q uint64) *Reg {
	order := l.abi.Order()
	l.regs = append(l.regs, Reg{Name: name, P: number(order, size, p), Q: number(order, size, q)})
	return &l.regs[len(l.regs)-1]
}

// clobbered says that system calls change the register.
func (r *Reg) clobbered() { r.CallMask = make([]byte, len(r.P)) }

// same reports whether a and b have the same bits where mask has ones.
func same(a, b, mask []byte) bool {
	for i := range a {
		d := a[i] ^ b[i]
		if mask != nil {
			d &= mask[i]
		}
		if d != 0 {
			return false
		}
	}
	return true
}
