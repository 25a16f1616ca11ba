package kernel

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// ownCaller is this process as a caller.
func ownCaller(t *testing.T) *caller {
	t.Helper()
	c, err := openCaller(os.Getpid())
	require.NoError(t, err)
	t.Cleanup(c.close)
	return c
}

func TestCallerFileChecks(t *testing.T) {
	c := ownCaller(t)
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	for _, x := range []struct {
		what           string
		flags          int
		writing, want  bool
		file, notThere bool
	}{
		{what: "read only, to write", flags: unix.O_RDONLY, writing: true},
		{what: "read only, to read", flags: unix.O_RDONLY, want: true},
		{what: "write only, to write", flags: unix.O_WRONLY, writing: true, want: true},
		{what: "write only, to read", flags: unix.O_WRONLY},
		{what: "both, to write", flags: unix.O_RDWR, writing: true, want: true},
		{what: "both, to read", flags: unix.O_RDWR, want: true},
		{what: "path only, to write", flags: unix.O_PATH, writing: true},
		{what: "path only, to read", flags: unix.O_PATH},
	} {
		fd, err := unix.Open(path, x.flags|unix.O_CLOEXEC, 0)
		require.NoError(t, err)
		f, err := c.file(fd, x.writing)
		if x.want {
			require.NoError(t, err, x.what)
			f.close()
		} else {
			require.ErrorIs(t, err, unix.EBADF, x.what)
		}
		unix.Close(fd)
		_, err = c.file(fd, x.writing)
		require.ErrorIs(t, err, unix.EBADF, "closed")
	}
	_, err := c.file(-1, true)
	require.ErrorIs(t, err, unix.EBADF)
}

func TestCallerFileSharesPosition(t *testing.T) {
	c := ownCaller(t)
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	defer file.Close()
	_, err = file.WriteString("head ")
	require.NoError(t, err)
	f, err := c.file(int(file.Fd()), true)
	require.NoError(t, err)
	defer f.close()
	n, err := f.Write([]byte("image "))
	require.NoError(t, err)
	require.Equal(t, 6, n)
	_, err = file.WriteString("tail")
	require.NoError(t, err)
	b, err := os.ReadFile(file.Name())
	require.NoError(t, err)
	require.Equal(t, "head image tail", string(b))

	_, err = file.Seek(5, io.SeekStart)
	require.NoError(t, err)
	b, err = io.ReadAll(io.LimitReader(f, 5))
	require.NoError(t, err)
	require.Equal(t, "image", string(b))
	at, err := file.Seek(0, io.SeekCurrent)
	require.NoError(t, err)
	require.Equal(t, int64(10), at)
	b, err = io.ReadAll(f)
	require.NoError(t, err)
	require.Equal(t, " tail", string(b), "up to the end")
}

func TestCallerFileFull(t *testing.T) {
	c := ownCaller(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	f, err := c.file(int(full.Fd()), true)
	require.NoError(t, err)
	defer f.close()
	n, err := f.Write(make([]byte, 10000))
	require.ErrorIs(t, err, unix.ENOSPC)
	require.Zero(t, n)
}

// channels are pairs of descriptors where one party waits for the other.
var channels = map[string]func(t *testing.T, nonblock int) (reader, writer int){
	"pipe": func(t *testing.T, nonblock int) (int, int) {
		var p [2]int
		require.NoError(t, unix.Pipe2(p[:], unix.O_CLOEXEC|nonblock))
		return p[0], p[1]
	},
	"socket": func(t *testing.T, nonblock int) (int, int) {
		flags := unix.SOCK_CLOEXEC
		if nonblock != 0 {
			flags |= unix.SOCK_NONBLOCK
		}
		p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|flags, 0)
		require.NoError(t, err)
		return p[0], p[1]
	},
}

func TestCallerFileChannels(t *testing.T) {
	c := ownCaller(t)
	data := make([]byte, 3<<20)
	for i := range data {
		data[i] = byte(i * i >> 8)
	}
	for kind, open := range channels {
		for _, nonblock := range []int{0, unix.O_NONBLOCK} {
			for _, nowait := range []bool{true, false} {
				r, w := open(t, nonblock)
				in, err := c.file(r, false)
				require.NoError(t, err)
				out, err := c.file(w, true)
				require.NoError(t, err)
				in.nowait, out.nowait = nowait, nowait
				failed := make(chan error, 1)
				go func() {
					n, err := out.Write(data)
					if err == nil && n != len(data) {
						err = io.ErrShortWrite
					}
					out.close()
					unix.Close(w)
					failed <- err
				}()
				got, err := io.ReadAll(in)
				require.NoError(t, err)
				require.NoError(t, <-failed)
				require.True(t, bytes.Equal(data, got), "%s: %d bytes of %d", kind, len(got), len(data))
				in.close()
				unix.Close(r)
			}
		}
	}
}

func TestCallerFileInterrupted(t *testing.T) {
	c := ownCaller(t)
	for kind, open := range channels {
		for _, nowait := range []bool{true, false} {
			r, w := open(t, 0)
			in, err := c.file(r, false)
			require.NoError(t, err)
			out, err := c.file(w, true)
			require.NoError(t, err)
			start := time.Now()
			asked := 0
			soon := func() bool { asked++; return asked == 3 }
			in.nowait, out.nowait, in.interrupted, out.interrupted = nowait, nowait, soon, soon

			_, err = in.Read(make([]byte, 10))
			require.ErrorIs(t, err, unix.EINTR, "%s: nothing to read", kind)
			asked = 0
			_, err = out.Write(make([]byte, 8<<20))
			require.ErrorIs(t, err, unix.EINTR, "%s: full", kind)
			require.Less(t, time.Since(start), 30*time.Second)

			in.close()
			unix.Close(r)
			_, err = out.Write(make([]byte, 10))
			require.ErrorIs(t, err, unix.EPIPE, "%s: nobody reads", kind)
			out.close()
			unix.Close(w)
		}
	}
}

func TestCallerFileFirst(t *testing.T) {
	c := ownCaller(t)
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	defer file.Close()
	f, err := c.file(int(file.Fd()), true)
	require.NoError(t, err)
	defer f.close()
	refuse := errors.New("no")
	f.first = func() error { return refuse }
	_, err = f.Write([]byte("secret"))
	require.ErrorIs(t, err, refuse)
	st, err := file.Stat()
	require.NoError(t, err)
	require.Zero(t, st.Size())
	asked := 0
	f.first = func() error { asked++; return nil }
	for i := 0; i < 2; i++ {
		_, err = f.Write([]byte("fine"))
		require.NoError(t, err)
	}
	require.Equal(t, 1, asked)
}

// What is done with another's authority fails where that lacks it, and the
// thread has its own back afterwards.
func TestAuthority(t *testing.T) {
	needRoot(t)
	m, reason := startHelper(t, "1000", "", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}})
	require.NotNil(t, m, reason)
	c, err := openCaller(m.pid)
	require.NoError(t, err)
	defer c.close()
	a, err := authorityOf(c)
	require.NoError(t, err)
	want := &authority{uid: 1000, gid: 1000}
	if groups, err := os.Getgroups(); err == nil && len(groups) > 0 {
		want.groups = []int{}
	}
	require.Equal(t, want, a)

	dir, err := os.MkdirTemp("", "cr-authority-")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	require.NoError(t, os.Chmod(dir, 0o755))
	secret := filepath.Join(dir, "secret")
	require.NoError(t, os.WriteFile(secret, []byte("x"), 0o640)) // for groups of this program too
	open := func() (int, error) {
		fd, err := unix.Open(secret, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
		}
		return 7, err
	}
	for i := 0; i < 2; i++ {
		_, err = a.do(open)
		require.ErrorIs(t, err, unix.EACCES)
		n, err := (*authority)(nil).do(open)
		require.NoError(t, err)
		require.Equal(t, 7, n)
	}
	own, err := authorityOf(ownCaller(t))
	require.NoError(t, err)
	require.Nil(t, own, "nothing to give up for oneself")
	for _, tid := range numbersOf(t, "/proc/self/task") {
		s, err := readStatus(tid)
		require.NoError(t, err)
		require.Zero(t, s.creds.FSUID)
		require.Zero(t, s.creds.FSGID)
		require.Equal(t, s.creds.Permitted, s.creds.Effective)
	}
}
