package kernel

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// helperEnv makes the test program a helper of its own tests.
const helperEnv = "CR_KERNEL_TEST_HELPER"

func TestMain(m *testing.M) {
	if what := os.Getenv(helperEnv); what != "" {
		helper(strings.Fields(what))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// helper prepares itself as told, says "ready", and then answers each pid that
// it reads with what the kernel says to its tracing of that process.
func helper(what []string) {
	fail := func(err error) {
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	if len(what) > 0 && what[0] == "killed" {
		fail(killedHelper(what[1:]))
		return
	}
	for _, w := range what {
		if w == "undumpable" {
			fail(unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
		}
	}
	fmt.Println("ready")
	var pid int
	for {
		if n, _ := fmt.Scan(&pid); n != 1 {
			return
		}
		fmt.Println(unix.ErrnoName(attach(pid)))
	}
}

// attach makes a call for which the kernel asks what it asks for ptrace:
// PTRACE_MODE_ATTACH_REALCREDS. It reads from address 0, so it fails either way.
func attach(pid int) unix.Errno {
	var b [1]byte
	local := []unix.Iovec{{Base: &b[0]}}
	local[0].SetLen(1)
	_, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: 0, Len: 1}}, 0)
	e, _ := err.(unix.Errno)
	return e
}

// member is a running helper.
type member struct {
	name string
	pid  int
	in   io.WriteCloser
	out  *bufio.Scanner
}

// startHelper starts a helper with attributes; nil with a reason if that cannot
// be done here.
func startHelper(t *testing.T, name, what string, attr *syscall.SysProcAttr, prefix ...string) (*member, string) {
	t.Helper()
	// Not every user may reach the test program by its path, nor is
	// /proc/self/exe what it is meant to be behind a prefix.
	self, err := os.Open("/proc/self/exe")
	require.NoError(t, err)
	defer self.Close()
	argv := append(prefix, "/proc/self/fd/3")
	c := exec.Command(argv[0], argv[1:]...)
	c.ExtraFiles = []*os.File{self}
	c.Env = append(os.Environ(), helperEnv+"=helper "+what)
	c.SysProcAttr = attr
	in, err := c.StdinPipe()
	require.NoError(t, err)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	var said strings.Builder
	c.Stderr = &said
	if err := c.Start(); err != nil {
		return nil, fmt.Sprintf("%s: %v", name, err)
	}
	timer := time.AfterFunc(time.Minute, func() { _ = c.Process.Kill() })
	t.Cleanup(func() {
		in.Close()
		timer.Stop()
		_ = c.Wait()
	})
	m := &member{name, c.Process.Pid, in, bufio.NewScanner(out)}
	if !m.out.Scan() || m.out.Text() != "ready" {
		return nil, fmt.Sprintf("%s: %s%s", name, m.out.Text(), said.String())
	}
	return m, ""
}

// kernelSays asks the kernel whether m may trace a process.
func (m *member) kernelSays(t *testing.T, pid int) bool {
	t.Helper()
	_, err := fmt.Fprintln(m.in, pid)
	require.NoError(t, err)
	require.True(t, m.out.Scan(), "%s is gone", m.name)
	switch answer := m.out.Text(); answer {
	case "EFAULT":
		return true
	case "EPERM":
		return false
	default:
		t.Fatalf("%s: process_vm_readv of pid %d: %s", m.name, pid, answer)
	}
	return false
}
