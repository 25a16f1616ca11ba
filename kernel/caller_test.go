package kernel

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// numbersOf lists the numeric names in a directory.
func numbersOf(t *testing.T, dir string) []int {
	t.Helper()
	names, err := readNames(dir)
	require.NoError(t, err)
	var list []int
	for _, n := range names {
		if i, err := strconv.Atoi(n); err == nil {
			list = append(list, i)
		}
	}
	return list
}

func TestResolve(t *testing.T) {
	c := ownCaller(t)
	own := os.Getpid()
	for _, x := range []struct {
		pid, want int
		err       error
	}{
		{0, own, nil},
		{own, own, nil},
		{unix.Gettid(), own, nil}, // any of its tasks
		{os.Getppid(), os.Getppid(), nil},
		{-1, 0, unix.ESRCH},
		{-own, 0, unix.ESRCH},
		{0x3fffff, 0, unix.ESRCH},
	} {
		got, err := c.resolve(x.pid)
		if x.err != nil {
			require.ErrorIs(t, err, x.err, "pid %d", x.pid)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, x.want, got, "pid %d", x.pid)
	}
}

func TestResolveZombie(t *testing.T) {
	c := ownCaller(t)
	cmd := exec.Command("true")
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool {
		s, err := readStatus(cmd.Process.Pid)
		return err == nil && s.state == 'Z'
	}, time.Minute, time.Millisecond)
	_, err := c.resolve(cmd.Process.Pid)
	require.ErrorIs(t, err, unix.ESRCH)
	require.ErrorContains(t, err, "has exited")
	require.NoError(t, cmd.Wait())
	_, err = c.resolve(cmd.Process.Pid)
	require.ErrorIs(t, err, unix.ESRCH)
}

func TestResolveKernelThread(t *testing.T) {
	for _, pid := range numbersOf(t, "/proc") {
		st, err := readStat(pid)
		if err != nil || !st.kernelThread() {
			continue
		}
		_, err = ownCaller(t).resolve(pid)
		require.ErrorIs(t, err, unix.EPERM)
		require.ErrorContains(t, err, "kernel thread")
		return
	}
	t.Skip("no kernel thread can be seen from this pid namespace")
}

// A caller in a pid namespace of its own means the pids that it knows.
func TestResolveInNamespace(t *testing.T) {
	needRoot(t)
	// The first process of the namespace starts a second and a nested namespace.
	cmd := exec.Command("sh", "-c", "sleep 1000 & unshare -pf sh -c 'sleep 1000 & wait' & wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	init := cmd.Process.Pid
	inside := map[string]int{} // pid in this program's view, by the pids in the nested ones
	require.Eventually(t, func() bool {
		list, err := members(init, true)
		if err != nil {
			return false
		}
		for _, pid := range list {
			if s, err := readStatus(pid); err == nil {
				inside[strings.Trim(fmt.Sprint(s.nspid[1:]), "[]")] = pid
			}
		}
		// init, sleep, unshare, and in the inner one sh and sleep
		return len(inside) == 5
	}, time.Minute, 10*time.Millisecond, "%v", inside)

	c, err := openCaller(inside["2"])
	require.NoError(t, err)
	defer c.close()
	for name, pid := range inside {
		outer, _, _ := strings.Cut(name, " ")
		n, err := strconv.Atoi(outer)
		require.NoError(t, err)
		got, err := c.resolve(n)
		require.NoError(t, err)
		require.Equal(t, pid, got, "pid %s", name)
	}
	_, err = c.resolve(999)
	require.ErrorIs(t, err, unix.ESRCH)
	got, err := c.resolve(0)
	require.NoError(t, err)
	require.Equal(t, inside["2"], got)

	for name, pid := range inside {
		if outer, inner, nested := strings.Cut(name, " "); nested && inner == "2" {
			nestedCaller, err := openCaller(pid)
			require.NoError(t, err)
			defer nestedCaller.close()
			got, err := nestedCaller.resolve(2)
			require.NoError(t, err)
			require.Equal(t, pid, got, "itself, pid %s of the namespace above", outer)
			_, err = nestedCaller.resolve(3)
			require.ErrorIs(t, err, unix.ESRCH, "a pid of the namespace above")
			return
		}
	}
	t.Fatal("there is no process in the nested namespace")
}

func TestInterrupts(t *testing.T) {
	const format = "Name:\tx\nSigPnd:\t%016x\nShdPnd:\t%016x\nSigBlk:\t%016x\nSigIgn:\t%016x\nSigCgt:\t%016x\n"
	bit := func(s unix.Signal) uint64 { return 1 << (s - 1) }
	for _, c := range []struct {
		what                                        string
		pending, shared, blocked, ignored, handlers uint64
		want                                        bool
	}{
		{what: "nothing"},
		{what: "fatal", pending: bit(unix.SIGTERM), want: true},
		{what: "fatal, to the process", shared: bit(unix.SIGINT), want: true},
		{what: "SIGKILL", shared: bit(unix.SIGKILL), want: true},
		{what: "blocked", shared: bit(unix.SIGTERM), blocked: bit(unix.SIGTERM)},
		{what: "ignored", pending: bit(unix.SIGTERM), ignored: bit(unix.SIGTERM)},
		{what: "ignored by default", pending: bit(unix.SIGCHLD)},
		{what: "SIGCHLD with a handler", pending: bit(unix.SIGCHLD), handlers: bit(unix.SIGCHLD), want: true},
		{what: "SIGCHLD with a handler, blocked", pending: bit(unix.SIGCHLD), handlers: bit(unix.SIGCHLD), blocked: bit(unix.SIGCHLD)},
		{what: "stop", shared: bit(unix.SIGTSTP)},
		{what: "stop with a handler", shared: bit(unix.SIGTSTP), handlers: bit(unix.SIGTSTP), want: true},
		{what: "real time", shared: 1 << 63, want: true},
	} {
		text := fmt.Sprintf(format, c.pending, c.shared, c.blocked, c.ignored, c.handlers)
		require.Equal(t, c.want, interrupts(text), c.what)
	}
}

func TestOpenCallerGone(t *testing.T) {
	_, err := openCaller(0x3fffff)
	require.ErrorIs(t, err, unix.ESRCH)
}
