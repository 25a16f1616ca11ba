package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/internal/proc"
)

// counter answers each line with how many there were, and does what the line
// says.
const counter = `
import os, signal, sys
n = 0
signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b"usr1\n"))
print("begun", flush=True)
while line := sys.stdin.readline().strip():
    n += 1
    os.write(1, b"%d %s %d\n" % (n, line.encode(), os.getpid()))
    if line.startswith("exit"): os._exit(int(line[4:]))
    if line.startswith("kill"): os.kill(os.getpid(), getattr(signal, "SIG" + line[4:]))
os._exit(99)
`

// python is the python3 that runs programs of the tests.
func python(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 to run the program with")
	}
	return path
}

// running is a program, or the cr that has restarted it, with pipes for input
// and output.
type running struct {
	t    *testing.T
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	said *bytes.Buffer
	done chan error
}

func launch(t *testing.T, change func(*exec.Cmd), argv ...string) *running {
	t.Helper()
	c := exec.Command(argv[0], argv[1:]...)
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if change != nil {
		change(c)
	}
	r := &running{t: t, cmd: c, said: new(bytes.Buffer), done: make(chan error, 1)}
	c.Stderr, c.WaitDelay = r.said, time.Second
	var err error
	r.in, err = c.StdinPipe()
	require.NoError(t, err)
	out, w, err := os.Pipe()
	require.NoError(t, err)
	c.Stdout = w
	require.NoError(t, c.Start())
	w.Close()
	r.out = bufio.NewReader(out)
	go func() { r.done <- c.Wait() }()
	t.Cleanup(func() {
		endTree(c.Process.Pid)
		out.Close()
		r.in.Close()
	})
	return r
}

// endTree ends a process and its descendants.
func endTree(pid int) {
	children, _ := proc.Children(pid)
	_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
	for _, c := range children {
		endTree(c)
	}
}

func (r *running) line() string {
	r.t.Helper()
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
	case <-time.After(limit):
		require.FailNow(r.t, "nothing is said", "%s", r.said)
		return ""
	}
}

func (r *running) say(line string) {
	r.t.Helper()
	_, err := io.WriteString(r.in, line+"\n")
	require.NoError(r.t, err)
}

func (r *running) end() syscall.WaitStatus {
	r.t.Helper()
	select {
	case err := <-r.done:
		r.done <- err
	case <-time.After(limit):
		require.FailNow(r.t, "it does not end", "%s", r.said)
	}
	return r.cmd.ProcessState.Sys().(syscall.WaitStatus)
}

// checkpointed starts a counter that has counted one line, and saves it.
func checkpointed(t *testing.T, cr string, options ...string) (r *running, image string) {
	t.Helper()
	r = launch(t, nil, python(t), "-c", counter)
	require.Equal(t, "begun", r.line())
	r.say("one")
	require.Equal(t, fmt.Sprint("1 one ", r.cmd.Process.Pid), r.line())
	image = filepath.Join(t.TempDir(), "image")
	_, said, w := run(t, cr, append(append([]string{"checkpoint"}, options...), "-o", image, strconv.Itoa(r.cmd.Process.Pid))...)
	require.Zero(t, w.ExitStatus(), said)
	require.Empty(t, said)
	return r, image
}

// state is the state of a process as /proc has it: R, S, T, Z and so on.
func state(t *testing.T, pid int) string {
	t.Helper()
	_, s, err := startOf(pid)
	require.NoError(t, err)
	return string(s)
}

func TestCheckpointAfterwards(t *testing.T) {
	cr, _ := programs(t)
	for _, option := range []string{"--leave-running", ""} {
		r, _ := checkpointed(t, cr, strings.Fields(option)...)
		r.say("two")
		require.Equal(t, fmt.Sprint("2 two ", r.cmd.Process.Pid), r.line())
	}
	r, image := checkpointed(t, cr, "--stop")
	require.Eventually(t, func() bool { return state(t, r.cmd.Process.Pid) == "T" }, limit, 10*time.Millisecond)
	require.NoError(t, r.cmd.Process.Signal(unix.SIGCONT))
	r.say("two")
	require.Equal(t, fmt.Sprint("2 two ", r.cmd.Process.Pid), r.line())
	st, err := os.Stat(image)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode())

	r, _ = checkpointed(t, cr, "--kill")
	require.Equal(t, unix.SIGKILL, r.end().Signal())
	for _, args := range [][]string{{"--kill", "--stop", "1"}, {"--stop", "--leave-running", "1"}, {}, {"x"}, {"0"}, {"1", "2"}} {
		_, said, w := run(t, cr, append([]string{"checkpoint", "-o", "/dev/null"}, args...)...)
		require.Equal(t, failed, w.ExitStatus())
		require.Contains(t, said, "usage: cr checkpoint")
	}
}

// TestCheckpointWholeOrNothing has checkpoints that fail: what was there stays,
// and nothing is left beside it.
func TestCheckpointWholeOrNothing(t *testing.T) {
	cr, _ := programs(t)
	r := launch(t, nil, python(t), "-c", counter)
	require.Equal(t, "begun", r.line())
	pid := strconv.Itoa(r.cmd.Process.Pid)
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	require.NoError(t, os.WriteFile(image, []byte("an old one"), 0o644))
	for _, c := range []struct{ pid, output, said string }{
		{"4194303", image, "no such process"},
		{pid, filepath.Join(dir, "missing", "image"), "no such file or directory"},
		{pid, dir, "is a directory"},
		{pid, "/dev/full", "no space left on device"},
	} {
		_, said, w := run(t, cr, "checkpoint", "--kill", "-o", c.output, c.pid)
		require.Equal(t, failed, w.ExitStatus(), said)
		require.Contains(t, said, c.said)
		files, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, files, 1, "%v", files)
		b, err := os.ReadFile(image)
		require.NoError(t, err)
		require.Equal(t, "an old one", string(b))
	}
	r.say("one")
	require.Equal(t, "1 one "+pid, r.line(), "it runs on")

	// A link to a file: the file is replaced.
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink("image", link))
	_, said, w := run(t, cr, "checkpoint", "-o", link, pid)
	require.Zero(t, w.ExitStatus(), said)
	out, _, w := run(t, cr, "info", image)
	require.Zero(t, w.ExitStatus())
	require.Contains(t, out, pid)
	to, err := os.Readlink(link)
	require.NoError(t, err)
	require.Equal(t, "image", to)

	// A FIFO is written to as it is.
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	info := launch(t, func(c *exec.Cmd) { c.Args[2] = fifo }, cr, "info", "")
	_, said, w = run(t, cr, "checkpoint", "-o", fifo, pid)
	require.Zero(t, w.ExitStatus(), said)
	require.Zero(t, info.end().ExitStatus(), info.said)
}

// TestCheckpointKilled kills cr while it writes: nothing is left, and the
// program runs on.
func TestCheckpointKilled(t *testing.T) {
	cr, _ := programs(t)
	for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGTERM} {
		r := launch(t, nil, python(t), "-c", counter)
		require.Equal(t, "begun", r.line())
		dir := t.TempDir()
		c := exec.Command(cr, "checkpoint", "-o", filepath.Join(dir, "image"), strconv.Itoa(r.cmd.Process.Pid))
		require.NoError(t, c.Start())
		for tracer := 0; tracer == 0; {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
			require.NoError(t, err)
			tracer = field(t, b, "TracerPid")
		}
		require.NoError(t, c.Process.Signal(sig))
		err := c.Wait()
		files, e := os.ReadDir(dir)
		require.NoError(t, e)
		if err != nil { // otherwise it was too late
			require.Empty(t, files)
		}
		r.say("one")
		require.Equal(t, fmt.Sprint("1 one ", r.cmd.Process.Pid), r.line())
	}
}

func TestRestartStatus(t *testing.T) {
	cr, _ := programs(t)
	r, image := checkpointed(t, cr, "--kill")
	r.end()
	pid := r.cmd.Process.Pid
	for _, c := range []struct {
		do     string
		status int
		signal syscall.Signal
	}{
		{do: "exit0"}, {do: "exit7", status: 7}, {do: "exit125", status: 125},
		{do: "killTERM", signal: unix.SIGTERM}, {do: "killKILL", signal: unix.SIGKILL}, {do: "killSEGV", signal: unix.SIGSEGV},
	} {
		q := launch(t, nil, cr, "restart", image)
		q.say("two")
		require.Equal(t, fmt.Sprint("2 two ", pid), q.line(), "it has its pid; %s", q.said)
		q.say(c.do)
		require.Equal(t, fmt.Sprintf("3 %s %d", c.do, pid), q.line())
		w := q.end()
		require.Equal(t, c.signal != 0, w.Signaled(), c.do)
		if w.Signaled() {
			require.Equal(t, c.signal, w.Signal())
		} else {
			require.Equal(t, c.status, w.ExitStatus(), c.do)
		}
		require.Empty(t, q.said.String())
	}
	// The end of the input is that of the program; signals to cr are for it.
	q := launch(t, nil, cr, "restart", image)
	q.in.Close()
	require.Equal(t, 99, q.end().ExitStatus(), q.said)
	q = launch(t, nil, cr, "restart", image)
	q.say("two")
	require.Equal(t, fmt.Sprint("2 two ", pid), q.line())
	require.NoError(t, q.cmd.Process.Signal(unix.SIGUSR1))
	q.say("three")
	require.ElementsMatch(t, []string{"usr1", fmt.Sprint("3 three ", pid)}, []string{q.line(), q.line()})
	require.NoError(t, q.cmd.Process.Signal(unix.SIGTERM))
	require.Equal(t, unix.SIGTERM, q.end().Signal())

	// cr's own failures.
	for _, args := range [][]string{{"/nonexistent"}, {"/dev/null"}, {"--pids=x", image}, {image, image}, {"--detach", image}} {
		_, said, w := run(t, cr, append([]string{"restart"}, args...)...)
		require.Equal(t, failed, w.ExitStatus(), "%q", args)
		require.Contains(t, said, "cr restart: ")
	}
}

func TestRestartPIDs(t *testing.T) {
	cr, _ := programs(t)
	r, image := checkpointed(t, cr)
	pid := r.cmd.Process.Pid
	// The pid is taken.
	_, said, w := run(t, cr, "restart", "--pids=keep", image)
	require.Equal(t, failed, w.ExitStatus())
	require.Contains(t, said, fmt.Sprintf("pid %d is in use", pid))
	q := launch(t, nil, cr, "restart", "--pids=new", image)
	q.say("two")
	line := q.line()
	children, err := proc.Children(q.cmd.Process.Pid)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprint("2 two ", children[0]), line)
	require.NotEqual(t, pid, children[0])
	q.say("exit3")
	require.Equal(t, fmt.Sprint("3 exit3 ", children[0]), q.line())
	require.Equal(t, 3, q.end().ExitStatus())

	// It is free, and pids are those that programs outside see.
	require.NoError(t, r.cmd.Process.Kill())
	r.end()
	q = launch(t, nil, cr, "restart", "--pids=keep", image)
	q.say("two")
	require.Equal(t, fmt.Sprint("2 two ", pid), q.line(), q.said)
	require.NoError(t, unix.Kill(pid, unix.SIGTERM))
	require.Equal(t, unix.SIGTERM, q.end().Signal())
}

// TestRestartDescriptors has a pipe to another program at descriptor 3, where cr
// keeps something itself, and at 9.
func TestRestartDescriptors(t *testing.T) {
	cr, _ := programs(t)
	pipe := func() (r, w *os.File) {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		t.Cleanup(func() { r.Close(); w.Close() })
		return r, w
	}
	at := func(third, ninth *os.File) func(*exec.Cmd) {
		return func(c *exec.Cmd) { c.ExtraFiles = []*os.File{third, nil, nil, nil, nil, nil, ninth} }
	}
	_, w3 := pipe()
	_, w9 := pipe()
	r := launch(t, at(w3, w9), "sh", "-c", "echo begun; read -r x; echo $x 3 >&3; echo $x 9 >&9; exit 5")
	require.Equal(t, "begun", r.line())
	image := filepath.Join(t.TempDir(), "image")
	_, said, w := run(t, cr, "checkpoint", "--kill", "-o", image, strconv.Itoa(r.cmd.Process.Pid))
	require.Zero(t, w.ExitStatus(), said)
	_, said, w = run(t, cr, "restart", image)
	require.Equal(t, failed, w.ExitStatus())
	require.Contains(t, said, "descriptor 3 pipe:")
	require.Contains(t, said, "open it for the restart")

	n3, v3 := pipe()
	n9, v9 := pipe()
	q := launch(t, at(v3, v9), cr, "restart", image)
	v3.Close()
	v9.Close()
	q.say("again")
	for _, c := range []struct {
		f    *os.File
		want string
	}{{n3, "again 3\n"}, {n9, "again 9\n"}} {
		b, err := io.ReadAll(c.f)
		require.NoError(t, err)
		require.Equal(t, c.want, string(b), q.said)
	}
	require.Equal(t, 5, q.end().ExitStatus())
}

// endAll ends processes that are no children of the test.
func endAll(t *testing.T, pids []int) {
	t.Helper()
	for _, p := range pids {
		_ = unix.Kill(p, unix.SIGKILL) // it may have ended
		require.Eventually(t, func() bool { _, _, err := startOf(p); return err != nil }, limit, 10*time.Millisecond)
	}
}

// TestDetach goes through the life of a named program.
func TestDetach(t *testing.T) {
	cr, _ := programs(t)
	runtime := t.TempDir()
	require.NoError(t, os.Chmod(runtime, 0o700))
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	dir := t.TempDir()
	image, trigger, log := filepath.Join(dir, "image"), filepath.Join(dir, "trigger"), filepath.Join(dir, "log")
	script := `
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: os._exit(4))
for i in range(2):
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        while True: time.sleep(0.05)
while not os.path.exists(sys.argv[1]): time.sleep(0.05)
print("done", flush=True)
os._exit(int(open(sys.argv[1]).read()))`
	r := launch(t, nil, python(t), "-c", script, trigger)
	require.Eventually(t, func() bool { c, err := proc.Children(r.cmd.Process.Pid); return err == nil && len(c) == 2 }, limit, 10*time.Millisecond)
	_, said, w := run(t, cr, "checkpoint", "--kill", "-o", image, strconv.Itoa(r.cmd.Process.Pid))
	require.Zero(t, w.ExitStatus(), said)
	r.end()

	list := func() (rows []psRow) {
		out, said, w := run(t, cr, "ps", "--json")
		require.Zero(t, w.ExitStatus(), said)
		require.NoError(t, json.Unmarshal([]byte(out), &rows))
		return rows
	}
	detach := func(name string, options ...string) (string, syscall.WaitStatus) {
		t.Helper()
		f, err := os.Create(log)
		require.NoError(t, err)
		defer f.Close()
		c := exec.Command(cr, append(append([]string{"restart", "--detach", "--name", name}, options...), image)...)
		var said bytes.Buffer
		c.Stdout, c.Stderr, c.WaitDelay = f, &said, time.Second
		err = c.Run()
		var exit *exec.ExitError
		require.True(t, err == nil || errors.As(err, &exit) || errors.Is(err, exec.ErrWaitDelay), "%v", err)
		return said.String(), c.ProcessState.Sys().(syscall.WaitStatus)
	}
	expect := func(status int, said string, args ...string) {
		t.Helper()
		out, errors, w := run(t, cr, args...)
		require.Equal(t, status, w.ExitStatus(), "%s%s", out, errors)
		require.Contains(t, out+errors, said)
	}
	require.Empty(t, list())
	expect(failed, "nothing was restarted as", "wait", "job")
	expect(failed, "nothing was restarted as", "kill", "job")
	expect(failed, "is no name", "wait", "../job")

	for _, pids := range []string{"namespace", "new", "keep"} {
		said, w = detach("job", "--pids="+pids)
		require.Zero(t, w.ExitStatus(), said)
		rows := list()
		require.Len(t, rows, 1)
		require.Equal(t, "running", rows[0].State)
		require.Equal(t, image, rows[0].Image)
		require.Equal(t, 3, rows[0].Tasks)
		children, err := proc.Children(rows[0].PID)
		require.NoError(t, err)
		require.Len(t, children, 2, "all of it runs")
		expect(0, "job", "ps")

		said, w = detach("job")
		require.Equal(t, failed, w.ExitStatus())
		require.Contains(t, said, `"job" is running`)

		// Two wait; both are told, and whoever asks later.
		waiting := launch(t, nil, cr, "wait", "job")
		require.NoError(t, unix.Kill(rows[0].PID, unix.SIGSTOP))
		require.Eventually(t, func() bool { return list()[0].State == "stopped" }, limit, 10*time.Millisecond)
		expect(0, "", "kill", "-s", "CONT", "job")
		require.NoError(t, os.WriteFile(trigger+"~", []byte("42\n"), 0o600))
		require.NoError(t, os.Rename(trigger+"~", trigger))
		require.Equal(t, 42, waiting.end().ExitStatus())
		expect(42, "", "wait", "job")
		expect(0, "exited 42\n", "wait", "--print", "job")
		require.Equal(t, "exited 42", list()[0].State)
		b, err := os.ReadFile(log)
		require.NoError(t, err)
		require.Equal(t, "done\n", string(b))
		require.NoError(t, os.Remove(trigger))
		if pids == "namespace" {
			expect(0, "", "kill", "-s", "KILL", "job") // what the first process has left behind
		}
		expect(failed, "has ended", "kill", "job")
		endAll(t, children) // those in no namespace of their own

		// The name may be used again.
		said, w = detach("job", "--pids="+pids)
		require.Zero(t, w.ExitStatus(), said)
		children, err = proc.Children(list()[0].PID)
		require.NoError(t, err)
		expect(0, "", "kill", "job")
		expect(4, "", "wait", "job")
		endAll(t, children)
		said, w = detach("job", "--pids="+pids)
		require.Zero(t, w.ExitStatus(), said)
		root := list()[0].PID
		children, err = proc.Children(root)
		require.NoError(t, err)
		require.NotEmpty(t, children)
		expect(0, "", "kill", "-s", "SIGKILL", "job")
		expect(128+9, "", "wait", "job")
		expect(0, "killed SIGKILL\n", "wait", "--print", "--forget", "job")
		for _, c := range children {
			require.Eventually(t, func() bool { _, s, err := startOf(c); return err != nil || s == 'Z' }, limit, 10*time.Millisecond)
		}
		require.Empty(t, list())
	}

	// A restart that fails leaves no entry, and its reason.
	require.NoError(t, os.WriteFile(image+"2", []byte("no image"), 0o600))
	_, said, w = run(t, cr, "restart", "--detach", "--name", "other", image+"2")
	require.Equal(t, failed, w.ExitStatus())
	require.Contains(t, said, "cr restart: ")
	require.Equal(t, 1, strings.Count(said, "\n"), said)
	require.Empty(t, list())

	// The cr that watches is killed: the program lives, and can be ended.
	said, w = detach("job")
	require.Zero(t, w.ExitStatus(), said)
	n, err := os.ReadFile(filepath.Join(runtime, "cr", "job", infoFile))
	require.NoError(t, err)
	var entry named
	require.NoError(t, json.Unmarshal(n, &entry))
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", entry.Init.PID))
	require.NoError(t, err)
	watcher := field(t, b, "PPid")
	waiting := launch(t, nil, cr, "wait", "job")
	require.NoError(t, unix.Kill(watcher, unix.SIGKILL))
	require.Eventually(t, func() bool {
		said, w = detach("job")
		return strings.Contains(said, "has been killed")
	}, limit, 10*time.Millisecond)
	require.Equal(t, failed, w.ExitStatus())
	require.Equal(t, "running", list()[0].State)
	expect(0, "", "kill", "-s", "KILL", "job")
	require.Equal(t, failed, waiting.end().ExitStatus())
	require.Contains(t, waiting.said.String(), "its status is lost")
	require.Equal(t, "lost", list()[0].State)

	// The pid has come to another process, which is left alone.
	other := launch(t, nil, "sleep", "1000")
	entry.Root.PID, entry.Init.PID = other.cmd.Process.Pid, other.cmd.Process.Pid
	text, err := json.Marshal(entry)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(runtime, "cr", "job", infoFile), text, 0o600))
	expect(failed, "has ended", "kill", "-s", "KILL", "job")
	expect(failed, "status is lost", "wait", "job")
	require.Equal(t, "lost", list()[0].State)
	require.Contains(t, "SR", state(t, other.cmd.Process.Pid))
	said, w = detach("job")
	require.Zero(t, w.ExitStatus(), said)
	expect(0, "", "kill", "-s", "KILL", "job")
	expect(137, "", "wait", "--forget", "job")
}
