package image

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// Writer writes an image to a stream: the metadata first, then memory, then,
// by Close, the tail. An image without its tail is refused by the reader.
type Writer struct {
	w        *bufio.Writer
	offset   int64
	records  uint64
	sum      uint32 // of the heads so far
	pageSize int64
	zeros    []byte
	err      error
}

// NewWriter writes the metadata of an image and returns a Writer for what
// follows. The metadata is written as it is, valid or not: a tool that changes
// an image on purpose can. Counts in the header are set here.
func NewWriter(w io.Writer, m *Image) (*Writer, error) {
	m.Header.Tasks = uint32(len(m.Tasks))
	wr := &Writer{w: bufio.NewWriterSize(w, 64<<10), pageSize: int64(m.Header.PageSize)}
	if wr.pageSize < 512 || wr.pageSize > 1<<20 {
		return nil, fmt.Errorf("%w: page size %d", ErrInvalid, wr.pageSize)
	}
	wr.zeros = make([]byte, wr.pageSize)
	var prefix [prefixSize]byte
	copy(prefix[:], magic)
	binary.LittleEndian.PutUint32(prefix[8:], version)
	wr.write(prefix[:])
	for _, r := range append(m.records(), &memory{m.Bytes}) {
		if err := wr.record(r); err != nil {
			return nil, err
		}
		if wr.offset-prefixSize > MaxMetadata {
			return nil, fmt.Errorf("%s: %w", r.tag(), ErrTooLarge)
		}
	}
	return wr, nil
}

func (w *Writer) write(b []byte) {
	if w.err != nil {
		return
	}
	n, err := w.w.Write(b)
	w.offset += int64(n)
	w.err = err
}

func (w *Writer) head(h *head) {
	var b [headSize]byte
	h.put(b[:])
	w.sum = crc32.Update(w.sum, castagnoli, b[:summed])
	w.records++
	w.write(b[:])
}

func (w *Writer) record(r record) error {
	c := coder{writing: true}
	r.fields(&c)
	if c.err != nil {
		return fmt.Errorf("%s: %w", r.tag(), c.err)
	}
	w.head(&head{tag: r.tag(), length: uint64(len(c.buf)), sum: crc32.Checksum(c.buf, castagnoli)})
	w.write(c.buf)
	return w.err
}

// Pages writes the contents of memory of an MM, or of a Shm where shm is set:
// data holds the runs one behind the other, at most MaxPages in all. The data
// lies page aligned in the stream.
func (w *Writer) Pages(owner uint32, shm bool, list []Run, data []byte) error {
	if w.err != nil {
		return w.err
	}
	if len(data) > MaxPages {
		return fmt.Errorf("%w: %d bytes in one pages record", ErrInvalid, len(data))
	}
	if err := w.record(&runs{owner, shm, list}); err != nil {
		return err
	}
	pad := (w.pageSize - (w.offset+headSize)%w.pageSize) % w.pageSize
	w.head(&head{tag: TagPages, length: uint64(len(data)), pad: uint32(pad), sum: crc32.Checksum(data, castagnoli)})
	w.write(w.zeros[:pad])
	if w.err == nil {
		w.err = w.w.Flush()
	}
	w.write(data)
	return w.err
}

// Offset is how many bytes have been written.
func (w *Writer) Offset() int64 { return w.offset }

// Close writes the tail, without which the image is not whole, and flushes. It
// does not close the stream.
func (w *Writer) Close() error {
	if w.err != nil {
		return w.err
	}
	if err := w.record(&tail{w.records, w.sum}); err != nil {
		return err
	}
	return w.w.Flush()
}
