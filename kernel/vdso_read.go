package kernel

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"cr/regset"
)

// vdso is the kernel's vdso in a process.
type vdso struct {
	start   uint64
	content []byte // as the kernel has made it

	// Where in it undo code has its place: behind the ELF image, where nothing is,
	// and, in the last page, behind its segments: symbols and section headers are
	// there, for debuggers. The size of content if there is no such place.
	image, segments uint64

	left uint64 // where a kernel side that was killed has left undo code; 0 if nowhere
}

// readVDSO reads the vdso of a process; nil if it has none.
func (p *process) readVDSO() (*vdso, error) {
	areas, err := readAreas(p.pid, false)
	if err != nil {
		return nil, err
	}
	for i := range areas {
		if areas[i].name != "[vdso]" {
			continue
		}
		mem := p.mem
		if mem.f == nil {
			if mem, err = openMemory(p.pid); err != nil {
				return nil, err
			}
			defer mem.close()
		}
		v, err := mem.readVDSO(&areas[i])
		if err != nil {
			return nil, fmt.Errorf("pid %d: %w", p.pid, err)
		}
		return v, nil
	}
	return nil, nil
}

// readVDSO reads a vdso, without what a kernel side that was killed has left in it.
func (m memory) readVDSO(a *area) (*vdso, error) {
	v := &vdso{start: a.start, content: make([]byte, a.end-a.start)}
	if err := m.read(a.start, v.content); err != nil {
		return nil, err
	}
	size := uint64(len(v.content))
	v.image, v.segments = size, size
	f := withoutSections(v.content)
	if f == nil {
		return v, nil
	}
	v.segments = endOfSegments(f)
	if page := size - uint64(os.Getpagesize()); v.segments < page {
		v.segments = page
	}
	if v.segments > size {
		v.segments = size
	}
	if hasUndo(v.content[v.segments:]) {
		v.left = v.segments
		abi := regset.ABI{Machine: uint16(f.Machine), BigEndian: f.Data == elf.ELFDATA2MSB}
		whole, err := kernelVDSO(abi)
		if err == nil && len(whole) != len(v.content) {
			err = fmt.Errorf("it has %d bytes, the kernel's %d: %w", len(v.content), len(whole), unix.EOPNOTSUPP)
		}
		if err != nil {
			return nil, fmt.Errorf("restore the vdso, in which a checkpoint that was killed has left code: %w", err)
		}
		copy(v.content[v.left:], whole[v.left:])
	}
	end := endOfImage(v.content)
	if end == 0 || end >= size {
		return v, nil
	}
	rest := v.content[end:]
	if hasUndo(rest) {
		v.left = end
		for i := range rest {
			rest[i] = 0
		}
	}
	if len(bytes.Trim(rest, "\x00")) == 0 && !noRoomBehind {
		v.image = end
	}
	return v, nil
}

// noRoomBehind, set by tests only, leaves undo code no place behind an ELF image.
var noRoomBehind bool

func hasUndo(b []byte) bool { return bytes.HasPrefix(b, []byte(undoMagic)) }

// withoutSections parses the header and the segments of a vdso; nil if it is no
// ELF image. There may be other things where its sections were.
func withoutSections(content []byte) *elf.File {
	const class = 4
	if len(content) < 64 {
		return nil
	}
	b := append([]byte(nil), content...)
	// e_shoff; e_shnum and e_shstrndx.
	tableAt, tableSize, countAt := 40, 8, 60
	if elf.Class(b[class]) == elf.ELFCLASS32 {
		tableAt, tableSize, countAt = 32, 4, 48
	}
	for _, s := range []struct{ at, size int }{{tableAt, tableSize}, {countAt, 4}} {
		copy(b[s.at:s.at+s.size], make([]byte, s.size))
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil
	}
	return f
}

// endOfSegments is where the last segment of an ELF image ends, rounded up.
func endOfSegments(f *elf.File) (end uint64) {
	for _, s := range f.Progs {
		if s.Type == elf.PT_LOAD && s.Off+s.Memsz > end {
			end = s.Off + s.Memsz
		}
	}
	return aligned(end)
}

// aligned rounds up to what undo code is aligned to.
func aligned(at uint64) uint64 { return (at + 63) &^ 63 }

// endOfImage is the size of the ELF image of a vdso, rounded up; 0 if it is none.
func endOfImage(content []byte) uint64 {
	f, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return 0
	}
	l := layout{f.ByteOrder, 8}
	// e_shoff, e_shentsize and e_shnum of the ELF header.
	tableAt, entryAt := 40, 58
	if f.Class == elf.ELFCLASS32 {
		l.word, tableAt, entryAt = 4, 32, 46
	}
	end := l.long(content[tableAt:], 0) +
		uint64(l.order.Uint16(content[entryAt:]))*uint64(l.order.Uint16(content[entryAt+2:]))
	for _, s := range f.Sections {
		if s.Type != elf.SHT_NOBITS && s.Offset+s.FileSize > end {
			end = s.Offset + s.FileSize
		}
	}
	if last := endOfSegments(f); last > end {
		end = last
	}
	return aligned(end)
}

// kernelVDSO reads the vdso that the kernel gives to programs of an ABI, from one
// that is started for it.
func kernelVDSO(abi regset.ABI) ([]byte, error) {
	f, err := stubFile(stubKind{abi: abi})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// It is traced, to be stopped when execve has come to its end, and dies with
	// this thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	stub, err := os.StartProcess("/proc/self/fd/0", []string{"cr-stub"},
		&os.ProcAttr{Files: []*os.File{f}, Env: []string{}, Sys: &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}})
	if err != nil {
		return nil, fmt.Errorf("start a program of %s: %w", abi, err)
	}
	defer func() {
		_ = stub.Kill()
		_, _ = stub.Wait()
	}()
	if _, err := waitTask(stub.Pid); err != nil {
		return nil, err
	}
	v, err := (&process{pid: stub.Pid}).readVDSO()
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, fmt.Errorf("the kernel gives programs of %s none: %w", abi, unix.EOPNOTSUPP)
	}
	return v.content, nil
}
