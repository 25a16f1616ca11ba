package vmtests

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/initramfs/agent"
	"cr/internal/checkout"
)

// compilers are the C compilers for programs of an ABI.
var compilers = map[string]string{
	"i386":    "i686-linux-gnu-gcc",
	"x86_64":  "x86_64-linux-gnu-gcc",
	"ppc":     "powerpc-linux-gnu-gcc",
	"ppc64":   "powerpc64-linux-gnu-gcc",
	"ppc64le": "powerpc64le-linux-gnu-gcc",
}

// compile makes a program for guests, linked with the C library, of
// testdata/NAME.c. It returns the program's path on the host, which is in dir.
func compile(t *testing.T, dir, abi, name string) string {
	t.Helper()
	path := filepath.Join(dir, name+"-"+abi)
	gcc, err := exec.LookPath(compilers[abi])
	require.NoError(t, err, "run scripts/setup test")
	out, err := exec.Command(gcc, "-Wall", "-O2", "-g", "-static", "-pthread", "-o", path, filepath.Join("testdata", name+".c")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// busybox is Debian's for an architecture, where scripts/setup has put it.
func busybox(t *testing.T, arch string) string {
	t.Helper()
	programs, err := checkout.Cache("programs")
	require.NoError(t, err)
	file := filepath.Join(programs, "busybox-"+arch)
	require.FileExists(t, file, "run scripts/setup test")
	return file
}

// TestPrograms saves a pipeline of programs in the middle, and looks whether
// everything goes through that should once it was restarted: u-root's shell and
// commands, which are Go programs, in each guest; Debian's busybox where there is one.
func TestPrograms(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		guest string
		arch  []string // of busybox
	}{
		{guest: "ppc32-7447"},
		{guest: "e500v2"},
		{guest: "ppc64-power8"},
		{guest: "ppc64-970fx"}, // gccgo's Go
		{guest: "ppc64le-power9", arch: []string{"ppc64el"}},
		{guest: "i386-max", arch: []string{"i386"}},
		{guest: "x86_64-max", arch: []string{"i386", "amd64"}},
	} {
		t.Run(test.guest, func(t *testing.T) {
			t.Parallel()
			guest := guests.get(t, test.guest)
			t.Run("u-root", func(t *testing.T) {
				shell := []string{"gosh"}
				if g := guest.Guest; g.Flavour == "ppc32" || g.Flavour == "ppc64-gccgo" {
					shell = []string{"gosh", "."} // that of u-root v0.11 takes commands, not a file
				}
				guest.pipeline(t, "uroot", "", shell...)
			})
			for _, arch := range test.arch {
				t.Run("busybox "+arch, func(t *testing.T) {
					name := "busybox-" + arch
					out, err := exec.Command("cp", busybox(t, arch), filepath.Join(guest.dir, name)).CombinedOutput()
					require.NoError(t, err, "%s", out)
					program := path.Join(agent.Dir, name)
					guest.pipeline(t, arch, program, program, "sh")
				})
			}
		})
	}
}

// pipeline checkpoints `seq | grep | cat` in a guest while seq's shell waits for
// a file, and kills it. Then the restarted one gets the file. Commands are those
// of a program that acts by its first argument, or of the guest.
func (m *member) pipeline(t *testing.T, dir, program string, shell ...string) {
	require.NoError(t, os.MkdirAll(filepath.Join(m.dir, dir), 0o755))
	// The shell's pid is the parent's of a command that it runs.
	const script = `set -- $(%[1]s cat /proc/self/stat)
echo $4
{ %[1]s seq 1 3000; until [ -e %[2]s ]; do %[1]s sleep 0.1; done; %[1]s seq 3001 6000; } | %[1]s grep -v 7 | %[1]s cat
echo done
`
	file := filepath.Join(m.dir, dir, "script")
	goOn := filepath.Join(m.dir, dir, "go")
	require.NoError(t, os.WriteFile(file, []byte(fmt.Sprintf(script, program, m.see(t, goOn))), 0o644))
	j := startJob(t, m, dir, append(shell, m.see(t, file))...)
	image, before := j.save()

	require.NoError(t, os.WriteFile(goOn, nil, 0o644))
	var want strings.Builder
	for i := 1; i <= 6000; i++ {
		if n := fmt.Sprint(i); !strings.Contains(n, "7") {
			want.WriteString(n + "\n")
		}
	}
	want.WriteString("done\n")
	require.NotContains(t, before, "\n6000\n", "it was saved in the middle")
	for _, pids := range []string{"namespace", "keep"} {
		r := startJob(t, m, dir, "cr", "restart", "--pids="+pids, image)
		after := r.rest()()
		require.NoError(t, <-r.end, "%s: %s", pids, &r.said)
		require.Equal(t, want.String(), before+after, pids)
	}
}
