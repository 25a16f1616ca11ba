// Package core makes ELF core files of processes in an image, as the kernel
// writes them when a process dies (core(5), fs/binfmt_elf.c): for gdb, readelf
// and their kin. It works for all machines on any host.
package core

import (
	"fmt"
	"io"

	"cr/image"
	"cr/regset"
)

// Write writes the core file of a process. It reads the memory of the image to
// its end from rd. Memory that is in files, and not in the image, is not in the
// core file either; a debugger takes it from the files.
//
// Zero pages are left out of w as holes. w must be empty.
func Write(w io.WriterAt, m *image.Image, rd *image.Reader, pid uint32) error {
	p := m.Process(pid)
	if p == nil {
		return fmt.Errorf("there is no process %d in the image", pid)
	}
	if p.State == image.Zombie {
		return fmt.Errorf("process %d is a zombie: it has no memory and no registers", pid)
	}
	abi := m.CPUOf(pid).State.ABI
	for _, t := range m.TasksOf(p) {
		if a := m.CPUOf(t.TID).State.ABI; a != abi {
			return fmt.Errorf("task %d is of %v, its process of %v: no core file can have both", t.TID, a, abi)
		}
	}
	mem := newMemory(w, m, p)
	if err := rd.Each(mem.add); err != nil {
		return err
	}
	segments, err := mem.segments()
	if err != nil {
		return err
	}
	n := &notes{encoder: encoder{abi: abi}, m: m, p: p, args: mem.args}
	if err := n.all(); err != nil {
		return err
	}
	return finish(w, n.encoder, mem.end, segments, n.buf)
}

// encoder appends integers in a task's byte order and word size.
type encoder struct {
	abi regset.ABI
	buf []byte
}

func (e *encoder) u16(v uint16) {
	var b [2]byte
	e.abi.Order().PutUint16(b[:], v)
	e.buf = append(e.buf, b[:]...)
}

func (e *encoder) u32(v uint32) {
	var b [4]byte
	e.abi.Order().PutUint32(b[:], v)
	e.buf = append(e.buf, b[:]...)
}

func (e *encoder) u64(v uint64) {
	var b [8]byte
	e.abi.Order().PutUint64(b[:], v)
	e.buf = append(e.buf, b[:]...)
}

// word is an unsigned long, or an address.
func (e *encoder) word(v uint64) {
	if e.abi.WordSize() == 4 {
		e.u32(uint32(v))
	} else {
		e.u64(v)
	}
}

// align pads with zeros to a multiple of n bytes.
func (e *encoder) align(n int) {
	for len(e.buf)%n != 0 {
		e.buf = append(e.buf, 0)
	}
}

// text is an array of n characters that ends in a NUL.
func (e *encoder) text(s string, n int) {
	b := make([]byte, n)
	copy(b[:n-1], s)
	e.buf = append(e.buf, b...)
}
