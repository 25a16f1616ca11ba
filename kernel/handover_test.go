package kernel

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/image"
)

// TestMayAs: who has asked as a user gets no more by executing a set-user-ID program
// while the keeper thinks about it.
func TestMayAs(t *testing.T) {
	own, err := readStatus(os.Getpid())
	require.NoError(t, err)
	ids := func(uid, euid uint32) *caller {
		return &caller{status: &status{creds: image.Creds{UID: uid, EUID: euid, SUID: euid}}}
	}
	ask := func(uid uint32, c *caller) error {
		return mayAs(&unix.Ucred{Pid: 1, Uid: uid}, c, []int{os.Getpid()})
	}
	var refused *AccessError
	require.ErrorAs(t, ask(1000, ids(1000, 0)), &refused)
	require.Contains(t, refused.Error(), "it has become another user")
	require.ErrorAs(t, ask(1000, ids(1001, 1001)), &refused)
	if own.creds.UID == 0 {
		require.ErrorAs(t, ask(1000, ids(1000, 1000)), &refused)
		require.Contains(t, refused.Error(), "it belongs to another user")
		require.ErrorAs(t, ask(0, ids(0, 0)), &refused, "this program has capabilities")
	}
}
