package kernel

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/image"
)

// needRoot skips a test that makes processes of several users.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can make processes of several users")
	}
}

// Every kind of process asks for every other: what the kernel would say is what
// mayTrace says.
func TestMayTraceAgreesWithKernel(t *testing.T) {
	needRoot(t)
	user := func(uid, gid uint32, caps ...uintptr) *syscall.SysProcAttr {
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}, AmbientCaps: caps}
	}
	inNewUserns := func(uid int) *syscall.SysProcAttr {
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids}
	}
	noCaps := []string{"setpriv", "--bounding-set=-all", "--inh-caps=-all"}
	var members []*member
	for _, h := range []struct {
		name, what string
		attr       *syscall.SysProcAttr
		prefix     []string
	}{
		{name: "root"},
		{name: "root, undumpable", what: "undumpable"},
		{name: "root without capabilities", prefix: noCaps},
		{name: "root without capabilities, undumpable", what: "undumpable", prefix: noCaps},
		{name: "1000", attr: user(1000, 1000)},
		{name: "1000 too", attr: user(1000, 1000)},
		{name: "1000, undumpable", what: "undumpable", attr: user(1000, 1000)},
		{name: "1000, other group", attr: user(1000, 1001)},
		{name: "1001", attr: user(1001, 1001)},
		{name: "1000 with CAP_SYS_PTRACE", attr: user(1000, 1000, unix.CAP_SYS_PTRACE)},
		{name: "1001 with CAP_SYS_PTRACE", attr: user(1001, 1001, unix.CAP_SYS_PTRACE)},
		{name: "1000 with CAP_NET_RAW", attr: user(1000, 1000, unix.CAP_NET_RAW)},
		{name: "root of a user namespace", attr: inNewUserns(0)},
		{name: "1000 as root of root's user namespace", attr: inNewUserns(1000)},
		{name: "1000 as root of its own user namespace", attr: user(1000, 1000), prefix: []string{"unshare", "-Ur"}},
		{name: "1000 in its own user namespace", attr: user(1000, 1000), prefix: []string{"unshare", "-U"}},
		{name: "nobody", attr: user(overflowID, overflowID)},
	} {
		m, reason := startHelper(t, h.name, h.what, h.attr, h.prefix...)
		if m == nil {
			t.Logf("left out: %s", reason)
			continue
		}
		members = append(members, m)
	}
	require.Greater(t, len(members), 10, "enough kinds can be made")

	allowed, refused := 0, 0
	for _, caller := range members {
		for _, target := range members {
			want := caller.kernelSays(t, target.pid)
			err := mayTrace(caller.pid, target.pid)
			if err != nil {
				var a *AccessError
				require.ErrorAs(t, err, &a)
				require.ErrorIs(t, err, unix.EPERM)
				refused++
			} else {
				allowed++
			}
			if caller != target && target.name == "root without capabilities" && err != nil {
				// Nothing shows whether a process of root is dumpable.
				continue
			}
			require.Equal(t, want, err == nil, "%q asks for %q: the kernel allows it: %t, mayTrace: %v", caller.name, target.name, want, err)
		}
	}
	require.Greater(t, allowed, 40)
	require.Greater(t, refused, 40)
}

func TestMayTraceGone(t *testing.T) {
	require.ErrorIs(t, mayTrace(os.Getpid(), 0x3fffff), unix.ESRCH)
	require.ErrorIs(t, mayTrace(0x3fffff, os.Getpid()), unix.ESRCH)
	require.NoError(t, mayTrace(os.Getpid(), unix.Gettid()), "a task of the same process")
}

func TestSameIDs(t *testing.T) {
	ids := func(r, e, s uint32) image.Creds {
		return image.Creds{UID: r, EUID: e, SUID: s, GID: r, EGID: e, SGID: s}
	}
	for _, c := range []struct {
		caller, target image.Creds
		allMapped      bool
		want           bool
	}{
		{ids(5, 0, 0), ids(5, 5, 5), true, true}, // the caller's real ids count
		{ids(5, 5, 5), ids(6, 5, 5), true, false},
		{ids(5, 5, 5), ids(5, 6, 5), true, false},
		{ids(5, 5, 5), ids(5, 5, 6), true, false},
		{ids(0, 0, 0), ids(5, 5, 5), true, false},
		{ids(overflowID, 0, 0), ids(overflowID, overflowID, overflowID), true, true},
		{ids(overflowID, 0, 0), ids(overflowID, overflowID, overflowID), false, false},
		{ids(5, 5, 5), image.Creds{UID: 5, EUID: 5, SUID: 5, GID: 6, EGID: 5, SGID: 5}, true, false},
		{ids(5, 5, 5), image.Creds{UID: 5, EUID: 5, SUID: 5, GID: 5, EGID: 6, SGID: 5}, true, false},
		{ids(5, 5, 5), image.Creds{UID: 5, EUID: 5, SUID: 5, GID: 5, EGID: 5, SGID: 6}, true, false},
	} {
		require.Equal(t, c.want, sameIDs(&c.caller, &c.target, c.allMapped), "%+v", c)
	}
}

func TestIsDescendant(t *testing.T) {
	for _, c := range []struct {
		pid, ancestor int
		want          bool
	}{
		{os.Getpid(), os.Getppid(), true},
		{os.Getpid(), os.Getpid(), false},
		{os.Getppid(), os.Getpid(), false},
		{1, os.Getpid(), false},
	} {
		got, err := isDescendant(c.pid, c.ancestor)
		require.NoError(t, err)
		require.Equal(t, c.want, got, "%d of %d", c.pid, c.ancestor)
	}
	_, err := isDescendant(0x3fffff, 1)
	require.True(t, errors.Is(err, unix.ESRCH))
}
