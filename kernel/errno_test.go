package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/image"
	"cr/regset"
)

func TestErrno(t *testing.T) {
	_, missing := os.Open("/nonexistent")
	problem := &regset.Problem{Set: "NT_PPC_VSX", Reason: "this machine has no VSX"}
	for _, c := range []struct {
		err  error
		want unix.Errno
	}{
		{nil, 0},
		{unix.ESRCH, unix.ESRCH},
		{fmt.Errorf("wrapped: %w", unix.EPERM), unix.EPERM},
		{missing, unix.ENOENT},
		{&CallError{TID: 1, Call: "mmap", Errno: unix.ENOMEM}, unix.ENOMEM},
		{&RefusedError{PID: 1, Reason: "traced", Errno: unix.EBUSY}, unix.EBUSY},
		{RefusedErrors{{PID: 1, Errno: unix.EOPNOTSUPP}, {PID: 2, Errno: unix.EBUSY}}, unix.EOPNOTSUPP},
		{&RefusedError{PID: 1, Reason: "no errno"}, unix.EIO},
		{image.ErrFormat, unix.ENOEXEC},
		{image.ErrTooLarge, unix.EFBIG},
		{image.ErrMagic, unix.ENOEXEC},
		{&image.RecordError{Err: image.ErrTruncated}, unix.ENOEXEC},
		{&image.RecordError{Err: unix.EIO}, unix.EIO},
		{problem, unix.EOPNOTSUPP},
		{regset.Problems{problem}, unix.EOPNOTSUPP},
		{fmt.Errorf("task 3: %w", regset.Problems{problem}), unix.EOPNOTSUPP},
		{context.Canceled, unix.EINTR},
		{fmt.Errorf("wait: %w", context.DeadlineExceeded), unix.ETIMEDOUT},
		{os.ErrPermission, unix.EACCES},
		{os.ErrExist, unix.EEXIST},
		{os.ErrClosed, unix.EBADF},
		{io.ErrUnexpectedEOF, unix.ENOEXEC},
		{io.EOF, unix.ENOEXEC},
		{io.ErrShortWrite, unix.EIO},
		{errors.New("who knows"), unix.EIO},
	} {
		require.Equal(t, c.want, Errno(c.err), "%v", c.err)
	}
}
