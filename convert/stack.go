package convert

import (
	"errors"
	"fmt"

	"cr/ppc"
	"cr/regset"
	"cr/x86"
)

// A Patch is new contents of a place in the memory of a program.
type Patch struct {
	Addr uint64
	Data []byte
}

// ErrStack is the error for what is no stack of a program that is about to
// begin.
var ErrStack = errors.New("not the stack of a new program")

// maxWords bounds the search for the end of the arguments and of the
// environment: what fits into the largest that execve(2) takes (6 MiB).
const maxWords = 6 << 20 / 4

// Auxv finds the auxiliary vector of a program that is about to begin: behind
// its arguments and environment, to which the stack pointer points
// (fs/binfmt_elf.c, create_elf_tables). read reads the program's memory. The
// vector has its end with it.
func Auxv(abi regset.ABI, sp uint64, read func(addr uint64, b []byte) error) (addr uint64, auxv []byte, err error) {
	word := uint64(abi.WordSize())
	at := sp
	get := func() (uint64, error) {
		b := make([]byte, word)
		if err := read(at, b); err != nil {
			return 0, err
		}
		at += word
		return vector{abi, b}.word(0), nil
	}
	argc, err := get()
	if err != nil {
		return 0, nil, err
	}
	if argc > maxWords {
		return 0, nil, fmt.Errorf("%w: it has %d arguments", ErrStack, argc)
	}
	at += argc * word
	if end, err := get(); err != nil || end != 0 {
		return 0, nil, fmt.Errorf("%w: no end of the arguments", ErrStack)
	}
	for i := 0; ; i++ {
		v, err := get()
		if err != nil {
			return 0, nil, err
		}
		if v == 0 {
			break
		}
		if i == maxWords {
			return 0, nil, fmt.Errorf("%w: no end of the environment", ErrStack)
		}
	}
	addr = at
	const most = 64 // entries; the kernel has 23 to 40
	for i := 0; i < most; i++ {
		pair := make([]byte, 2*word)
		if err := read(at, pair); err != nil {
			return 0, nil, err
		}
		at += 2 * word
		auxv = append(auxv, pair...)
		if (vector{abi, pair}).word(0) == atNull {
			return addr, auxv, nil
		}
	}
	return 0, nil, fmt.Errorf("%w: no end of the auxiliary vector", ErrStack)
}

// HideCacheBlock leaves out of the auxiliary vector of a 32-bit powerpc program
// how much memory dcbz clears: 32 bytes on most CPUs that run 32-bit kernels, 128 on
// those that run 64-bit ones. The memset of the C library counts on it, and does
// without dcbz if it is not told.
func HideCacheBlock(abi regset.ABI, auxv []byte) {
	if abi != regset.PPC {
		return
	}
	v := vector{abi, auxv}
	for i := 0; i < v.entries(); i++ {
		if v.word(2*i) == atDCacheBSize {
			v.setWord(2*i, atIgnore)
		}
	}
}

// MovePointers changes the pointers at the start of the stack of a new program that
// has moved down by so many bytes: those of its arguments, its environment and its
// auxiliary vector that point to between start and end. b is the stack from the
// stack pointer to the end of the vector, whose place in it is vectorAt.
func MovePointers(abi regset.ABI, b []byte, vectorAt int, start, end, down uint64) {
	move := func(v vector, i int) {
		if at := v.word(i); at >= start && at < end {
			v.setWord(i, at-down)
		}
	}
	words := vector{abi, b[:vectorAt]}
	for i := 1; i < vectorAt/abi.WordSize(); i++ { // behind argc
		move(words, i)
	}
	auxv := vector{abi, b[vectorAt:]}
	for i := 0; i < auxv.entries(); i++ {
		switch auxv.word(2 * i) {
		case atPlatform, atBasePlatform, atRandom, atExecFN:
			move(auxv, 2*i+1)
		}
	}
}

// Tell changes the auxiliary vector of a program that is about to begin, which
// lies at addr, so that it tells of no more than is allowed. It returns the new
// vector, and what is to be written into the program's memory: the vector, and
// the strings that it points to. A platform whose name is too long for the
// place of the old one is left out of the vector.
func (c *CPU) Tell(abi regset.ABI, addr uint64, auxv []byte, read func(addr uint64, b []byte) error) ([]byte, []Patch, error) {
	v := vector{abi, append([]byte(nil), auxv...)}
	hwcap, hwcap2 := c.mask(abi, v.value(atHWCAP), v.value(atHWCAP2))
	var patches []Patch
	for i := 0; i < v.entries(); i++ {
		switch kind := v.word(2 * i); kind {
		case atHWCAP:
			v.setWord(2*i+1, hwcap)
		case atHWCAP2:
			v.setWord(2*i+1, hwcap2)
		case atHWCAP3, atHWCAP4:
			v.setWord(2*i+1, 0) // no bit in them is known
		case atPlatform, atBasePlatform:
			name := c.Platform
			if kind == atBasePlatform {
				name = c.BasePlatform
			}
			at := v.word(2*i + 1)
			if name == "" || at == 0 {
				continue
			}
			old, err := readString(at, read)
			if err != nil {
				return nil, nil, err
			}
			if len(name) > len(old) {
				v.setWord(2*i, atIgnore)
				continue
			}
			data := make([]byte, len(old)+1)
			copy(data, name)
			patches = append(patches, Patch{at, data})
		}
	}
	return v.b, append(patches, Patch{addr, v.b}), nil
}

// mask clears what is not allowed.
func (c *CPU) mask(abi regset.ABI, hwcap, hwcap2 uint64) (uint64, uint64) {
	if !abi.IsPPC() {
		return x86.MaskHWCAP(c.Allowed, hwcap, hwcap2)
	}
	allowed := c.Allowed
	if abi.WordSize() == 8 {
		allowed |= ppc.FeaturePPC64
	}
	return ppc.MaskHWCAP(allowed, hwcap, hwcap2)
}

// readString reads a string of a program: at most as many bytes as a platform's
// name has.
func readString(at uint64, read func(addr uint64, b []byte) error) (string, error) {
	const most = 64
	var s []byte
	for len(s) < most {
		var b [1]byte
		if err := read(at+uint64(len(s)), b[:]); err != nil {
			return "", err
		}
		if b[0] == 0 {
			break
		}
		s = append(s, b[0])
	}
	return string(s), nil
}
