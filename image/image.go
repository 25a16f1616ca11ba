// Package image reads and writes checkpoint images: a stream of records, each
// with a tag, a length and checksums, that can be written to and read from a
// pipe. docs/format.md specifies the bytes.
//
// An image is metadata, which Image holds as a whole, followed by the contents
// of memory, which is read and written piece by piece. Nothing in a stream is
// trusted: allocation is bounded by what the stream really holds, and Read
// returns only metadata that Validate accepts.
package image

import (
	"errors"
	"fmt"
	"strconv"
)

// Errors of the reader. All of them mean that the stream is no image that this
// package can read: errors.Is(err, ErrFormat) holds for each.
var (
	ErrFormat    = errors.New("bad image")
	ErrMagic     = fmt.Errorf("%w: not a checkpoint image", ErrFormat)
	ErrVersion   = fmt.Errorf("%w: unknown version", ErrFormat)
	ErrTruncated = fmt.Errorf("%w: cut short", ErrFormat)
	ErrCorrupt   = fmt.Errorf("%w: corrupt", ErrFormat)
	ErrInvalid   = fmt.Errorf("%w: invalid", ErrFormat)
)

// ErrTooLarge is the error of the writer for an image that no reader would take.
var ErrTooLarge = fmt.Errorf("its records take more than %d bytes", MaxMetadata)

// RecordError names the record that is at fault. It wraps one of the errors
// above.
type RecordError struct {
	Tag    Tag
	Index  uint64 // 0 is the header
	Offset int64  // of the record in the stream, in bytes
	Err    error
}

// Error names the record and the reason.
func (e *RecordError) Error() string {
	return fmt.Sprintf("%s (record %d at byte %d): %v", e.Tag, e.Index, e.Offset, e.Err)
}

// Unwrap returns the reason.
func (e *RecordError) Unwrap() error { return e.Err }

// Image is the metadata of an image.
type Image struct {
	Header     Header
	Processes  []*Process
	Tasks      []*Task
	CPUs       []*CPU
	MMs        []*MM
	FSs        []*FS
	Sighands   []*Sighand
	Tables     []*Files
	Files      []*File
	Pipes      []*Pipe
	Shms       []*Shm
	Sockets    []*Socket
	Epolls     []*Epoll
	Inotifies  []*Inotify
	Ptys       []*Pty
	Seccomps   []*Seccomp
	Queues     []*Queue
	Semaphores []*Semaphores
	Namespaces []*Namespaces // one at most
	Shares     []*Shares
	Bytes      uint64 // contents of memory that follow, at most; for progress

	index   [lastIndexed + 1]index // by tag
	sharing *sharing               // made of Shares when it is asked for
}

// records lists the metadata in the order in which it is written.
func (m *Image) records() []record {
	list := []record{&m.Header}
	for _, r := range m.Processes {
		list = append(list, r)
	}
	for _, r := range m.Tasks {
		list = append(list, r)
	}
	for _, r := range m.CPUs {
		list = append(list, r)
	}
	for _, r := range m.MMs {
		list = append(list, r)
	}
	for _, r := range m.FSs {
		list = append(list, r)
	}
	for _, r := range m.Sighands {
		list = append(list, r)
	}
	for _, r := range m.Tables {
		list = append(list, r)
	}
	for _, r := range m.Files {
		list = append(list, r)
	}
	for _, r := range m.Pipes {
		list = append(list, r)
	}
	for _, r := range m.Shms {
		list = append(list, r)
	}
	for _, r := range m.Sockets {
		list = append(list, r)
	}
	for _, r := range m.Epolls {
		list = append(list, r)
	}
	for _, r := range m.Inotifies {
		list = append(list, r)
	}
	for _, r := range m.Ptys {
		list = append(list, r)
	}
	for _, r := range m.Seccomps {
		list = append(list, r)
	}
	for _, r := range m.Queues {
		list = append(list, r)
	}
	for _, r := range m.Semaphores {
		list = append(list, r)
	}
	for _, r := range m.Namespaces {
		list = append(list, r)
	}
	for _, r := range m.Shares {
		list = append(list, r)
	}
	return list
}

// add puts a record that was read in its place, and makes one for a tag; it
// returns nil for a tag that is no metadata.
func (m *Image) add(t Tag) record {
	switch t {
	case TagProcess:
		r := new(Process)
		m.Processes = append(m.Processes, r)
		return r
	case TagTask:
		r := new(Task)
		m.Tasks = append(m.Tasks, r)
		return r
	case TagCPU:
		r := new(CPU)
		m.CPUs = append(m.CPUs, r)
		return r
	case TagMM:
		r := new(MM)
		m.MMs = append(m.MMs, r)
		return r
	case TagFS:
		r := new(FS)
		m.FSs = append(m.FSs, r)
		return r
	case TagSighand:
		r := new(Sighand)
		m.Sighands = append(m.Sighands, r)
		return r
	case TagFiles:
		r := new(Files)
		m.Tables = append(m.Tables, r)
		return r
	case TagFile:
		r := new(File)
		m.Files = append(m.Files, r)
		return r
	case TagPipe:
		r := new(Pipe)
		m.Pipes = append(m.Pipes, r)
		return r
	case TagShm:
		r := new(Shm)
		m.Shms = append(m.Shms, r)
		return r
	case TagSocket:
		r := new(Socket)
		m.Sockets = append(m.Sockets, r)
		return r
	case TagEpoll:
		r := new(Epoll)
		m.Epolls = append(m.Epolls, r)
		return r
	case TagInotify:
		r := new(Inotify)
		m.Inotifies = append(m.Inotifies, r)
		return r
	case TagPty:
		r := new(Pty)
		m.Ptys = append(m.Ptys, r)
		return r
	case TagSeccomp:
		r := new(Seccomp)
		m.Seccomps = append(m.Seccomps, r)
		return r
	case TagQueue:
		r := new(Queue)
		m.Queues = append(m.Queues, r)
		return r
	case TagSemaphores:
		r := new(Semaphores)
		m.Semaphores = append(m.Semaphores, r)
		return r
	case TagNamespaces:
		r := new(Namespaces)
		m.Namespaces = append(m.Namespaces, r)
		return r
	case TagShares:
		r := new(Shares)
		m.Shares = append(m.Shares, r)
		return r
	}
	return nil
}

func utoa(u uint64) string { return strconv.FormatUint(u, 10) }
