package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cr/kernel"
)

// runCPU names a variable: what it says is --cpu of each cr run that a user would
// start.
const runCPU = "CR_TEST_RUN_CPU"

func withCPU(args []string) []string {
	cpu := os.Getenv(runCPU)
	if cpu == "" || len(args) == 0 || args[0] != "run" || len(args) > 1 && strings.HasPrefix(args[1], "--role=") {
		return args
	}
	return append([]string{"run", "--cpu=" + cpu}, args[1:]...)
}

// asks builds the program that asks the CPU.
func asks(t *testing.T, flags ...string) string {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("cpuid is an instruction of x86, and gcc is asked for programs of x86_64")
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("there is no gcc to build the program that asks the CPU")
	}
	path := filepath.Join(t.TempDir(), "cpuid")
	argv := append(append([]string{"-O1", "-Wall", "-pthread"}, flags...), "-o", path, "testdata/cpuid.c")
	out, err := exec.Command("gcc", argv...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// needFaults skips a test where cpuid cannot be made to fault.
func needFaults(t *testing.T) {
	t.Helper()
	if !kernel.CPUIDFaults() {
		t.Skip("the CPU, or the kernel, cannot make cpuid fault: TestRunCPUID checks that cr warns of it")
	}
}

const toldLess = "--cpu=x86-64-v2"

// TestRunCPUID: a program that asks the CPU is told what it may see, whatever it
// does about SIGSEGV, by threads, children and what it executes, and notices nothing
// else.
func TestRunCPUID(t *testing.T) {
	for _, kind := range [][]string{{}, {"-static"}} {
		program := asks(t, kind...)
		cr, _ := programs(t)
		free, said, w := run(t, program)
		require.Equal(t, 9, w.ExitStatus(), "%s%s", free, said)

		out, said, w := run(t, cr, "run", toldLess, "--cpuid=leave", program)
		require.Equal(t, 9, w.ExitStatus())
		require.Contains(t, said, "programs that ask the CPU itself (cpuid) see it")
		require.Equal(t, free, out)
		if !kernel.CPUIDFaults() {
			t.Log("cpuid cannot be made to fault here: the warning alone is tested")
			out, said, w = run(t, cr, "run", toldLess, program)
			require.Equal(t, 9, w.ExitStatus())
			require.Contains(t, said, "programs that ask the CPU itself (cpuid) see it")
			require.Equal(t, free, out)
			_, said, w = run(t, cr, "run", toldLess, "--cpuid=fault", program)
			require.Equal(t, 125, w.ExitStatus())
			require.Contains(t, said, "--cpuid=fault: ")
			continue
		}

		told := regexp.MustCompile(`(?m)^(first|thread|child|once|blocked|unblocked|ignored|handler|both) \d$`)
		out, said, w = run(t, cr, "run", toldLess, program)
		require.Equal(t, 9, w.ExitStatus(), said)
		require.Empty(t, said)
		require.Equal(t, told.ReplaceAllString(free, "$1 0"), out)
		require.NotContains(t, told.FindString(free), " 0", "the CPU has what is hidden")

		out, said, w = run(t, cr, "run", toldLess, "sh", "-c", "exec sh -c '"+program+" once; :; exec "+program+" once'")
		require.Equal(t, 5, w.ExitStatus(), said)
		require.Equal(t, "once 0\nonce 0\n", out)
		where, _, _ := run(t, program, "where")
		out, _, _ = run(t, cr, "run", toldLess, program, "where")
		require.Equal(t, where, out, "which processor it is on")
		out, _, _ = run(t, cr, "run", "--cpu=-avx512f", program, "once")
		require.Equal(t, "once 1\n", out, "one of two")
		out, _, _ = run(t, cr, "run", "--cpu=all", program, "once")
		require.Equal(t, "once 3\n", out, "all")
	}
}

// TestRunCPUID32: 32-bit programs are told no more.
func TestRunCPUID32(t *testing.T) {
	needFaults(t)
	asks(t) // there is gcc
	cr, _ := programs(t)
	program := filepath.Join(t.TempDir(), "cpuid32")
	out, err := exec.Command("gcc", "-m32", "-nostdlib", "-static", "-o", program, "testdata/cpuid32.S").CombinedOutput()
	require.NoError(t, err, "%s", out)
	_, _, w := run(t, program)
	if w.Signaled() {
		t.Skip("the kernel runs no 32-bit programs")
	}
	require.Equal(t, 2, w.ExitStatus(), "the CPU has AVX2")
	_, said, w := run(t, cr, "run", toldLess, program)
	require.Equal(t, 1, w.ExitStatus(), said)
	_, said, w = run(t, cr, "run", "--cpu=all", program)
	require.Equal(t, 2, w.ExitStatus(), said)
}

// TestRunCPUIDKilled: without the kernel side programs run on, and are killed by the
// next cpuid rather than told what they must not see.
func TestRunCPUIDKilled(t *testing.T) {
	needFaults(t)
	program := asks(t)
	cr, _ := programs(t)
	k := talk(t, nil, cr, "run", toldLess, "sh", "-c", program+" lines; exit $?")
	expect(k, "here 0")
	k.say("default")
	expect(k, "here 0")
	pid := child(t, k.cmd.Process.Pid, program)
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) }) // it has ended, if all is well
	side := childrenOf(t, k.cmd.Process.Pid)
	require.Len(t, side, 1)
	require.NoError(t, syscall.Kill(side[0], syscall.SIGKILL))
	require.Eventually(t, func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		return err == nil && strings.Contains(string(b), "TracerPid:\t0\n")
	}, limit, 10*time.Millisecond)
	k.say("wait")
	expect(k, "waits")
	k.say("x")
	require.Equal(t, 128+int(syscall.SIGSEGV), k.end().ExitStatus())
}

// TestRunCPUIDPrograms: programs of the system run.
func TestRunCPUIDPrograms(t *testing.T) {
	needFaults(t)
	cr, _ := programs(t)
	for _, argv := range [][]string{
		{"openssl", "speed", "-seconds", "1", "-bytes", "64", "sha256"},
		{"/usr/bin/python3", "-c", "import subprocess; assert subprocess.run(['true']).returncode == 0"},
	} {
		if _, err := exec.LookPath(argv[0]); err != nil {
			t.Logf("%s is not there, and not tested", argv[0])
			continue
		}
		_, said, w := run(t, cr, append([]string{"run", toldLess}, argv...)...)
		require.Zero(t, w.ExitStatus(), said)
	}
	if _, err := exec.LookPath("openssl"); err == nil {
		out, _, _ := run(t, cr, "run", toldLess, "openssl", "info", "-cpusettings")
		require.Regexp(t, `OPENSSL_ia32cap=0x[0-9a-f]+:0x[0-9a-f]+`, out)
		free, _, _ := run(t, "openssl", "info", "-cpusettings")
		require.NotEqual(t, free, out)
	}
}

// TestRunCPUIDAsBefore: programs start, end, signal and make the calls as they
// do where nobody traces them.
func TestRunCPUIDAsBefore(t *testing.T) {
	needFaults(t)
	t.Setenv(runCPU, "x86-64-v2")
	for _, test := range []struct {
		name string
		test func(*testing.T)
	}{
		{"status", TestRunStatus},
		{"inherits", TestRunInherits},
		{"old owners", TestRunOldOwners},
		{"errors", TestRunErrors},
		{"says why", TestRunSaysWhy},
		{"signals", TestRunPassesSignalsOn},
		{"background", TestRunLeavesBackground},
		{"front killed", TestRunFrontKilled},
		{"execs", TestRunCPUExecs},
		{"calls: self", TestCallsSelf},
		{"calls: pipe", TestCallsPipe},
		{"calls: other", TestCallsOther},
		{"calls: errors", TestCallsErrors},
		{"calls: authority", TestCallsAuthority},
		{"calls: signals", TestCallsSignals},
	} {
		t.Run(test.name, test.test)
	}
}

// TestRunCPUIDJob: ^Z stops the program, and fg lets it go on.
func TestRunCPUIDJob(t *testing.T) {
	needFaults(t)
	program := asks(t)
	cr, _ := programs(t)
	s := jobShell(t)
	s.write(cr + " run " + toldLess + " " + program + " lines\n")
	s.waitFor(`here 0`)
	s.write("x\n")
	s.waitFor(`here 0`)
	s.write("\x1a")
	s.waitFor(`Stopped`)
	s.waitFor("% ")
	s.write("fg\n")
	s.waitFor(`lines\r\n`)
	s.write("x\n")
	s.waitFor(`here 0`)
	s.write("\x04") // the end of its input
	s.write("echo status $?\n")
	s.waitFor(`status 6`)
}

// TestRunCPUIDTraced: the program cannot be traced by another, who is told so.
func TestRunCPUIDTraced(t *testing.T) {
	needFaults(t)
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("there is no strace")
	}
	cr, _ := programs(t)
	_, said, w := run(t, cr, "run", toldLess, "strace", "-o", "/dev/null", "true")
	require.NotZero(t, w.ExitStatus())
	require.Contains(t, said, "Operation not permitted")
	_, said, w = run(t, cr, "run", "-q", toldLess, "--cpuid=leave", "strace", "-o", "/dev/null", "true")
	require.Zero(t, w.ExitStatus(), said)
}

// talk starts a program with further descriptors that answers each line with one.
func talk(t *testing.T, files []*os.File, argv ...string) *running {
	t.Helper()
	return launch(t, func(c *exec.Cmd) { c.ExtraFiles = files }, argv...)
}

// expect makes sure of its next line.
func expect(r *running, line string) {
	r.t.Helper()
	require.Equal(r.t, line, r.line(), r.said)
}

// endInput ends its input, by which it ends.
func endInput(r *running) {
	r.t.Helper()
	require.NoError(r.t, r.in.Close())
	require.Equal(r.t, 6, r.end().ExitStatus(), r.said)
}

// child is the pid of the descendant of a process that executes a program.
func child(t *testing.T, pid int, program string) int {
	t.Helper()
	for list := []int{pid}; len(list) > 0; {
		p := list[0]
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p)); err == nil && exe == program {
			return p
		}
		list = append(list[1:], childrenOf(t, p)...)
	}
	t.Fatalf("none of the descendants of %d is %s", pid, program)
	return 0
}

// savedLess makes an image of a program that is told less, by a call of its own.
func savedLess(t *testing.T, cr, program string) (image string) {
	t.Helper()
	image = filepath.Join(t.TempDir(), "image")
	f, err := os.Create(image)
	require.NoError(t, err)
	defer f.Close()
	k := talk(t, []*os.File{f}, cr, "run", toldLess, program, "lines")
	expect(k, "here 0")
	k.say("save")
	expect(k, "saved here 0")
	endInput(k)
	return image
}

// TestRunCPUIDRestart: a program that is restarted is told no more than it was.
func TestRunCPUIDRestart(t *testing.T) {
	needFaults(t)
	program := asks(t)
	cr, _ := programs(t)
	path := savedLess(t, cr, program)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer f.Close()

	for _, pids := range []string{"namespace", "new"} {
		k := talk(t, nil, cr, "restart", "--pids="+pids, path)
		expect(k, "restarted here 0")
		k.say("x")
		expect(k, "here 0")
		k.say("exec")
		expect(k, "here 0")
		endInput(k)
	}

	// By the call, in a program that is told of more.
	in, err := os.Open(path)
	require.NoError(t, err)
	defer in.Close()
	k := talk(t, []*os.File{f, in}, cr, "run", "--cpu=-avx512f", program, "lines")
	expect(k, "here 1")
	k.say("back")
	expect(k, "restarted here 0")
	k.say("exec")
	expect(k, "here 0")
	endInput(k)

	// Nor than the one that it is restarted in.
	more, err := os.Create(filepath.Join(t.TempDir(), "image"))
	require.NoError(t, err)
	defer more.Close()
	k = talk(t, []*os.File{more}, cr, "run", "--cpu=-avx512f", program, "lines")
	expect(k, "here 1")
	k.say("save")
	expect(k, "saved here 1")
	endInput(k)
	_, err = more.Seek(0, io.SeekStart)
	require.NoError(t, err)
	k = talk(t, []*os.File{f, more}, cr, "run", toldLess, program, "lines")
	expect(k, "here 0")
	k.say("back")
	expect(k, "restarted here 1") // which it has learnt before
	k.say("exec")
	expect(k, "here 0")
	endInput(k)

	// By the call, where nobody could answer.
	in, err = os.Open(path)
	require.NoError(t, err)
	defer in.Close()
	k = talk(t, []*os.File{f, in}, cr, "run", program, "lines")
	expect(k, "here 3")
	k.say("back")
	expect(k, "not back here 3")
	endInput(k)
	require.Contains(t, k.said.String(), "somebody has to answer its cpuid instructions")

	// One that was told all has learnt that, but is told no more than the one that
	// it is restarted in.
	all, err := os.Create(filepath.Join(t.TempDir(), "image"))
	require.NoError(t, err)
	defer all.Close()
	k = talk(t, []*os.File{all}, cr, "run", program, "lines")
	expect(k, "here 3")
	k.say("save")
	expect(k, "saved here 3")
	endInput(k)
	_, err = all.Seek(0, io.SeekStart)
	require.NoError(t, err)
	k = talk(t, []*os.File{f, all}, cr, "run", toldLess, program, "lines")
	expect(k, "here 0")
	k.say("back")
	expect(k, "restarted here 3")
	k.say("exec")
	expect(k, "here 0")
	endInput(k)
}

// TestRestartCPUIDStops: ^Z and the status of a restarted program whose parent is
// the one that traces it.
func TestRestartCPUIDStops(t *testing.T) {
	needFaults(t)
	program := asks(t)
	cr, _ := programs(t)
	path := savedLess(t, cr, program)
	k := talk(t, nil, cr, "restart", "--pids=new", path)
	expect(k, "restarted here 0")
	pid := child(t, k.cmd.Process.Pid, program)
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	require.Eventually(t, func() bool { return state(t, pid) == "T" || state(t, pid) == "t" }, limit, 10*time.Millisecond)
	require.NoError(t, syscall.Kill(pid, syscall.SIGCONT))
	k.say("x")
	expect(k, "here 0")
	require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
	require.Equal(t, syscall.SIGTERM, k.end().Signal())
}

// TestRunCPUIDCheckpoint: a program is checkpointed from outside, by the cr that
// answers its cpuid, and runs on, or ends, or stays stopped; what fails does not hurt
// it.
func TestRunCPUIDCheckpoint(t *testing.T) {
	needFaults(t)
	program := asks(t)
	cr, _ := programs(t)
	path := filepath.Join(t.TempDir(), "image")
	k := talk(t, nil, cr, "run", toldLess, "sh", "-c", program+" lines; exit $?")
	expect(k, "here 0")
	pid := child(t, k.cmd.Process.Pid, program)
	checkpoint := func(status int, args ...string) (said string) {
		t.Helper()
		_, said, w := run(t, cr, append(append([]string{"checkpoint"}, args...), strconv.Itoa(pid))...)
		require.Equal(t, status, w.ExitStatus(), said)
		return said
	}
	again := func() {
		t.Helper()
		k.say("x")
		expect(k, "here 0")
	}
	for i := 0; i < 3; i++ {
		require.Empty(t, checkpoint(0, "-o", path))
		again()
	}
	out, said, w := run(t, cr, "checkpoint", strconv.Itoa(pid))
	require.Zero(t, w.ExitStatus(), said)
	require.NotEmpty(t, out)
	again()
	// The file, the directory.
	require.Contains(t, checkpoint(125, "-o", "/dev/full"), "no space left on device")
	again()
	require.Contains(t, checkpoint(125, "-o", filepath.Join(path, "nowhere")), "not a directory")
	again()
	// By somebody inside, and who may not.
	_, said, w = run(t, cr, "run", toldLess, cr, "checkpoint", "-o", path+"2", strconv.Itoa(pid))
	require.Zero(t, w.ExitStatus(), said)
	again()
	_, said, w = run(t, cr, "run", "-q", toldLess, "sh", "-c", cr+" checkpoint -o "+path+"3 $$; exit $?")
	require.Equal(t, 125, w.ExitStatus())
	require.Contains(t, said, "is the one that saves it")
	if os.Getuid() == 0 {
		open(t, path)
		_, said, w = run(t, "setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", cr, "checkpoint", strconv.Itoa(pid))
		require.Equal(t, 125, w.ExitStatus())
		require.Contains(t, said, fmt.Sprintf("may not checkpoint pid %d: ", pid))
	}
	again()

	checkpoint(0, "--stop", "-o", path)
	require.Eventually(t, func() bool { return state(t, pid) == "t" }, limit, 10*time.Millisecond)
	require.NoError(t, syscall.Kill(pid, syscall.SIGCONT))
	again()
	checkpoint(0, "--kill", "-o", path)
	require.Equal(t, 128+9, k.end().ExitStatus())

	k = talk(t, nil, cr, "restart", path)
	k.say("x")
	expect(k, "here 0")
	// The one that was restarted, too.
	pid = child(t, k.cmd.Process.Pid, program)
	checkpoint(0, "-o", path)
	again()
	endInput(k)
}

// TestRunCPUIDFriends: the kernel side of a user's program checkpoints it for
// that user and for root.
func TestRunCPUIDFriends(t *testing.T) {
	needFaults(t)
	if os.Getuid() != 0 {
		t.Skip("only root can make processes of several users")
	}
	program := asks(t)
	cr, _ := programs(t)
	open(t, program)
	user := []string{"setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"}
	k := talk(t, nil, append(user, cr, "run", toldLess, program, "lines")...)
	expect(k, "here 0")
	pid := child(t, k.cmd.Process.Pid, program)
	for _, argv := range [][]string{{}, user} {
		argv = append(append([]string(nil), argv...), cr, "checkpoint", strconv.Itoa(pid))
		out, said, w := run(t, argv[0], argv[1:]...)
		require.Zero(t, w.ExitStatus(), said)
		require.NotEmpty(t, out)
		k.say("x")
		expect(k, "here 0")
	}
	_, said, w := run(t, "setpriv", "--reuid=1001", "--regid=1001", "--clear-groups", cr, "checkpoint", strconv.Itoa(pid))
	require.Equal(t, 125, w.ExitStatus())
	require.Contains(t, said, "it belongs to another user or group")
	endInput(k)
}

// TestRunCPUIDRacing: a tree that changes all the time is checkpointed, and none of
// its tasks is told what it must not see.
func TestRunCPUIDRacing(t *testing.T) {
	needFaults(t)
	program := asks(t)
	cr, _ := programs(t)
	path := filepath.Join(t.TempDir(), "image")
	k := talk(t, nil, cr, "run", toldLess, program, "storm")
	expect(k, "storm")
	pid := strconv.Itoa(child(t, k.cmd.Process.Pid, program))
	for i := 0; i < 30; i++ {
		_, said, w := run(t, cr, "checkpoint", "-o", path, pid)
		require.Zero(t, w.ExitStatus(), said)
		out, said, w := run(t, cr, "verify", "--strict", path)
		require.Zero(t, w.ExitStatus(), "%s%s", out, said)
	}
	require.NoError(t, k.in.Close())
	require.Zero(t, k.end().ExitStatus(), k.said)
}
