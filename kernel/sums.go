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
// time of modification differs; 0 for a file that is too large, that cannot be
// read, which may be executed all the same, or that its path leads to no more.
// It reads into buf.
func sumFile(f *image.File, buf []byte) (uint32, error) {
	if f.Size > maxSum {
		return 0, nil
	}
	// Whatever the path leads to by now must not be waited for.
	fd, err := unix.Open(f.Path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, nil
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Dev != f.Dev || st.Ino != f.Ino {
		return 0, nil
	}
	return sumOpen(fd, f.Path, buf)
}

// sumOpen is the CRC-32C of an open file.
func sumOpen(fd int, path string, buf []byte) (uint32, error) {
	sum, at := uint32(0), int64(0)
	for {
		n, err := pread(fd, buf, at)
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
		at += int64(n)
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
		sum, err := sumFile(f, buf)
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
