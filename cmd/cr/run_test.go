package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/sys"
)

// The test program is three programs, by the name it is called: the tests, cr
// itself, and a program to run under it.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "cr":
		os.Exit(dispatch(withCPU(os.Args[1:])))
	case "guinea":
		guinea(os.Args[1], os.Args[2:])
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// guinea is the program that runs under cr run.
func guinea(what string, args []string) {
	switch what {
	case "owners":
		oldOwners()
	case "errors":
		callErrors()
	case "call":
		for _, nr := range args {
			n, err := strconv.Atoi(nr)
			if err != nil {
				panic(err)
			}
			_, _, e := syscall.Syscall(uintptr(n), ^uintptr(0), ^uintptr(0), 0)
			fmt.Println(n, name(e))
		}
	case "threadexec":
		runtime.LockOSThread()
		done := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			panic(syscall.Exec(args[0], args, os.Environ()))
		}()
		<-done
	case "late":
		// The last argument names a file to be written when the first is there.
		for {
			if _, err := os.Stat(args[0]); err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		text := fmt.Sprintf("%v", sys.Available())
		if err := os.WriteFile(args[1]+"~", []byte(text), 0o600); err != nil {
			panic(err)
		}
		if err := os.Rename(args[1]+"~", args[1]); err != nil {
			panic(err)
		}
	case "probe":
		// One line in, one line out.
		var line string
		for {
			if n, _ := fmt.Scanln(&line); n == 0 {
				os.Exit(7)
			}
			_, err := sys.Checkpoint(-1, -1, 0)
			_, _, e := syscall.Syscall(sys.Numbers.Restart, 0, 0xffffffff, 0)
			fmt.Println(name(err), name(e))
			oldOwners()
			fmt.Println("end")
		}
	}
}

// name is the name of an errno, "ok" for none.
func name(err error) string {
	var e syscall.Errno
	switch {
	case err == nil || err == syscall.Errno(0):
		return "ok"
	case errors.As(err, &e):
		return unix.ErrnoName(e)
	}
	return err.Error()
}

// oldOwners makes the system calls that share their numbers with the two, on
// one machine or another, and prints what they return.
func oldOwners() {
	f, err := os.CreateTemp("", "owners")
	if err != nil {
		panic(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	n, err := unix.Pwritev(int(f.Fd()), [][]byte{[]byte("ab"), []byte("cde")}, 1)
	fmt.Println("pwritev", n, name(err))
	b := make([]byte, 8)
	n, err = unix.Preadv(int(f.Fd()), [][]byte{b[:3], b[3:]}, 0)
	fmt.Printf("preadv %d %q %s\n", n, b, name(err))

	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		panic(err)
	}
	attr.Nice++
	fmt.Println("sched_setattr", name(unix.SchedSetAttr(0, attr, 0)))
	attr, err = unix.SchedGetAttr(0, 0)
	fmt.Println("sched_getattr", attr.Nice >= 1, name(err))
	attr.Policy = 99
	fmt.Println("sched_setattr", name(unix.SchedSetAttr(0, attr, 0)))

	params := []byte("x=1\x00")
	_, _, e := unix.Syscall(unix.SYS_FINIT_MODULE, f.Fd(), uintptr(unsafe.Pointer(&params[0])), 0)
	fmt.Println("finit_module", name(e))
	_, _, e = unix.Syscall(unix.SYS_FINIT_MODULE, ^uintptr(0), uintptr(unsafe.Pointer(&params[0])), 0)
	fmt.Println("finit_module", name(e))

	perf := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Config: unix.PERF_COUNT_SW_TASK_CLOCK}
	fd, err := unix.PerfEventOpen(&perf, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	fmt.Println("perf_event_open", name(err))
	if err == nil {
		unix.Close(fd)
	}
}

// highFlags are bits of the flags that are not used.
var highFlags = uint(0xfff00000)

// callErrors makes calls that fail, and prints how.
func callErrors() {
	say := func(what string, err error) { fmt.Println(what+":", name(err)) }
	checkpoint := func(what string, pid, fd int, flags uint) {
		_, err := sys.Checkpoint(pid, fd, flags)
		say("checkpoint, "+what, err)
	}
	open := func(path string, flags int) int {
		fd, err := unix.Open(path, flags|unix.O_CREAT, 0o600)
		if err != nil {
			panic(err)
		}
		return fd
	}
	dir, err := os.MkdirTemp("", "errors")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file := open(dir+"/rw", unix.O_RDWR)
	readOnly := open(dir+"/rw", unix.O_RDONLY)
	writeOnly := open(dir+"/rw", unix.O_WRONLY)
	path, err := unix.Open(dir+"/rw", unix.O_PATH, 0)
	if err != nil {
		panic(err)
	}

	zombie, err := syscall.ForkExec("/bin/true", []string{"true"}, nil)
	if err != nil {
		panic(err)
	}
	for {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", zombie))
		if err != nil {
			panic(err)
		}
		if strings.Contains(string(b), ") Z ") {
			break
		}
		time.Sleep(time.Millisecond)
	}
	checkpoint("no such pid", 0x3fffff, file, 0)
	checkpoint("pid -1", -1, file, 0)
	checkpoint("pid -4000", -4000, file, 0)
	checkpoint("a zombie", zombie, file, 0)
	if _, err := syscall.Wait4(zombie, nil, 0, nil); err != nil {
		panic(err)
	}
	checkpoint("a dead pid", zombie, file, 0)
	checkpoint("unknown flags", 0, file, 0x80)
	checkpoint("unknown high flags", 0, file, highFlags)
	checkpoint("descriptor -1", 0, -1, 0)
	checkpoint("closed descriptor", 0, 999, 0)
	checkpoint("read-only descriptor", 0, readOnly, 0)
	checkpoint("O_PATH descriptor", 0, path, 0)

	restart := func(what string, id, fd int, flags uint) { say("restart, "+what, sys.Restart(id, fd, flags)) }
	restart("unknown flags", 0, file, 1)
	restart("descriptor -1", 0, -1, 0)
	restart("closed descriptor", 0, 999, 0)
	restart("write-only descriptor", 0, writeOnly, 0)
}

// programs puts cr and guinea where they can be called.
func programs(t *testing.T) (cr, guinea string) {
	t.Helper()
	dir := t.TempDir()
	cr, guinea = filepath.Join(dir, "cr"), filepath.Join(dir, "guinea")
	self, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(self, cr))
	require.NoError(t, os.Symlink(self, guinea))
	return cr, guinea
}

// limit is how long one run of cr may take on a busy machine.
const limit = time.Minute

// run runs a program and returns its output, what it said, and how it ended.
func run(t *testing.T, path string, args ...string) (out, said string, w syscall.WaitStatus) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c := exec.CommandContext(ctx, path, args...)
	c.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	require.NoError(t, ctx.Err(), "%s %q hangs; it said %q", path, args, stderr.String())
	return stdout.String(), stderr.String(), c.ProcessState.Sys().(syscall.WaitStatus)
}

func TestRunStatus(t *testing.T) {
	cr, _ := programs(t)
	for _, c := range []struct {
		args   []string
		status int            // exit status, or
		signal syscall.Signal // the signal
		said   string
	}{
		{args: []string{"true"}},
		{args: []string{"sh", "-c", "exit 7"}, status: 7},
		{args: []string{"sh", "-c", "exit 255"}, status: 255},
		{args: []string{"--", "sh", "-c", "kill -TERM $$"}, signal: syscall.SIGTERM},
		{args: []string{"sh", "-c", "kill -KILL $$"}, signal: syscall.SIGKILL},
		{args: []string{"sh", "-c", "kill -QUIT $$"}, signal: syscall.SIGQUIT},
		{args: []string{"sh", "-c", "kill -SEGV $$"}, signal: syscall.SIGSEGV},
		{args: []string{"sh", "-c", "kill -34 $$"}, signal: 34},
		{args: []string{"nonexistent-program"}, status: 127, said: "cr run: nonexistent-program: no such file or directory\n"},
		{args: []string{"/nonexistent/program"}, status: 127, said: "cr run: /nonexistent/program: no such file or directory\n"},
		{args: []string{"/etc/passwd"}, status: 126, said: "cr run: /etc/passwd: permission denied\n"},
		{args: []string{}, status: 125, said: "cr run: no program is named\n"},
		{args: []string{"--numbers=1", "true"}, status: 125, said: "two numbers are needed"},
		{args: []string{"--numbers=7,7", "true"}, status: 125, said: "the two numbers are the same"},
		{args: []string{"--numbers=7,x", "true"}, status: 125, said: `"x" is no system call number`},
		{args: []string{cr, "run", "true"}, status: 125, said: "cr run: this is under cr run already"},
	} {
		_, said, w := run(t, cr, append([]string{"run"}, c.args...)...)
		if c.signal != 0 {
			require.True(t, w.Signaled(), "%q: status %d, said %q", c.args, w.ExitStatus(), said)
			require.Equal(t, c.signal, w.Signal(), "%q", c.args)
		} else {
			require.Equal(t, c.status, w.ExitStatus(), "%q: said %q", c.args, said)
		}
		require.Contains(t, said, c.said, "%q", c.args)
		if c.said == "" {
			require.Empty(t, said, "%q", c.args)
		}
	}
}

// The program is started with what the user's shell gave to cr, and nothing
// else: descriptors, limits, signals, PATH.
func TestRunInherits(t *testing.T) {
	cr, _ := programs(t)
	state := func(prefix string) string {
		script := prefix + ` sh -c 'ls /proc/$$/fd; ulimit -n; cat <&7; grep -E "^(Sig(Blk|Ign)|Umask|Cap)" /proc/self/status; echo "$PWD $X"; ls -l /proc/$$/fd/7 | sed "s/.*->//"' 7</etc/hostname`
		out, said, w := run(t, "/bin/sh", "-c", "trap '' INT HUP; umask 027; ulimit -Sn 500; X=1; export X; "+script)
		require.Equal(t, 0, w.ExitStatus(), "said %q", said)
		return out
	}
	require.Equal(t, state(""), state(cr+" run"))
}

func TestRunOldOwners(t *testing.T) {
	cr, guinea := programs(t)
	without, _, w := run(t, guinea, "owners")
	require.Equal(t, 0, w.ExitStatus())
	require.Contains(t, without, `preadv 6 "\x00abcde\x00\x00" ok`, "the call itself works")
	with, said, w := run(t, cr, "run", guinea, "owners")
	require.Equal(t, 0, w.ExitStatus(), said)
	require.Equal(t, without, with)
}

func TestRunErrors(t *testing.T) {
	cr, guinea := programs(t)
	out, said, w := run(t, cr, "run", "--quiet", guinea, "errors")
	require.Equal(t, 0, w.ExitStatus(), said)
	require.Empty(t, said)
	require.Equal(t, `checkpoint, no such pid: ESRCH
checkpoint, pid -1: ESRCH
checkpoint, pid -4000: ESRCH
checkpoint, a zombie: ESRCH
checkpoint, a dead pid: ESRCH
checkpoint, unknown flags: EINVAL
checkpoint, unknown high flags: EINVAL
checkpoint, descriptor -1: EBADF
checkpoint, closed descriptor: EBADF
checkpoint, read-only descriptor: EBADF
checkpoint, O_PATH descriptor: EBADF
restart, unknown flags: EINVAL
restart, descriptor -1: EBADF
restart, closed descriptor: EBADF
restart, write-only descriptor: EBADF
`, out)
}

func TestRunSaysWhy(t *testing.T) {
	cr, guinea := programs(t)
	_, said, _ := run(t, cr, "run", guinea, "errors")
	require.Contains(t, said, "cr run: checkpoint called by pid ")
	require.Contains(t, said, "flags 0x80: invalid argument\n")
	require.Contains(t, said, "is not open for writing: bad file descriptor\n")
	require.NotContains(t, said, "no such process", "an answer to a question is not worth a line")
}

// session is a running `cr run guinea probe`.
type session struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out io.Reader
}

func probe(t *testing.T) *session {
	t.Helper()
	cr, guinea := programs(t)
	c := exec.Command(cr, "run", "--quiet", guinea, "probe")
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	require.NoError(t, err)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	timer := time.AfterFunc(limit, func() { _ = c.Process.Kill() })
	t.Cleanup(func() {
		timer.Stop()
		in.Close()
	})
	return &session{t, c, in, out}
}

func (s *session) ask() string {
	s.t.Helper()
	_, err := fmt.Fprintln(s.in, "go")
	require.NoError(s.t, err)
	var answer []byte
	for !bytes.HasSuffix(answer, []byte("\nend\n")) {
		b := make([]byte, 4096)
		n, err := s.out.Read(b)
		require.NoError(s.t, err, "after %q", answer)
		answer = append(answer, b[:n]...)
	}
	return string(answer)
}

// childrenOf lists the children of a process.
func childrenOf(t *testing.T, pid int) []int {
	t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	require.NoError(t, err)
	var list []int
	for _, task := range tasks {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		require.NoError(t, err)
		for _, f := range strings.Fields(string(b)) {
			n, err := strconv.Atoi(f)
			require.NoError(t, err)
			list = append(list, n)
		}
	}
	return list
}

func TestRunKernelSideKilled(t *testing.T) {
	s := probe(t)
	before := s.ask()
	require.True(t, strings.HasPrefix(before, "ESRCH EBADF\n"), before)
	side := childrenOf(t, s.cmd.Process.Pid)
	require.Len(t, side, 1)
	require.NoError(t, syscall.Kill(side[0], syscall.SIGKILL))
	require.Eventually(t, func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", side[0]))
		return err != nil || strings.Contains(string(b), ") Z ")
	}, limit, 10*time.Millisecond)
	after := s.ask()
	_, owners, _ := strings.Cut(before, "\n")
	require.Equal(t, "ENOSYS ENOSYS\n"+owners, after, "the calls are gone, their numbers' old owners are not")
	require.NoError(t, s.in.Close())
	var exit *exec.ExitError
	require.ErrorAs(t, s.cmd.Wait(), &exit)
	require.Equal(t, 7, exit.ExitCode(), "the program's status still comes through")
}

func TestRunFrontKilled(t *testing.T) {
	s := probe(t)
	s.ask()
	require.NoError(t, s.cmd.Process.Kill())
	require.True(t, strings.HasPrefix(s.ask(), "ESRCH EBADF\n"), "the program goes on, and has the calls")
	require.NoError(t, s.in.Close())
	_ = s.cmd.Wait()
}

func TestRunPassesSignalsOn(t *testing.T) {
	cr, _ := programs(t)
	c := exec.Command(cr, "run", "sh", "-c", "trap 'exit 9' TERM; trap 'echo usr1' USR1; echo ready; while :; do sleep 0.05; done")
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	timer := time.AfterFunc(limit, func() { _ = c.Process.Kill() })
	defer timer.Stop()
	expect := func(want string) {
		b := make([]byte, len(want))
		_, err := io.ReadFull(out, b)
		require.NoError(t, err)
		require.Equal(t, want, string(b))
	}
	expect("ready\n")
	require.NoError(t, c.Process.Signal(syscall.SIGUSR1))
	expect("usr1\n")
	require.NoError(t, c.Process.Signal(syscall.SIGTERM))
	var exit *exec.ExitError
	require.ErrorAs(t, c.Wait(), &exit)
	require.Equal(t, 9, exit.ExitCode())
}

// cr ends with the program; what the program leaves behind keeps the calls, and
// nothing of cr keeps the output open.
func TestRunLeavesBackground(t *testing.T) {
	cr, guinea := programs(t)
	dir := t.TempDir()
	trigger, result := filepath.Join(dir, "trigger"), filepath.Join(dir, "result")
	out, said, w := run(t, cr, "run", "sh", "-c",
		fmt.Sprintf("%s late %s %s </dev/null >/dev/null 2>&1 & echo $!; exit 3", guinea, trigger, result))
	require.Equal(t, 3, w.ExitStatus(), said)
	pid, err := strconv.Atoi(strings.TrimSpace(out))
	require.NoError(t, err)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err, "it is alive")
	parent := field(t, b, "PPid")
	b, err = os.ReadFile(fmt.Sprintf("/proc/%d/status", parent))
	require.NoError(t, err)
	side := field(t, b, "PPid")
	for _, p := range []int{parent, side} {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p))
		require.NoError(t, err)
		require.Equal(t, "cr\n", string(comm))
	}
	require.NoError(t, os.WriteFile(trigger, nil, 0o600))
	require.Eventually(t, func() bool { _, err := os.Stat(result); return err == nil }, limit, 10*time.Millisecond)
	b, err = os.ReadFile(result)
	require.NoError(t, err)
	require.Equal(t, "true", string(b), "the calls are there")
	for _, p := range []int{pid, parent, side} {
		require.Eventually(t, func() bool {
			_, err := os.Stat(fmt.Sprintf("/proc/%d", p))
			return errors.Is(err, os.ErrNotExist)
		}, limit, 10*time.Millisecond, "pid %d is left", p)
	}
}

func field(t *testing.T, status []byte, key string) int {
	t.Helper()
	for _, line := range strings.Split(string(status), "\n") {
		if k, v, _ := strings.Cut(line, ":"); k == key {
			n, err := strconv.Atoi(strings.TrimSpace(v))
			require.NoError(t, err)
			return n
		}
	}
	t.Fatalf("no %s", key)
	return 0
}

func TestRunNumbers(t *testing.T) {
	cr, guinea := programs(t)
	// With other numbers, the usual ones belong to their old owners.
	usual := strconv.Itoa(int(sys.Numbers.Checkpoint))
	outside, _, _ := run(t, guinea, "call", usual, "500", "501")
	require.Contains(t, outside, "500 ENOSYS\n501 ENOSYS\n")
	owner, _, _ := strings.Cut(outside, "\n")
	out, said, w := run(t, cr, "run", "--numbers=500,501", guinea, "call", usual, "500", "501")
	require.Equal(t, 0, w.ExitStatus(), said)
	require.Equal(t, owner+"\n500 ESRCH\n501 EBADF\n", out)
}

// TestRestartInside is a restart by a program that has the calls: the program
// that comes back has them from the same kernel side, as there can be only one.
func TestRestartInside(t *testing.T) {
	cr, _ := programs(t)
	calls, image := callsProgram(t), filepath.Join(t.TempDir(), "image")
	out, said, w := run(t, cr, "run", "--", "sh", "-c", `
		{ sleep 1; exec "$2" checkpoint 0 3>"$1.inner"; } & p=$!
		"$0" checkpoint --kill -o "$1" $p && "$0" restart "$1"`, cr, image, calls)
	require.Empty(t, said)
	require.Equal(t, "checkpoint id\n", out)
	require.Zero(t, w.ExitStatus())
}

// TestCheckpointFromInside is that of a tree by one of its own processes.
func TestCheckpointFromInside(t *testing.T) {
	cr, _ := programs(t)
	_, said, w := run(t, "sh", "-c", `"$0" checkpoint $$ >/dev/null; exit $?`, cr)
	require.Equal(t, failed, w.ExitStatus())
	require.Contains(t, said, "is the one that saves it")
}
