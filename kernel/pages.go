package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"cr/image"
)

// chunkSize is how much memory is read and written at a time, in bytes: little
// enough to stay in the cache between the two.
const chunkSize = 512 << 10

// smallChunk is the same where there is little to save: the first touch of a
// buffer's pages then costs more than the calls that a larger one saves.
const smallChunk = 128 << 10

// maxRuns is how many runs are read by one call (IOV_MAX).
const maxRuns = 1024

// memoryPart is the memory of one MM that shall be saved.
type memoryPart struct {
	process *process
	owner   uint32
	vmas    []image.VMA
	whole   map[uint64]bool // by start, the mappings all of whose pages are saved
	runs    []image.Run     // addresses in the process, ascending
	common  []image.Run     // the same, of pages that processes behind it in the list have as well
	shared  []image.Run     // where other processes, of the tree or not, may have pages as well
	regions []pageRegion    // where PAGEMAP_SCAN answers: on the heap, so that it stays in place
}

// pageRegion is struct page_region.
type pageRegion struct{ start, end, categories uint64 }

func (m *memoryPart) bytes() uint64 { return bytesOf(m.runs) + bytesOf(m.common) }

func bytesOf(runs []image.Run) (n uint64) {
	for _, r := range runs {
		n += r.Len
	}
	return n
}

// add appends a run, or lengthens the last one.
func (m *memoryPart) add(start, end uint64) {
	if n := len(m.runs); n > 0 && m.runs[n-1].Addr+m.runs[n-1].Len == start {
		m.runs[n-1].Len += end - start
		return
	}
	m.runs = append(m.runs, image.Run{Addr: start, Len: end - start})
}

// Categories and flags of PAGEMAP_SCAN (include/uapi/linux/fs.h).
const (
	pagemapScan   = 0xc0606610
	pageIsFile    = 1 << 2
	pageIsPresent = 1 << 3
	pageIsSwapped = 1 << 4
	pageIsZero    = 1 << 5
)

// find lists the pages that have contents of their own: those of private
// mappings that have been written to. Pages never touched, the zero page in
// anonymous memory, and pages of a file that are as they are in the file, need
// not be saved.
func (m *memoryPart) find() error {
	f, err := os.Open(procPath(m.process.pid, "pagemap"))
	if err != nil {
		return err
	}
	defer f.Close()
	scan := scanPagemap
	for i := range m.vmas {
		v := &m.vmas[i]
		if m.whole[v.Start] {
			m.add(v.Start, v.End)
			continue
		}
		err := scan(f, m, v)
		if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL) {
			scan = readPagemap // a kernel before 6.7
			err = scan(f, m, v)
		}
		if err != nil {
			return fmt.Errorf("pages of %x-%x: %w", v.Start, v.End, err)
		}
	}
	return nil
}

// scanPagemap finds the pages of a mapping with the PAGEMAP_SCAN ioctl.
func scanPagemap(f *os.File, m *memoryPart, v *image.VMA) error {
	if m.regions == nil {
		m.regions = make([]pageRegion, 512)
	}
	regions := m.regions
	arg := struct {
		size, flags, start, end, walkEnd, vec, vecLen, maxPages uint64
		inverted, mask, anyof, result                           uint64
	}{
		start:  v.Start,
		end:    v.End,
		vec:    uint64(uintptr(unsafe.Pointer(&regions[0]))),
		vecLen: uint64(len(regions)),
		mask:   pageIsFile, inverted: pageIsFile,
		anyof:  pageIsPresent | pageIsSwapped,
		result: pageIsPresent,
	}
	arg.size = uint64(unsafe.Sizeof(arg))
	if v.Kind == image.Anon {
		arg.mask |= pageIsZero
		arg.inverted |= pageIsZero
	}
	for arg.start < v.End {
		n, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), pagemapScan, uintptr(unsafe.Pointer(&arg)))
		if e != 0 {
			return e
		}
		for _, r := range regions[:n] {
			m.add(r.start, r.end)
		}
		if arg.walkEnd <= arg.start {
			return nil
		}
		arg.start = arg.walkEnd
	}
	return nil
}

// readPagemap finds the pages of a mapping by reading /proc/PID/pagemap
// (Documentation/admin-guide/mm/pagemap.rst). It cannot tell the zero page.
func readPagemap(f *os.File, m *memoryPart, v *image.VMA) error {
	const file, swapped, present = 1 << 61, 1 << 62, 1 << 63
	page := uint64(os.Getpagesize())
	buf := make([]byte, 64<<10)
	for at := v.Start; at < v.End; {
		want := (v.End - at) / page * 8
		if want > uint64(len(buf)) {
			want = uint64(len(buf))
		}
		n, err := f.ReadAt(buf[:want], int64(at/page*8))
		if n == 0 && err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if n < 8 {
			return fmt.Errorf("pagemap ends at %#x", at)
		}
		for i := 0; i+8 <= n; i += 8 {
			entry := hostOrder.Uint64(buf[i:])
			if entry&(present|swapped) != 0 && entry&file == 0 {
				m.add(at, at+page)
			}
			at += page
		}
	}
	return nil
}

// pages writes the memory of the tree.
func (s *saver) pages(w *image.Writer) error {
	var done uint64
	note := func(n uint64) {
		if done += n; s.options.Progress != nil {
			s.options.Progress(done, s.img.Bytes)
		}
	}
	pieces := newPieceWriter(w, s.img.Bytes)
	err := s.privatePages(pieces, note)
	if e := pieces.close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return s.shmPages(pieces.buffer(), func(owner uint32, runs []image.Run, data []byte) error {
		defer note(uint64(len(data)))
		return w.Pages(owner, true, runs, data)
	})
}

// privatePages writes the private memory of the tree: first the pages that
// several processes have.
func (s *saver) privatePages(w *pieceWriter, note func(uint64)) error {
	buf := w.buffer()
	var err error
	for i := range s.memory {
		if m := &s.memory[i]; err == nil {
			buf, err = m.write(w, m.common, buf, note)
		}
	}
	for i := range s.memory {
		if m := &s.memory[i]; err == nil {
			buf, err = m.write(w, m.runs, buf, note)
		}
	}
	if err == nil {
		w.free <- buf
	}
	return err
}

// write writes runs of a process's memory, by way of a buffer. It returns
// another one.
func (m *memoryPart) write(w *pieceWriter, runs []image.Run, buf []byte, note func(uint64)) ([]byte, error) {
	var batch []image.Run
	size := uint64(0)
	flush := func() error {
		if size == 0 {
			return nil
		}
		data := buf[:size]
		read := m.process.readRuns
		if m.mayBeShared(batch) {
			read = m.process.readShared
		}
		if err := read(batch, data); err != nil {
			return err
		}
		if err := w.write(piece{m.owner, batch, data}); err != nil {
			return err
		}
		note(size)
		buf, batch, size = w.buffer(), nil, 0
		return nil
	}
	for _, r := range runs {
		for r.Len > 0 {
			n := uint64(len(buf)) - size
			if r.Len < n {
				n = r.Len
			}
			batch = append(batch, image.Run{Addr: r.Addr, Len: n})
			size += n
			r.Addr += n
			r.Len -= n
			if size == uint64(len(buf)) || len(batch) == maxRuns {
				if err := flush(); err != nil {
					return nil, err
				}
			}
		}
	}
	return buf, flush()
}

// readRuns reads runs of a process's memory into data, one behind the other.
func (p *process) readRuns(list []image.Run, data []byte) error {
	local := unix.Iovec{Base: &data[0]}
	local.SetLen(len(data))
	if remote, ok := iovecs(list); ok {
		n, err := processVMReadv(p.pid, &local, remote)
		if err == nil && n == len(data) {
			return nil
		}
	}
	// Some page may not be read by the process itself, or lies beyond what this
	// program can address.
	return p.readShared(list, data)
}

// readShared is readRuns for pages that another process may have as well, and
// leaves them so: process_vm_readv(2) pins what it reads, and to pin a page that
// others have the kernel makes the process a copy of it (mm/internal.h,
// gup_must_unshare).
func (p *process) readShared(list []image.Run, data []byte) error {
	at := 0
	for _, r := range list {
		if err := p.mem.read(r.Addr, data[at:at+int(r.Len)]); err != nil {
			return fmt.Errorf("pid %d: %w", p.pid, err)
		}
		at += int(r.Len)
	}
	return nil
}

// iovecs lists runs as iovecs; false if an address does not fit this program's
// own pointers.
func iovecs(list []image.Run) ([]unix.RemoteIovec, bool) {
	iov := make([]unix.RemoteIovec, len(list))
	for i, r := range list {
		if uint64(uintptr(r.Addr)) != r.Addr {
			return nil, false
		}
		iov[i] = unix.RemoteIovec{Base: uintptr(r.Addr), Len: int(r.Len)}
	}
	return iov, true
}

func processVMReadv(pid int, local *unix.Iovec, remote []unix.RemoteIovec) (int, error) {
	n, _, e := unix.Syscall6(unix.SYS_PROCESS_VM_READV, uintptr(pid), uintptr(unsafe.Pointer(local)), 1,
		uintptr(unsafe.Pointer(&remote[0])), uintptr(len(remote)), 0)
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// hostOrder is the byte order of this program.
var hostOrder binary.ByteOrder = func() binary.ByteOrder {
	if hostBigEndian {
		return binary.BigEndian
	}
	return binary.LittleEndian
}()
