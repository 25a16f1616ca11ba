package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Reader reads the memory of an image, after its metadata.
type Reader struct {
	r       io.Reader
	offset  int64
	records uint64
	sum     uint32 // of the heads so far
	before  uint32 // the same without the last head
	sizes   uint64 // of the records that MaxMetadata is about, so far
	image   *Image
	runs    *runsChecker
	buf     []byte
	done    bool
}

// Pages is one piece of memory: Data holds the runs one behind the other. Data
// is valid until the next call of Next.
type Pages struct {
	Owner uint32 // id of the MM, or of the Shm
	Shm   bool
	Runs  []Run
	Data  []byte

	Common bool   // others have them too: Image.Sources
	From   uint32 // of Each: id of the MM whose pages they are; 0: the owner's own
}

// Read reads the metadata of an image and checks it with Validate. The Reader
// gives the memory that follows; the image is whole only when its Next has
// returned io.EOF.
//
// Errors are those of r, and ones that wrap ErrFormat; where one record is at
// fault they are a *RecordError. Nothing behind the tail is read.
func Read(r io.Reader) (*Image, *Reader, error) {
	rd := &Reader{r: r, image: new(Image)}
	var prefix [prefixSize]byte
	if err := rd.full(prefix[:]); err != nil {
		if errors.Is(err, ErrTruncated) {
			err = ErrMagic
		}
		return nil, nil, err
	}
	if string(prefix[:8]) != magic {
		return nil, nil, ErrMagic
	}
	if v := binary.LittleEndian.Uint32(prefix[8:]); v != version {
		return nil, nil, fmt.Errorf("%w: %d, this program reads %d", ErrVersion, v, version)
	}
	if binary.LittleEndian.Uint32(prefix[12:]) != 0 {
		return nil, nil, fmt.Errorf("%w: prefix", ErrCorrupt)
	}
	for {
		h, start, err := rd.head()
		if err != nil {
			return nil, nil, err
		}
		var rec record
		switch {
		case rd.records == 1:
			if h.tag != TagHeader {
				return nil, nil, rd.fail(h, start, fmt.Errorf("%w: the first record is no header", ErrInvalid))
			}
			rec = &rd.image.Header
		case h.tag == TagMemory:
			rec = new(memory)
		default:
			rec = rd.image.add(h.tag)
		}
		if rec == nil && !h.skip() {
			return nil, nil, rd.fail(h, start, errPlace)
		}
		payload, err := rd.metadata(h, start)
		if err != nil {
			return nil, nil, err
		}
		if rec == nil {
			continue
		}
		if err := rd.decode(h, start, rec, payload); err != nil {
			return nil, nil, err
		}
		if m, ok := rec.(*memory); ok {
			rd.image.Bytes = m.Pages
			break
		}
	}
	if err := rd.image.Validate(); err != nil {
		return nil, nil, err
	}
	rd.runs = &runsChecker{m: rd.image, ends: make(map[owner]uint64), shared: make(map[uint32]uint64)}
	return rd.image, rd, nil
}

// errPlace is the reason of a record that may not be where it is.
var errPlace = fmt.Errorf("%w: not known, or out of place", ErrInvalid)

// Next returns the next piece of memory. It returns io.EOF after a tail that
// agrees with all that came before: only then is the image whole.
func (r *Reader) Next() (*Pages, error) {
	for !r.done {
		h, start, err := r.head()
		if err != nil {
			return nil, err
		}
		switch {
		case h.tag == TagRuns:
			var list runs
			if err := r.small(h, start, &list); err != nil {
				return nil, err
			}
			if err := r.runs.check(&list); err != nil {
				return nil, r.fail(h, start, err)
			}
			return r.pages(&list)
		case h.tag == TagTail:
			var t tail
			if err := r.small(h, start, &t); err != nil {
				return nil, err
			}
			if t.Records != r.records-1 || t.Sum != r.before {
				return nil, r.fail(h, start, fmt.Errorf("%w: records are missing, doubled or out of order", ErrCorrupt))
			}
			r.done = true
		case h.skip():
			if _, err := r.metadata(h, start); err != nil {
				return nil, err
			}
		default:
			return nil, r.fail(h, start, errPlace)
		}
	}
	return nil, io.EOF
}

// metadata reads the payload of a record that counts towards MaxMetadata.
func (r *Reader) metadata(h head, start int64) ([]byte, error) {
	if r.sizes += headSize; r.sizes > MaxMetadata || h.length > MaxMetadata-r.sizes {
		return nil, r.fail(h, start, fmt.Errorf("%w: %d bytes long: the records would take more than %d", ErrInvalid, h.length, MaxMetadata))
	}
	r.sizes += h.length
	return r.payload(h, start, MaxMetadata)
}

// small reads the payload of a runs record or of the tail, and its fields.
func (r *Reader) small(h head, start int64, rec record) error {
	payload, err := r.payload(h, start, maxRuns)
	if err != nil {
		return err
	}
	return r.decode(h, start, rec, payload)
}

// pages reads the pages record that belongs to a list of runs.
func (r *Reader) pages(list *runs) (*Pages, error) {
	h, start, err := r.head()
	if err != nil {
		return nil, err
	}
	var want uint64
	for _, run := range list.List {
		want += run.Len
	}
	if h.tag != TagPages || h.length != want {
		return nil, r.fail(h, start, fmt.Errorf("%w: %d bytes of pages should follow their runs", ErrInvalid, want))
	}
	data, err := r.payload(h, start, MaxPages)
	if err != nil {
		return nil, err
	}
	common := !list.Shm && r.image.sharedRun(list.Owner, list.List[0])
	return &Pages{Owner: list.Owner, Shm: list.Shm, Runs: list.List, Data: data, Common: common}, nil
}

// full fills b, or fails with ErrTruncated where the stream ends.
func (r *Reader) full(b []byte) error {
	n, err := io.ReadFull(r.r, b)
	r.offset += int64(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w at byte %d", ErrTruncated, r.offset)
	}
	return err
}

func (r *Reader) head() (h head, start int64, err error) {
	start = r.offset
	var b [headSize]byte
	if err := r.full(b[:]); err != nil {
		return h, start, err
	}
	if !h.get(b[:]) {
		return h, start, &RecordError{0, r.records, start, fmt.Errorf("%w: checksum of the record's head", ErrCorrupt)}
	}
	if h.flags&^skippable != 0 || h.flags != 0 && h.tag.known() || binary.LittleEndian.Uint32(b[24:]) != 0 {
		return h, start, &RecordError{h.tag, r.records, start, fmt.Errorf("%w: flags %#x", ErrInvalid, h.flags)}
	}
	r.before = r.sum
	r.sum = crc32.Update(r.sum, castagnoli, b[:summed])
	r.records++
	return h, start, nil
}

func (r *Reader) fail(h head, start int64, err error) error {
	return &RecordError{h.tag, r.records - 1, start, err}
}

// payload reads padding and payload of a record. The result is valid until the
// next call.
func (r *Reader) payload(h head, start int64, limit uint64) ([]byte, error) {
	if h.length > limit {
		return nil, r.fail(h, start, fmt.Errorf("%w: %d bytes long", ErrInvalid, h.length))
	}
	if uint64(h.pad) != r.padding(h) {
		return nil, r.fail(h, start, fmt.Errorf("%w: %d bytes of padding", ErrInvalid, h.pad))
	}
	pad, _, err := r.read(uint64(h.pad))
	if err != nil {
		return nil, err
	}
	for _, z := range pad {
		if z != 0 {
			return nil, r.fail(h, start, fmt.Errorf("%w: padding is not zero", ErrCorrupt))
		}
	}
	b, sum, err := r.read(h.length)
	if err != nil {
		return nil, err
	}
	if sum != h.sum {
		return nil, r.fail(h, start, fmt.Errorf("%w: checksum", ErrCorrupt))
	}
	return b, nil
}

// padding is how much of it lies between the head of a record, which was just
// read, and the payload.
func (r *Reader) padding(h head) uint64 {
	if h.tag != TagPages {
		return 0
	}
	size := uint64(r.image.Header.PageSize)
	return -uint64(r.offset) & (size - 1)
}

// chunk is how much is read at once: little enough to be in the processor's
// cache when its checksum is computed, in bytes.
const chunk = 256 << 10

// read reads n bytes into the reader's buffer and returns their checksum too. A
// length that the stream does not hold costs no memory: beyond MaxPages, the
// buffer grows as bytes arrive.
func (r *Reader) read(n uint64) (b []byte, sum uint32, err error) {
	if n > MaxPages {
		var all bytes.Buffer
		got, err := io.CopyN(&all, r.r, int64(n))
		r.offset += got
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w at byte %d", ErrTruncated, r.offset)
		}
		return all.Bytes(), crc32.Checksum(all.Bytes(), castagnoli), err
	}
	if n > uint64(cap(r.buf)) {
		r.buf = make([]byte, n, grown(n))
	}
	r.buf = r.buf[:n]
	for rest := r.buf; len(rest) > 0 && err == nil; {
		part := rest
		if len(part) > chunk {
			part = part[:chunk]
		}
		err = r.full(part)
		sum = crc32.Update(sum, castagnoli, part)
		rest = rest[len(part):]
	}
	return r.buf, sum, err
}

// grown is the capacity of a buffer that shall hold n bytes.
func grown(n uint64) uint64 {
	c := uint64(4 << 10)
	for c < n {
		c *= 2
	}
	return c
}

// decode reads the fields of a record.
func (r *Reader) decode(h head, start int64, rec record, payload []byte) error {
	c := coder{buf: payload}
	rec.fields(&c)
	if c.err != nil {
		return r.fail(h, start, fmt.Errorf("%w: %v", ErrInvalid, c.err))
	}
	if len(c.buf) != 0 {
		return r.fail(h, start, fmt.Errorf("%w: %d bytes after the last field", ErrInvalid, len(c.buf)))
	}
	return nil
}
