package kernel

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestParseArea(t *testing.T) {
	for _, c := range []struct {
		line string
		want area
	}{
		{"00400000-00401000 r-xp 00001000 fe:01 1234                       /usr/bin/a b",
			area{start: 0x400000, end: 0x401000, prot: unix.PROT_READ | unix.PROT_EXEC, offset: 0x1000,
				major: 0xfe, minor: 1, inode: 1234, name: "/usr/bin/a b"}},
		{"7f0000000000-7f0000001000 rw-s 00000000 00:01 7 /dev/zero (deleted)",
			area{start: 0x7f0000000000, end: 0x7f0000001000, prot: unix.PROT_READ | unix.PROT_WRITE, shared: true,
				minor: 1, inode: 7, name: "/dev/zero (deleted)"}},
		{"10000-20000 ---p 00000000 00:00 0 ", area{start: 0x10000, end: 0x20000}},
		{`10000-20000 r--p 00000000 00:00 9 /a\012b`, area{start: 0x10000, end: 0x20000, prot: unix.PROT_READ, inode: 9, name: "/a\nb"}},
	} {
		got, err := parseArea(c.line)
		require.NoError(t, err, c.line)
		require.Equal(t, c.want, got, c.line)
	}
	for _, bad := range []string{"", "x-y rwxp 0 0:0 0", "1000 rwxp 0 0:0 0", "1000-2000 rwx 0 0:0 0", "1000-2000 rwxp zz 0:0 0"} {
		_, err := parseArea(bad)
		require.Error(t, err, bad)
	}
}

func FuzzParseArea(f *testing.F) {
	f.Add("00400000-00401000 r-xp 00001000 fe:01 1234 /usr/bin/a b")
	f.Fuzz(func(t *testing.T, line string) {
		if a, err := parseArea(line); err == nil && len(line) < 2 {
			t.Errorf("%q is %v", line, a)
		}
	})
}

// What is read of this process is what it can see of itself.
func TestReadProc(t *testing.T) {
	pid := os.Getpid()
	s, err := readStatus(pid)
	require.NoError(t, err)
	require.Equal(t, pid, s.tgid)
	require.Equal(t, os.Getppid(), s.ppid)
	require.Equal(t, uint32(os.Getuid()), s.creds.UID)
	st, err := readStat(pid)
	require.NoError(t, err)
	require.Equal(t, uint64(os.Getppid()), st.num(4))
	require.False(t, st.kernelThread())
	limits, err := readLimits(pid)
	require.NoError(t, err)
	var l unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &l))
	require.Equal(t, l.Cur, limits[unix.RLIMIT_NOFILE].Cur)
	require.Len(t, limits, 16)
	plain, err := readAreas(pid, false)
	require.NoError(t, err)
	full, err := readAreas(pid, true)
	require.NoError(t, err)
	require.NotEmpty(t, plain)
	for _, a := range full {
		if a.name == "[stack]" {
			require.True(t, a.has("gd"), "VmFlags of the stack: %q", a.flags)
		}
	}
	_, err = readStatus(1 << 22)
	require.ErrorIs(t, err, unix.ESRCH)
}
