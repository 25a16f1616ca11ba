package kernel

import (
	"encoding/hex"
	"errors"
	"math/rand"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/image"
)

func TestParseLock(t *testing.T) {
	for _, c := range []struct {
		line string
		want image.Lock
		ok   bool
	}{
		{"1: FLOCK  ADVISORY  WRITE 359 fe:00:261 0 EOF", image.Lock{Kind: image.Flock, Type: unix.F_WRLCK}, true},
		{"2: POSIX  ADVISORY  READ 5 00:2b:1 10 19", image.Lock{Kind: image.POSIX, Type: unix.F_RDLCK, Start: 10, Len: 10}, true},
		{"3: OFDLCK ADVISORY  READ -1 00:2b:1 7 7", image.Lock{Kind: image.OFDLock, Start: 7, Len: 1}, true},
		{"4: LEASE  ACTIVE    READ 5 00:2b:1 0 EOF", image.Lock{Kind: image.Lease}, true},
		{"5: DELEG  ACTIVE    READ 5 00:2b:1 0 EOF", image.Lock{}, false},
		{"6: FLOCK  ADVISORY  UNLCK 5 00:2b:1 0 EOF", image.Lock{}, false},
		{"7: POSIX  ADVISORY  READ 5 00:2b:1 10 9", image.Lock{}, false},
		{"8: POSIX  ADVISORY  READ 5 00:2b:1 -1 9", image.Lock{}, false},
		{"", image.Lock{}, false},
	} {
		got, ok := parseLock(c.line)
		require.Equal(t, c.ok, ok, c.line)
		if ok {
			require.Equal(t, c.want, got.Lock, c.line)
		}
	}
	l, ok := parseLock("9: LEASE  BREAKING  READ 5 00:2b:1 0 EOF")
	require.True(t, ok && l.breaking)
}

func TestParseEpoll(t *testing.T) {
	for _, line := range []string{
		"tfd:        5 events:       1d data: ffffffffffffffff  pos:0 ino:61af sdev:7",
		"tfd: 5 events: 1d data: ffffffffffffffff pos: 0 ino: 61af sdev: 7",
	} {
		got, err := parseEpoll(line)
		require.NoError(t, err)
		require.Equal(t, image.EpollTarget{Number: 5, Events: 0x1d, Data: ^uint64(0)}, got.EpollTarget)
		require.Equal(t, fileID{dev: 7, ino: 0x61af}, got.inode)
	}
	_, err := parseEpoll("tfd: 5 events: 1d")
	require.Error(t, err)
}

func TestParseWatch(t *testing.T) {
	w, err := parseWatch("inotify wd:3 ino:9e7e sdev:800013 mask:8000fce ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:7e9e0000640d1b6d")
	require.NoError(t, err)
	require.Equal(t, image.Watch{WD: 3, Mask: 0xfce}, w.Watch)
	require.Equal(t, fileID{dev: unix.Mkdev(8, 0x13), ino: 0x9e7e}, w.inode)
	require.True(t, w.known)
	require.Equal(t, "7e9e0000640d1b6d", hex.EncodeToString(w.handle.Bytes()))
	w, err = parseWatch("inotify wd:1 ino:1 sdev:1 mask:1 fhandle-bytes:9 fhandle-type:1 f_handle:00")
	require.NoError(t, err)
	require.False(t, w.known, "a handle that is cut short")
	_, err = parseWatch("inotify wd:x")
	require.Error(t, err)
}

func FuzzFdinfoLines(f *testing.F) {
	for _, s := range []string{
		"1: FLOCK  ADVISORY  WRITE 359 fe:00:261 0 EOF", "tfd: 5 events: 1d data: f pos:0 ino:61af sdev:7",
		"inotify wd:3 ino:9e7e sdev:800013 mask:fce ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:7e9e",
		"it_value: (0, 49406829)",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if l, ok := parseLock(s); ok {
			require.LessOrEqual(t, l.Start+l.Len, uint64(1)<<63)
		}
		_, _ = parseEpoll(s)
		_, _ = parseWatch("inotify " + s)
		_ = parseTimer(&fdinfo{rest: []string{s}}, new(image.TimerState))
	})
}

func TestParseTimer(t *testing.T) {
	var got image.TimerState
	require.NoError(t, parseTimer(&fdinfo{rest: []string{
		"clockid: 1", "ticks: 3", "settime flags: 01", "it_value: (2, 49406829)", "it_interval: (1, 0)",
	}}, &got))
	require.Equal(t, image.TimerState{Clock: 1, Flags: 1, Ticks: 3, Remaining: 2049406829, Interval: 1e9}, got)
	require.Error(t, parseTimer(&fdinfo{rest: []string{"clockid: 1"}}, &got))
}

func FuzzUnixDiag(f *testing.F) {
	f.Add(make([]byte, 16))
	f.Add(append(make([]byte, 16), 8, 0, 2, 0, 1, 2, 3, 4, 5, 0, 6, 0, 3, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 16 {
			_, info := parseUnixDiag(b)
			require.LessOrEqual(t, 4*len(info.waiting), len(b))
		}
	})
}

// TestArrange makes random moves and looks what is where afterwards.
func TestArrange(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	for i := 0; i < 2000; i++ {
		places := 1 + random.Intn(8)
		at := make(map[int]int) // what lies at each place
		for p := 0; p < places; p++ {
			at[p] = 100 + p
		}
		want := make(map[int]int)
		var moves []move
		for _, to := range random.Perm(places)[:random.Intn(places+1)] {
			if from := random.Intn(places); from != to {
				moves = append(moves, move{from, to})
				want[to] = at[from]
			}
		}
		free, made := places, 0
		err := arrange(moves, func(from, to int) error {
			made++
			at[to] = at[from]
			return nil
		}, func(fd int) (int, error) {
			free++
			at[free] = at[fd]
			return free, nil
		})
		require.NoError(t, err)
		require.Equal(t, len(moves), made)
		for to, what := range want {
			require.Equal(t, what, at[to], "%v", moves)
		}
	}
	broken := errors.New("broken")
	require.ErrorIs(t, arrange([]move{{1, 2}}, func(int, int) error { return broken }, nil), broken)
}

func TestIsSemaphore(t *testing.T) {
	for _, count := range []uint{0, 1, 2, 7} {
		for _, semaphore := range []bool{false, true} {
			flags := unix.EFD_NONBLOCK
			if semaphore {
				flags |= unix.EFD_SEMAPHORE
			}
			fd, err := unix.Eventfd(count, flags)
			require.NoError(t, err)
			got, err := isSemaphore(fd, uint64(count))
			require.NoError(t, err)
			require.Equal(t, semaphore, got, "count %d", count)
			info, err := readFdinfo(os.Getpid(), fd)
			require.NoError(t, err)
			d := &openDescriptor{info: info, file: new(image.File), number: fd, pidfd: -1, own: -1}
			require.NoError(t, saveEventFD(nil, d))
			require.Equal(t, image.EventState{Count: uint64(count), Semaphore: semaphore}, d.file.Event)
			require.NoError(t, unix.Close(fd))
		}
	}
}

func TestWithoutZeros(t *testing.T) {
	page := os.Getpagesize()
	data := make([]byte, 5*page)
	data[0], data[3*page+1], data[4*page] = 1, 2, 3
	runs, kept := withoutZeros(1<<20, data)
	p := uint64(page)
	require.Equal(t, []image.Run{{Addr: 1 << 20, Len: p}, {Addr: 1<<20 + 3*p, Len: 2 * p}}, runs)
	require.Len(t, kept, 3*page)
	require.Equal(t, []byte{1, 0, 0, 2}, []byte{kept[0], kept[1], kept[page], kept[page+1]})
	runs, kept = withoutZeros(0, make([]byte, page))
	require.Empty(t, runs)
	require.Empty(t, kept)
}

func TestFileKinds(t *testing.T) {
	for kind := image.FileKind(0); kind <= image.MQueue; kind++ {
		k := fileStages[kind]
		require.NotNil(t, k, "kind %d", kind)
		require.NotNil(t, k.stage, "kind %d", kind)
	}
}

func TestUnixPath(t *testing.T) {
	for name, want := range map[string]string{"": "", "\x01\x00": "", "\x01\x00/tmp/x\x00": "/tmp/x", "\x01\x00\x00abstract": "", "\x01\x00rel": "rel"} {
		require.Equal(t, want, unixPath([]byte(name)), "%q", name)
	}
}
