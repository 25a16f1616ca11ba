package image

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// coder reads or writes the fields of a record, in the order in which the
// record names them. One list of fields serves both directions, so that they
// cannot differ. All integers are little endian; docs/format.md describes the
// encodings.
//
// The first error sticks; later calls do nothing.
type coder struct {
	buf     []byte // what is left to read, or what has been written
	writing bool
	err     error
}

// errShort is the reason of a record that ends before its last field.
var errShort = errors.New("record ends within a field")

func (c *coder) take(n int) []byte {
	if c.err != nil {
		return nil
	}
	if len(c.buf) < n {
		c.err = errShort
		return nil
	}
	b := c.buf[:n]
	c.buf = c.buf[n:]
	return b
}

func (c *coder) u8(p *uint8) {
	if c.writing {
		c.buf = append(c.buf, *p)
	} else if b := c.take(1); b != nil {
		*p = b[0]
	}
}

func (c *coder) u16(p *uint16) {
	if c.writing {
		c.buf = append(c.buf, byte(*p), byte(*p>>8))
	} else if b := c.take(2); b != nil {
		*p = binary.LittleEndian.Uint16(b)
	}
}

func (c *coder) u32(p *uint32) {
	if c.writing {
		var b [4]byte
		binary.LittleEndian.PutUint32(b[:], *p)
		c.buf = append(c.buf, b[:]...)
	} else if b := c.take(4); b != nil {
		*p = binary.LittleEndian.Uint32(b)
	}
}

func (c *coder) u64(p *uint64) {
	if c.writing {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], *p)
		c.buf = append(c.buf, b[:]...)
	} else if b := c.take(8); b != nil {
		*p = binary.LittleEndian.Uint64(b)
	}
}

func (c *coder) i32(p *int32) {
	u := uint32(*p)
	c.u32(&u)
	*p = int32(u)
}

func (c *coder) i64(p *int64) {
	u := uint64(*p)
	c.u64(&u)
	*p = int64(u)
}

// flag is one byte, 0 or 1.
func (c *coder) flag(p *bool) {
	var b uint8
	if *p {
		b = 1
	}
	c.u8(&b)
	if b > 1 && c.err == nil {
		c.err = fmt.Errorf("flag is %d, neither 0 nor 1", b)
	}
	*p = b == 1
}

// bytes is a 32-bit length and that many bytes.
func (c *coder) bytes(p *[]byte) {
	n := c.count(len(*p), 1)
	if c.writing {
		c.buf = append(c.buf, *p...)
	} else if b := c.take(n); b != nil {
		*p = append([]byte(nil), b...)
	}
}

func (c *coder) str(p *string) {
	b := []byte(*p)
	c.bytes(&b)
	*p = string(b)
}

// count is the 32-bit number of elements that follow. When reading, it is no
// larger than what the rest of the record can hold if an element takes at least
// size bytes, so that no length in a file makes the reader allocate.
func (c *coder) count(n, size int) int {
	if c.writing && n > math.MaxUint32>>1 {
		c.err = fmt.Errorf("%d elements in a list", n)
		return 0
	}
	u := uint32(n)
	c.u32(&u)
	if c.err != nil {
		return 0
	}
	if !c.writing && uint64(u)*uint64(size) > uint64(len(c.buf)) {
		c.err = fmt.Errorf("a list of %d elements in %d bytes", u, len(c.buf))
		return 0
	}
	return int(u)
}

// u32s is a list of 32-bit integers.
func (c *coder) u32s(p *[]uint32) {
	n := c.count(len(*p), 4)
	if !c.writing && n > 0 {
		*p = make([]uint32, n)
	}
	for i := range *p {
		c.u32(&(*p)[i])
	}
}

// blobs is a list of byte strings.
func (c *coder) blobs(p *[][]byte) {
	n := c.count(len(*p), 4)
	if !c.writing && n > 0 {
		*p = make([][]byte, n)
	}
	for i := range *p {
		c.bytes(&(*p)[i])
	}
}
