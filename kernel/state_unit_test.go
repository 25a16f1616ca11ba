package kernel

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/image"
)

func TestParseTimers(t *testing.T) {
	list, err := parseTimers([]byte(`ID: 3
signal: 34/00007f001234abcd
notify: signal/tid.77
ClockID: 1
ID: 0
signal: 0/(null)
notify: none/pid.70
ClockID: -6
`))
	require.NoError(t, err)
	require.Equal(t, []image.Timer{
		{ID: 0, Notify: sigevNone, Clock: clockProcessCPU},
		{ID: 3, Signal: 34, Value: 0x7f001234abcd, Notify: sigevSignal | sigevThreadID, TID: 77, Clock: 1},
	}, list)
	for _, bad := range []string{"signal: 1/0\n", "ID: x\n", "ID: 1\nnotify: pigeon/pid.1\n", "ID: 1\nsignal: 1/zz\n", "ID: 1\nClockID: \n"} {
		_, err := parseTimers([]byte(bad))
		require.Error(t, err, bad)
	}
}

func TestTimerClock(t *testing.T) {
	for _, c := range []struct {
		clock  int32
		notify uint32
		tasks  int
		saved  bool
	}{
		{unix.CLOCK_MONOTONIC, 0, 9, true}, {clockProcessCPU, 0, 9, true}, {clockThreadCPU, 0, 1, true},
		{clockThreadCPU, 0, 2, false}, {clockThreadCPU, sigevThreadID, 2, true},
		{^77<<3 | 6, 0, 1, false}, {^3<<3 | 3, 0, 1, false},
	} {
		require.Equal(t, c.saved, timerClock(&image.Timer{Clock: c.clock, Notify: c.notify}, c.tasks) == "", c)
	}
}

func TestItimerspec(t *testing.T) {
	for _, l := range []layout{{binary.BigEndian, 4}, {binary.LittleEndian, 8}} {
		interval, value := l.itimerspec(l.putItimerspec(2.5e9, 1))
		require.EqualValues(t, 2.5e9, interval)
		require.EqualValues(t, 1, value)
	}
}

func TestMasks(t *testing.T) {
	for s, want := range map[string][]byte{"0": {1}, "0-3,8": {15, 1}, "1,9-10": {2, 6}} {
		got, err := parseList(s)
		require.NoError(t, err)
		require.Equal(t, want, got, s)
	}
	_, err := parseList("0-x")
	require.Error(t, err)
	require.True(t, covers([]byte{15, 0}, []byte{3}))
	require.False(t, covers([]byte{1}, []byte{1, 1}))
	require.True(t, equalMasks([]byte{1, 0}, []byte{1}))
	require.False(t, equalMasks([]byte{1, 2}, []byte{1}))
	big := layout{binary.BigEndian, 4}
	require.Equal(t, []byte{4, 3, 2, 1, 0, 0, 0, 5}, big.swapMask([]byte{1, 2, 3, 4, 5}))
	require.Equal(t, []byte{1, 2, 3, 4}, big.swapMask(big.swapMask([]byte{1, 2, 3, 4})))
	require.Equal(t, []byte{1, 2, 0, 0, 0, 0, 0, 0}, layout{binary.LittleEndian, 8}.swapMask([]byte{1, 2}))
}

func TestHereAddress(t *testing.T) {
	name := make([]byte, 16)
	hostOrder.PutUint16(name, unix.AF_INET)
	require.Nil(t, hereAddress(name))
	name[3] = 9
	require.Equal(t, []byte{127, 0, 0, 1}, hereAddress(name)[4:8])
	copy(name[4:], []byte{10, 0, 0, 1})
	require.Equal(t, name, hereAddress(name))
	name = make([]byte, 28)
	hostOrder.PutUint16(name, unix.AF_INET6)
	name[3] = 9
	require.EqualValues(t, 1, hereAddress(name)[23])
}

func TestNotifies(t *testing.T) {
	ours, err := callsProgram(hostCalls)
	require.NoError(t, err)
	require.True(t, notifies(ours))
	insn := func(code uint16, k uint32) []byte {
		b := make([]byte, 8)
		hostOrder.PutUint16(b, code)
		hostOrder.PutUint32(b[4:], k)
		return b
	}
	require.False(t, notifies(append(insn(0x20, unix.SECCOMP_RET_USER_NOTIF), insn(6, unix.SECCOMP_RET_ALLOW)...)))
}
