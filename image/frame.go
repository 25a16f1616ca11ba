package image

import (
	"encoding/binary"
	"hash/crc32"
)

// An image begins with a prefix of 16 bytes: magic, version, and 4 zero bytes.
const (
	magic      = "CRIMAGE\n"
	version    = 1
	prefixSize = 16
)

// headSize is the size of the head of a record, in bytes.
const headSize = 32

// summed is how much of a head its own checksum covers, and the tail's, in
// bytes. The tail's must not cover the checksum of a head: a CRC over bytes and
// their CRC is the same for all bytes.
const summed = 28

// MaxPages is the most that one pages record holds, in bytes.
const MaxPages = 4 << 20

// MaxMetadata is the most that all records take but for runs, pages and tail,
// with their heads, in bytes: a reader keeps them in memory.
const MaxMetadata = 256 << 20

// minPage is the size of the smallest pages, in bytes.
const minPage = 4 << 10

// maxRuns is the most that a runs record holds, in bytes: the fields before its
// list, and runs of a page of the smallest size each.
const maxRuns = 9 + MaxPages/minPage*16

// skippable marks a record that a reader which does not know its tag may pass
// over.
const skippable = 1

// castagnoli is the polynomial of all checksums: CRC-32C, which finds every
// flipped bit and has an instruction on x86 and POWER8.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// head is the head of a record: what its 32 bytes hold.
type head struct {
	tag    Tag
	flags  uint32
	length uint64 // of the payload, in bytes
	pad    uint32 // zero bytes between head and payload
	sum    uint32 // CRC-32C of the payload
}

// skip reports whether a reader that has no use for the record passes over it.
func (h *head) skip() bool { return h.flags&skippable != 0 && !h.tag.known() }

func (h *head) put(b []byte) {
	binary.LittleEndian.PutUint32(b[0:], uint32(h.tag))
	binary.LittleEndian.PutUint32(b[4:], h.flags)
	binary.LittleEndian.PutUint64(b[8:], h.length)
	binary.LittleEndian.PutUint32(b[16:], h.pad)
	binary.LittleEndian.PutUint32(b[20:], h.sum)
	binary.LittleEndian.PutUint32(b[24:], 0)
	binary.LittleEndian.PutUint32(b[summed:], crc32.Checksum(b[:summed], castagnoli))
}

// get reads the bytes of a head, and reports whether their checksum is right.
func (h *head) get(b []byte) bool {
	h.tag = Tag(binary.LittleEndian.Uint32(b[0:]))
	h.flags = binary.LittleEndian.Uint32(b[4:])
	h.length = binary.LittleEndian.Uint64(b[8:])
	h.pad = binary.LittleEndian.Uint32(b[16:])
	h.sum = binary.LittleEndian.Uint32(b[20:])
	return binary.LittleEndian.Uint32(b[summed:]) == crc32.Checksum(b[:summed], castagnoli)
}
