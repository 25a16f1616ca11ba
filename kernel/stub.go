package kernel

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"cr/regset"
)

//go:generate stub/generate

// stubCode is the machine code of the program that a restart begins with: it
// waits to be taken over, and can be the init of a pid namespace.
type stubCode struct {
	init int // offset of the init loop
	text []byte
}

// stubAddress is where the stub is mapped: the lowest address that every user
// may map, where no linker puts a program.
const stubAddress = 0x10000

// stubKind is what a process gets by execve, and what no later call changes.
type stubKind struct {
	abi    regset.ABI
	elfV1  bool   // signal handlers, and the entry, are function descriptors
	layout uint32 // lowLayout if that is what mappings are to be found by
}

// stubELF makes a static ELF program of the stub.
func stubELF(kind stubKind) ([]byte, error) {
	abi := kind.abi
	code, ok := stubCodes[abi]
	if !ok {
		return nil, fmt.Errorf("no stub for %s: %w", abi, unix.ENOEXEC)
	}
	l := layoutOf(abi)
	var b bytes.Buffer
	put := func(size int, v uint64) {
		var w [8]byte
		switch size {
		case 2:
			l.order.PutUint16(w[:], uint16(v))
		case 4:
			l.order.PutUint32(w[:], uint32(v))
		case 8:
			l.order.PutUint64(w[:], v)
		}
		b.Write(w[:size])
	}
	long := func(v uint64) { put(l.word, v) }
	class, headerSize, segmentSize := byte(2), uint64(64), uint64(56)
	if l.word == 4 {
		class, headerSize, segmentSize = 1, 52, 32
	}
	data := byte(1) // ELFDATA2LSB
	if abi.BigEndian {
		data = 2
	}
	const segments = 2
	text := headerSize + segments*segmentSize
	size := text + uint64(len(code.text))
	entry, flags := uint64(stubAddress+text), uint64(0)
	if abi.Machine == regset.EMPPC64 {
		if flags = 2; kind.elfV1 {
			entry, flags = stubAddress+size, 1
			size += 3 * 8
		}
	}

	b.Write([]byte{0x7f, 'E', 'L', 'F', class, data, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	put(2, 2) // ET_EXEC
	put(2, uint64(abi.Machine))
	put(4, 1)
	long(entry)
	long(headerSize) // program headers
	long(0)
	put(4, flags)
	put(2, headerSize)
	put(2, segmentSize)
	put(2, segments)
	put(2, 0)
	put(2, 0)
	put(2, 0)

	segment := func(kind, flags, addr, size, align uint64) {
		put(4, kind)
		if l.word == 8 {
			put(4, flags)
		}
		long(0)
		long(addr)
		long(addr)
		long(size)
		long(size)
		if l.word == 4 {
			put(4, flags)
		}
		long(align)
	}
	const load, gnuStack, read, write, exec = 1, 0x6474e551, 4, 2, 1
	segment(load, read|exec, stubAddress, size, 0x10000)
	segment(gnuStack, read|write, 0, 0, 16)
	b.Write(code.text)
	if flags == 1 {
		long(stubAddress + text)
		long(0)
		long(0)
	}
	return b.Bytes(), nil
}

// stubText is the address at which the stub's code begins.
func stubText(abi regset.ABI) uint64 {
	if abi.WordSize() == 4 {
		return stubAddress + 52 + 2*32
	}
	return stubAddress + 64 + 2*56
}

// stubFile gives an open file that can be executed to start the stub.
func stubFile(kind stubKind) (*os.File, error) {
	elf, err := stubELF(kind)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("cr-stub", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "cr-stub")
	if _, err := f.Write(elf); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
