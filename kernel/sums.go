package kernel

import (
	"errors"
	"hash/crc32"
	"io/fs"

	"golang.org/x/sys/unix"

	"cr/image"
)

// maxSum is the size of the largest file whose contents are summed, in bytes.
const maxSum = 32 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumFile is the CRC-32C of a mapped file, by which it is known again where its
// time of modification differs; 0 for a file that is too large or that cannot
// be read: it may be executed all the same. It reads into buf.
func sumFile(path string, size int64, buf []byte) (uint32, error) {
	if size > maxSum {
		return 0, nil
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, nil
	}
	defer unix.Close(fd)
	sum := uint32(0)
	for {
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, &fs.PathError{Op: "read", Path: path, Err: err}
		}
		if n == 0 {
			return sum, nil
		}
		sum = crc32.Update(sum, castagnoli, buf[:n])
	}
}

// sumBuffer is how much of a file is read at a time, in bytes.
const sumBuffer = 64 << 10

// fileSums computes the checksums of mapped files while the rest is saved. The
// zero value is ready for use.
type fileSums struct {
	off  bool // add does nothing
	todo chan *image.File
	done chan error
}

// add sets the checksum of a record, at the latest when wait returns.
func (s *fileSums) add(f *image.File) {
	if s.off {
		return
	}
	if s.todo == nil {
		s.todo, s.done = make(chan *image.File, 64), make(chan error, 1)
		go sumFiles(s.todo, s.done)
	}
	s.todo <- f
}

func sumFiles(todo <-chan *image.File, done chan<- error) {
	buf := make([]byte, sumBuffer)
	var first error
	for f := range todo {
		sum, err := sumFile(f.Path, f.Size, buf)
		if f.Sum = sum; err != nil && first == nil {
			first = err
		}
	}
	done <- first
}

// wait waits until all checksums are set.
func (s *fileSums) wait() error {
	if s.todo == nil {
		return nil
	}
	close(s.todo)
	s.todo = nil
	return <-s.done
}
