package kernel

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestGroupDir(t *testing.T) {
	const mounts = `24 31 0:22 / /proc rw,relatime - proc proc rw
40 39 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
41 39 0:28 / /sys/fs/cgroup/memory rw,relatime shared:7 - cgroup cgroup rw,memory
42 39 0:29 /box/a /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
`
	for _, c := range []struct{ controller, group, top, dir string }{
		{"memory", "/", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory"},
		{"memory", "/x/y", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/x/y"},
		{"", "/box/a", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified"},
		{"", "/box/a/b/c", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified/b/c"},
		{"", "/box/ab", "", ""}, // not below what is mounted
		{"", "/", "", ""},
		{"pids", "/x", "", ""},
	} {
		top, dir, ok := groupDir(mounts, c.controller, c.group)
		require.Equal(t, c.dir != "", ok, "%v", c)
		require.Equal(t, c.top, top, "%v", c)
		require.Equal(t, c.dir, dir, "%v", c)
	}
}

// TestMemoryRoom asks groups that are directories with files like theirs: the
// tightest one decides, and what the kernel can do without is room.
func TestMemoryRoom(t *testing.T) {
	if swap, err := freeSwap(); err != nil || swap > 0 {
		t.Skipf("there is swap, which is room for everybody: %d bytes, %v", swap, err)
	}
	top := t.TempDir()
	write := func(dir, limit, usage, stat string) {
		t.Helper()
		require.NoError(t, os.MkdirAll(filepath.Join(top, dir), 0o755))
		for name, text := range map[string]string{"memory.max": limit, "memory.current": usage, "memory.stat": stat} {
			require.NoError(t, os.WriteFile(filepath.Join(top, dir, name), []byte(text+"\n"), 0o600))
		}
	}
	write("", "20971520", "16777216", "anon 5\ninactive_file 1048576\nactive_file 1048576")
	write("box", "max", "16777216", "")
	write("box/in", "67108864", "8388608", "")
	var m memoryRoom
	m.add(groupsV2, top, top+"/box/in")
	require.Len(t, m.groups, 2, "box has no limit")
	const room = 20971520 - 16777216 + 2<<20
	require.NoError(t, m.take(room-reserve))
	err := m.take(room - reserve + 1)
	require.ErrorIs(t, err, unix.ENOMEM)
	require.ErrorContains(t, err, top+": of the 20971520 bytes that it may have 6291456 are left")
	// Half of what there is is taken before they are asked again.
	require.NoError(t, m.take(0))
	require.Zero(t, m.left)
	require.NoError(t, m.take(1<<20))
	require.EqualValues(t, room/2-1<<20, m.left)
	write("", "20971520", "20971520", "")
	require.NoError(t, m.take(m.left))
	require.ErrorIs(t, m.take(1), unix.ENOMEM)
}
