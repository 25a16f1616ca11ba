// Package apps has tests only: programs that people run are checkpointed with
// cr, ended, restarted from the image, and must then do their work.
//
// Each runs as root and as a user without any privilege, where the tests are
// run by root, and otherwise as whoever runs them.
package apps

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cr/internal/checkout"
	"cr/internal/proc"
)

// cr is the utility that the tests use.
var cr string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "apps")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		if err := os.Chmod(dir, 0o755); err != nil { // other users run it too
			panic(err)
		}
		// Servers, and one that scripts/setup has unpacked.
		programs, err := checkout.Cache("programs")
		if err != nil {
			panic(err)
		}
		path := os.Getenv("PATH") + ":/usr/sbin:" + filepath.Join(programs, "usr/sbin")
		if err := os.Setenv("PATH", path); err != nil {
			panic(err)
		}
		cr = filepath.Join(dir, "cr")
		if out, err := exec.Command("go", "build", "-o", cr, "cr/cmd/cr").CombinedOutput(); err != nil {
			panic(fmt.Sprintf("%v\n%s", err, out))
		}
		return m.Run()
	}())
}

// patience is how long anything may take on a busy machine.
const patience = 2 * time.Minute

// place is where a program of a test runs: a directory of its own, and a user.
type place struct {
	*testing.T
	dir  string
	attr *syscall.SysProcAttr
	env  []string
}

// nobody is the user without privileges.
const nobody = 65534

// each runs a test as root and as a user without privileges.
func each(t *testing.T, test func(p *place)) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Run("user", func(t *testing.T) { test(newPlace(t, nil)) })
		return
	}
	t.Run("root", func(t *testing.T) { test(newPlace(t, nil)) })
	t.Run("user", func(t *testing.T) {
		test(newPlace(t, &syscall.Credential{Uid: nobody, Gid: nobody}))
	})
}

func newPlace(t *testing.T, user *syscall.Credential) *place {
	t.Helper()
	// Not t.TempDir, whose parent other users may not enter; and short, for
	// the addresses of sockets.
	dir, err := os.MkdirTemp("", "app")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	p := &place{T: t, dir: dir, attr: &syscall.SysProcAttr{Credential: user}}
	if user != nil {
		require.NoError(t, os.Chown(dir, int(user.Uid), int(user.Gid)))
	}
	p.env = []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + dir, "TMPDIR=" + dir, "LC_ALL=C.UTF-8"}
	return p
}

// needs skips a test of a program that is not installed.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("there is no %s here: scripts/setup test installs it", name)
		}
	}
}

// path is that of a file of the place.
func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

// write writes a file that everybody can read.
func (p *place) write(name, text string) string {
	p.Helper()
	path := p.path(name)
	require.NoError(p, os.WriteFile(path, []byte(text), 0o644))
	if c := p.attr.Credential; c != nil {
		require.NoError(p, os.Chown(path, int(c.Uid), int(c.Gid)))
	}
	return path
}

// read reads a file.
func (p *place) read(name string) string {
	p.Helper()
	b, err := os.ReadFile(p.path(name))
	require.NoError(p, err)
	return string(b)
}

func (p *place) command(argv ...string) *exec.Cmd {
	c := exec.Command(argv[0], argv[1:]...)
	c.Dir, c.Env = p.dir, p.env
	c.SysProcAttr = &syscall.SysProcAttr{Credential: p.attr.Credential}
	return c
}

// output runs a command that must succeed, and returns its output.
func (p *place) output(argv ...string) string {
	p.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := p.command(argv...)
	var out, said bytes.Buffer
	c.Stdout, c.Stderr = &out, &said
	require.NoError(p, c.Start())
	stop := context.AfterFunc(ctx, func() { _ = c.Process.Kill() })
	defer stop()
	err := c.Wait()
	require.NoError(p, err, "%q\n%s%s", argv, &out, &said)
	return out.String()
}

// program is a running program.
type program struct {
	*place
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	said *bytes.Buffer
	done chan error
}

// start starts a program in a session of its own, with pipes for input and
// output.
func (p *place) start(argv ...string) *program {
	p.Helper()
	c := p.command(argv...)
	c.SysProcAttr.Setsid = true
	r := &program{place: p, cmd: c, said: new(bytes.Buffer), done: make(chan error, 1)}
	c.Stderr = r.said
	var err error
	r.in, err = c.StdinPipe()
	require.NoError(p, err)
	out, w, err := os.Pipe()
	require.NoError(p, err)
	c.Stdout = w
	r.out = bufio.NewReader(out)
	require.NoError(p, c.Start())
	w.Close()
	// What a program leaves behind may keep its standard error open.
	c.WaitDelay = time.Second
	go func() { r.done <- c.Wait() }()
	p.Cleanup(func() {
		killTree(c.Process.Pid)
		out.Close()
	})
	return r
}

// killTree ends a process and its descendants.
func killTree(pid int) {
	children := childrenOf(pid)
	_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
	for _, c := range children {
		killTree(c)
	}
}

// childrenOf lists the children of a process; none if it has ended.
func childrenOf(pid int) []int {
	list, _ := proc.Children(pid)
	return list
}

// line reads one line of the output.
func (r *program) line() string {
	r.Helper()
	got := make(chan string, 1)
	go func() {
		line, err := r.out.ReadString('\n')
		if err != nil {
			line += fmt.Sprintf("(%v)", err)
		}
		got <- strings.TrimSuffix(line, "\n")
	}()
	select {
	case line := <-got:
		return line
	case <-time.After(patience):
		require.FailNow(r, "the program is silent", "%s", r.said)
		return ""
	}
}

// say writes to the input.
func (r *program) say(text string) {
	r.Helper()
	_, err := io.WriteString(r.in, text)
	require.NoError(r, err)
}

// rest closes the input and returns what the program has still to say. It must
// end well.
func (r *program) rest() string {
	r.Helper()
	r.in.Close()
	got := make(chan string, 1)
	go func() {
		b, err := io.ReadAll(r.out)
		if err != nil {
			b = append(b, err.Error()...)
		}
		got <- string(b)
	}()
	var text string
	select {
	case text = <-got:
	case <-time.After(patience):
		require.FailNow(r, "the program does not end", "%s", r.said)
	}
	require.NoError(r, r.wait(), "%s\n%s", text, r.said)
	return text
}

// wait waits for the program to end.
func (r *program) wait() error {
	r.Helper()
	select {
	case err := <-r.done:
		r.done <- err
		return err
	case <-time.After(patience):
		require.FailNow(r, "the program does not end", "%s", r.said)
		return nil
	}
}

// through saves the program, ends it, and restarts it from the image.
func (r *program) through() *program {
	r.Helper()
	return r.restart(r.checkpoint(r.cmd.Process.Pid))
}

// checkpoint saves a process with its descendants and ends them. It returns
// the image's name.
func (p *place) checkpoint(pid int) string {
	p.Helper()
	image := p.path("image")
	p.output(cr, "checkpoint", "--kill", "-o", image, strconv.Itoa(pid))
	for _, gone := range append(childrenOf(pid), pid) {
		require.Eventually(p, func() bool {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", gone))
			return err != nil || strings.Contains(string(b), ") Z ")
		}, patience, 10*time.Millisecond, "pid %d lives", gone)
	}
	return image
}

// restart restarts an image in the foreground of cr.
func (p *place) restart(image string) *program {
	p.Helper()
	return p.start(cr, "restart", image)
}

// freePort is a TCP port that nothing listens on now.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// eventually tries something until it succeeds, and returns its result.
func eventually[T any](p *place, try func() (T, error)) T {
	p.Helper()
	var got T
	var err error
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if got, err = try(); err == nil {
			return got
		}
		if time.Now().After(end) {
			require.NoError(p, err)
		}
	}
}
