package vmtests

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cr/convert"
	"cr/image"
	"cr/initramfs/agent"
)

// TestThereAndBack takes 32-bit programs of a 32-bit kernel to a 64-bit one, and
// saves them there for the way back. The second image has the first kernel's vdso,
// changed to lead to the second's. On powerpc a program that uses memory must not
// know the size of cache blocks.
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	for _, m := range []struct {
		home, away, abi, program string
		run                      []string
	}{
		{"ppc32-7447", "ppc64-power8", "ppc", "clock", nil},
		{"ppc32-7447", "ppc64-power8", "ppc", "low", []string{"cr", "run", "--3gb"}},
		{"i386-max", "x86_64-max", "i386", "clock", nil},
		{"i386-max", "x86_64-max", "i386", "low", nil},
	} {
		t.Run(fmt.Sprintf("%s to %s and back, %s, %s", m.home, m.away, m.abi, m.program), func(t *testing.T) {
			t.Parallel()
			home, away := guests.get(t, m.home), guests.get(t, m.away)
			dir := "back-" + m.program + "-" + m.abi
			travel(t, dir, m.abi, m.program, m.run, home, away, home)

			warned := strings.Contains(warningsOf(t, away, filepath.Join(home.dir, dir, "image0")).Error(), "cache blocks")
			require.Equal(t, m.abi == "ppc" && m.run == nil, warned)
		})
	}
}

// TestRunLow starts 32-bit programs under a 64-bit kernel with cr run --3gb, so
// that they can go to a 32-bit one, and back. 64-bit programs lie above all the same.
func TestRunLow(t *testing.T) {
	t.Parallel()
	for _, m := range []struct{ home, away, abi string }{
		{"ppc64-power8", "ppc32-7447", "ppc"},
		{"x86_64-max", "i386-max", "i386"},
	} {
		t.Run(m.home+" to "+m.away+", "+m.abi, func(t *testing.T) {
			t.Parallel()
			home, away := guests.get(t, m.home), guests.get(t, m.away)
			run := []string{"cr", "run", "--3gb"}
			travel(t, "3gb-"+m.home, m.abi, "low", run, home, away, home)
			out, said, status := home.try(t, append(run, "cat", "/proc/self/maps")...)
			require.Zero(t, status, said)
			require.Regexp(t, `(?m)^[0-9a-f]{9,}-[0-9a-f]{9,} .* \[stack\]$`, out)
		})
	}
}

// travel starts a program of testdata in a guest, after the words run, and takes it
// on to the others one after the other. There it goes on for a while each time.
func travel(t *testing.T, dir, abi, name string, run []string, first *member, others ...*member) {
	t.Helper()
	for _, other := range others {
		other.leave(t)
	}
	first.enter(t)
	require.NoError(t, os.MkdirAll(filepath.Join(first.dir, dir), 0o755))
	program := first.see(t, compile(t, filepath.Join(first.dir, dir), abi, name))
	argv := append(append([]string(nil), run...), program, path.Join(agent.Dir, dir, "stop"))
	if name == "low" {
		argv = append(argv, "exec")
	}
	j := startJob(t, first, dir, argv...)
	pid := j.line()
	require.Regexp(t, `^\d+$`, pid, "%s", &j.said)
	from, rest, warnings := first, j.rest(), ""
	for i, to := range others {
		time.Sleep(time.Second)
		file := path.Join(agent.Dir, dir, fmt.Sprint("image", i))
		for began := time.Now(); ; {
			out, said, status := from.try(t, "cr", "checkpoint", "--kill", "-o", file, pid)
			if status == 0 {
				break
			}
			// It looks at files of its own in /proc now and then.
			require.Contains(t, said, "a file of /proc", "%s\nthe program: %s", out, &j.said)
			require.Less(t, time.Since(began), *idleFlag)
		}
		require.Empty(t, rest())
		require.Error(t, <-j.end, "it was killed")
		require.Equal(t, warnings, j.said.String())
		from.lend(t, to, dir)
		from.leave(t)
		to.enter(t)
		j = startJob(t, to, dir, "cr", "restart", "--name", dir, file)
		warnings = ""
		for _, w := range warningsOf(t, to, filepath.Join(to.dir, dir, path.Base(file))) {
			warnings += "cr restart: warning: " + w.Error() + "\n"
		}
		from = to
		if i < len(others)-1 {
			rest = j.rest()
			pid = j.running(dir, rest)
		}
	}
	time.Sleep(time.Second)
	j.finish()
	require.Equal(t, warnings, j.said.String())
}

// warningsOf are this host's about an image and a guest.
func warningsOf(t *testing.T, m *member, file string) convert.Reasons {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	img, _, err := image.Read(f)
	require.NoError(t, err)
	return convert.Warnings(m.machine, img)
}

// running waits until what a job restarts under a name runs, and gives its pid.
// rest waits for the job's output.
func (j *job) running(name string, rest func() string) string {
	j.t.Helper()
	for began := time.Now(); time.Since(began) < *idleFlag; time.Sleep(100 * time.Millisecond) {
		out, said, status := j.guest.try(j.t, "cr", "ps", "--json")
		require.Zero(j.t, status, said)
		var list []struct {
			Name, State string
			PID         int
		}
		require.NoError(j.t, json.Unmarshal([]byte(out), &list))
		for _, r := range list {
			if r.Name == name && r.State == "running" {
				return strconv.Itoa(r.PID)
			}
		}
		select {
		case err := <-j.end:
			j.t.Fatalf("%v\n%s%s", err, rest(), &j.said)
		default:
		}
	}
	j.t.Fatalf("%s does not run", name)
	return ""
}
