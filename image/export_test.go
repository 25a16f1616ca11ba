package image

import "hash/crc32"

// Records is the metadata in the order in which it is written.
func (m *Image) Records() []record { return m.records() }

// Samples is one empty record of each structured kind.
func Samples() []record {
	return []record{
		new(Header), new(Process), new(Task), new(CPU), new(MM), new(FS), new(Sighand), new(Files),
		new(File), new(Pipe), new(Shm),
		new(Socket), new(Epoll), new(Inotify), new(Pty), new(Seccomp), new(Queue), new(Semaphores), new(Namespaces), new(Shares), new(memory), new(runs), new(tail),
	}
}

// TagOf is the tag of a record.
func TagOf(r record) Tag { return r.tag() }

// Encode is the payload of a record.
func Encode(r record) ([]byte, error) {
	c := coder{writing: true}
	r.fields(&c)
	return c.buf, c.err
}

// Decode reads the payload of a record into r.
func Decode(r record, payload []byte) (rest int, err error) {
	c := coder{buf: payload}
	r.fields(&c)
	return len(c.buf), c.err
}

// Raw writes a record of any tag, flags and contents.
func (w *Writer) Raw(h Head, payload []byte) error {
	w.head(&head{tag: h.Tag, flags: h.Flags, length: h.Length, pad: h.Pad, sum: h.Sum})
	w.write(payload)
	return w.err
}

// Head is what a record's head says.
type Head struct {
	Tag    Tag
	Flags  uint32
	Length uint64
	Pad    uint32
	Sum    uint32
}

// Sum is the checksum of the format.
func Sum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// Known reports whether a tag is one of the format.
func Known(t Tag) bool { return t.known() }

// VMAUnknown is the lowest flag of a mapping without a meaning.
const VMAUnknown = vmaUnknown

// Record is a structured record.
type Record = record
