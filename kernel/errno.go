package kernel

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"golang.org/x/sys/unix"

	"cr/convert"
	"cr/image"
	"cr/regset"
)

// errnos is what the two calls return for errors that have no errno of their
// own. The first that matches counts.
var errnos = []struct {
	err   error
	errno unix.Errno
}{
	{image.ErrFormat, unix.ENOEXEC},
	{image.ErrTooLarge, unix.EFBIG},
	{convert.ErrForeign, unix.ENOEXEC},
	{context.Canceled, unix.EINTR},
	{context.DeadlineExceeded, unix.ETIMEDOUT},
	{fs.ErrNotExist, unix.ENOENT},
	{fs.ErrExist, unix.EEXIST},
	{fs.ErrPermission, unix.EACCES},
	{fs.ErrClosed, unix.EBADF},
	{io.ErrUnexpectedEOF, unix.ENOEXEC},
	{io.EOF, unix.ENOEXEC},
	{io.ErrShortWrite, unix.EIO},
}

// Errno is the errno that a call returns for an error: that of a RefusedError,
// EOPNOTSUPP for what the machine cannot take, ENOEXEC for a stream that is no
// image, that of the system call that failed, EIO for anything else. It is 0
// for no error.
func Errno(err error) unix.Errno {
	if err == nil {
		return 0
	}
	var refused *RefusedError
	if errors.As(err, &refused) && refused.Errno != 0 {
		return refused.Errno
	}
	var problems regset.Problems
	var problem *regset.Problem
	if errors.As(err, &problems) || errors.As(err, &problem) {
		return unix.EOPNOTSUPP
	}
	var errno unix.Errno
	if errors.As(err, &errno) && errno != 0 {
		return errno
	}
	for _, e := range errnos {
		if errors.Is(err, e.err) {
			return e.errno
		}
	}
	return unix.EIO
}
