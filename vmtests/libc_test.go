package vmtests

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cr/convert"
	"cr/initramfs/agent"
)

// job is a program of testdata that runs in a guest until a file is there. It
// lives in a directory of its own, at the same path in all guests.
type job struct {
	t     *testing.T
	guest *member
	dir   string // of all guests, below that of the host
	out   *bufio.Reader
	said  bytes.Buffer
	end   chan error
}

// startJob runs argv in a guest, behind which comes the name of the file that
// ends the job.
func startJob(t *testing.T, guest *member, dir string, argv ...string) *job {
	t.Helper()
	j := &job{t: t, guest: guest, dir: dir, end: make(chan error, 1)}
	r, w := io.Pipe()
	j.out = bufio.NewReader(r)
	go func() {
		err := guest.Run(t.Context(), Command{Argv: argv, Stdout: w, Stderr: &j.said})
		w.Close()
		j.end <- err
	}()
	return j
}

// line waits for a line of a job's output.
func (j *job) line() string {
	j.t.Helper()
	line := make(chan string, 1)
	go func() {
		s, err := j.out.ReadString('\n')
		if err != nil {
			s += fmt.Sprint("(", err, ")")
		}
		line <- strings.TrimSpace(s)
	}()
	return j.await(line, "says nothing")
}

// await waits for text from a job's output.
func (j *job) await(text <-chan string, otherwise string) string {
	j.t.Helper()
	select {
	case s := <-text:
		return s
	case <-time.After(*idleFlag):
		j.t.Fatalf("%s %s", j.guest.Guest.Name, otherwise)
		return ""
	}
}

// rest reads what is left of a job's output, from now on, since a guest's
// commands all wait for one whose output nobody reads. What it returns waits for
// the end of the output. The job's end is in end then.
func (j *job) rest() func() string {
	text := make(chan string, 1)
	go func() {
		b, err := io.ReadAll(j.out)
		if err != nil {
			b = fmt.Append(b, "(", err, ")")
		}
		text <- string(b)
	}()
	return func() string {
		j.t.Helper()
		return j.await(text, "does not end")
	}
}

// save checkpoints and kills a job whose first line is the pid of its program.
// It returns the image's path in the guest, and what the job has written since.
func (j *job) save() (image, said string) {
	j.t.Helper()
	pid := j.line()
	require.Regexp(j.t, `^\d+$`, pid, "%s", &j.said)
	rest := j.rest()
	image = path.Join(agent.Dir, j.dir, "image")
	out, complaint, status := j.guest.try(j.t, "cr", "checkpoint", "--kill", "-o", image, pid)
	require.Zero(j.t, status, "%s%s", out, complaint)
	return image, rest()
}

// finish makes the file that ends a job, and waits for it to end well.
func (j *job) finish() {
	j.t.Helper()
	stop := filepath.Join(j.guest.dir, j.dir, "stop")
	require.NoError(j.t, os.WriteFile(stop, nil, 0o644))
	line, err := j.line(), <-j.end
	require.NoError(j.t, err, "%s\n%s", line, &j.said)
	require.Equal(j.t, "done", line, "%s", &j.said)
	require.NoError(j.t, os.Remove(stop))
}

// checkpoints saves a job a few times, at instants that are nothing special. It
// returns the images' names.
func (j *job) checkpoints(pid string, n int) []string {
	j.t.Helper()
	var names []string
	for i := 0; i < n; i++ {
		name := fmt.Sprint("image", i)
		out, said, status := j.guest.try(j.t, "cr", "checkpoint", "-o", path.Join(agent.Dir, j.dir, name), pid)
		require.Zero(j.t, status, "%s%s", out, said)
		names = append(names, name)
	}
	return names
}

// TestClock moves programs in the middle of clock_gettime to kernels that have
// another vdso; to CPUs that have all that the C library may have chosen code by.
// With signals only where a handler's frame can move, see docs/moving.md.
func TestClock(t *testing.T) {
	t.Parallel()
	const ticks = "5000"
	for _, m := range []struct{ from, to, abi, every string }{
		{"ppc32-7447", "ppc64-power8", "ppc", "0"},
		{"ppc64-power8", "ppc64-power9", "ppc64", "0"},
		{"ppc64-power8", "ppc64-power9", "ppc", "0"},
		{"ppc64le-power8", "ppc64le-power9", "ppc64le", "0"},
		{"i386-max", "x86_64-max", "i386", "0"},
		{"x86_64-qemu64", "x86_64-max", "x86_64", ticks},
	} {
		t.Run(m.from+" to "+m.to+", "+m.abi, func(t *testing.T) {
			t.Parallel()
			from, to := guests.get(t, m.from), guests.get(t, m.to)
			dir := "clock-" + m.from + "-" + m.abi
			require.NoError(t, os.MkdirAll(filepath.Join(from.dir, dir), 0o755))
			program := compile(t, filepath.Join(from.dir, dir), m.abi, "clock")
			j := startJob(t, from, dir, from.see(t, program), path.Join(agent.Dir, dir, "stop"), m.every)
			images := j.checkpoints(j.line(), 3)
			j.finish()
			from.lend(t, to, dir)
			from.leave(t)
			for _, image := range images {
				r := startJob(t, to, dir, "cr", "restart", path.Join(agent.Dir, dir, image))
				time.Sleep(time.Second)
				r.finish()
			}
		})
	}
}

// TestHWCAP is that programs which choose code by AT_HWCAP stay movable when
// they are told less: a machine without VSX takes them then, one without ISA 3.0
// those of little endian, whose C library needs VSX anyway.
func TestHWCAP(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ abi, from, to, feature string }{
		{"ppc64", "ppc64-power9", "ppc64-power8-novsx", "vsx"},
		{"ppc", "ppc64-power9", "ppc64-power8-novsx", "vsx"},
		{"ppc64le", "ppc64le-power9", "ppc64le-power8", "arch_3_00"},
	} {
		t.Run(test.abi+" without "+test.feature, func(t *testing.T) {
			t.Parallel()
			from, to := guests.get(t, test.from), guests.get(t, test.to)
			dir := "hwcap-" + test.abi
			require.NoError(t, os.MkdirAll(filepath.Join(from.dir, dir), 0o755))
			other := filepath.Join(from.dir, dir, "other.json")
			f, err := os.Create(other)
			require.NoError(t, err)
			defer f.Close()
			require.NoError(t, convert.WriteMachine(f, to.machine))
			program := from.see(t, compile(t, filepath.Join(from.dir, dir), test.abi, "hwcap"))
			verify := func(image string) (string, int) {
				out, said, status := from.try(t, "cr", "verify", "--strict", "--on", from.see(t, other), path.Join(agent.Dir, dir, image))
				require.Empty(t, said)
				return out, status
			}

			// As it is: it may have chosen code that uses the feature.
			j := startJob(t, from, dir, program, path.Join(agent.Dir, dir, "stop"))
			pid, told, _ := strings.Cut(j.line(), " ")
			require.Contains(t, told, test.feature)
			images := j.checkpoints(pid, 1)
			j.finish()
			out, status := verify(images[0])
			require.Equal(t, 1, status)
			require.Contains(t, out, test.feature)

			// Told of no more than the other machine has.
			j = startJob(t, from, dir, "cr", "run", "--cpu-like", from.see(t, other), program, path.Join(agent.Dir, dir, "stop"))
			pid, told, _ = strings.Cut(j.line(), " ")
			require.NotContains(t, told, test.feature)
			images = j.checkpoints(pid, 3)
			j.finish()
			for _, image := range images {
				out, status = verify(image)
				require.Zero(t, status, out)
			}
			from.lend(t, to, dir)
			from.leave(t)
			for _, image := range images {
				r := startJob(t, to, dir, "cr", "restart", path.Join(agent.Dir, dir, image))
				time.Sleep(time.Second)
				r.finish()
			}
		})
	}
}
