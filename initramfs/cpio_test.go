package initramfs

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// entry is one entry of an archive, as the kernel reads it.
type entry struct {
	name    string
	mode    int
	rdev    [2]int
	content string
}

// parse reads an archive the way the kernel's init/initramfs.c does.
func parse(t *testing.T, b []byte) []entry {
	t.Helper()
	var all []entry
	inodes := map[int]bool{}
	for at := 0; ; {
		require.Zero(t, at%4, "an entry begins at %d", at)
		require.Equal(t, "070701", string(b[at:at+6]))
		var f [13]int
		for i := range f {
			n, err := strconv.ParseUint(string(b[at+6+8*i:at+14+8*i]), 16, 32)
			require.NoError(t, err)
			f[i] = int(n)
		}
		at += 110
		name := strings.TrimRight(string(b[at:at+f[11]]), "\x00")
		require.Len(t, name, f[11]-1)
		at = (at + f[11] + 3) &^ 3
		e := entry{name: name, mode: f[1], rdev: [2]int{f[9], f[10]}, content: string(b[at : at+f[6]])}
		at = (at + f[6] + 3) &^ 3
		if name == "TRAILER!!!" {
			require.Len(t, b, at)
			return all
		}
		require.False(t, inodes[f[0]], "inode %d", f[0])
		inodes[f[0]] = true
		all = append(all, e)
	}
}

func TestArchive(t *testing.T) {
	for _, content := range []string{"", "1", "12", "123", "1234", strings.Repeat("long", 1<<19)} {
		path := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		var out bytes.Buffer
		a := newArchive(&out)
		a.dir("bin", 0o755)
		a.copy("bin/x"+content[:min(len(content), 3)], 0o755, path)
		a.symlink("init", "bin/x")
		a.device("dev/console", 0o600, 5, 1)
		require.NoError(t, a.close())
		require.Equal(t, []entry{
			{name: "bin", mode: 0o040755},
			{name: "bin/x" + content[:min(len(content), 3)], mode: 0o100755, content: content},
			{name: "init", mode: 0o120777, content: "bin/x"},
			{name: "dev/console", mode: 0o020600, rdev: [2]int{5, 1}},
		}, parse(t, out.Bytes()))
	}
}

func TestArchiveNoFile(t *testing.T) {
	var out bytes.Buffer
	a := newArchive(&out)
	a.copy("x", 0o755, filepath.Join(t.TempDir(), "x"))
	require.ErrorIs(t, a.close(), os.ErrNotExist)
}

func TestFlavourOf(t *testing.T) {
	for _, name := range Names() {
		f, err := FlavourOf(name)
		require.NoError(t, err)
		require.Equal(t, name, f.Name)
	}
	_, err := FlavourOf("vax")
	require.ErrorContains(t, err, "ppc64-gccgo")
}

func TestListed(t *testing.T) {
	for _, module := range []string{"uroot", "uroot-gccgo"} {
		commands, err := listed(filepath.Join(module, "commands.go"))
		require.NoError(t, err)
		require.Contains(t, commands, "github.com/u-root/u-root/cmds/core/init")
		require.Contains(t, commands, "github.com/u-root/u-root/cmds/core/gosh")
	}
	_, err := listed("cpio.go")
	require.Error(t, err)
}
