// Package steady is a program that verifies itself all the time, for tests of
// what may not harm a program.
package steady

import (
	_ "embed"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

//go:embed testdata/steady.c
var source []byte

// Layout of struct shared of testdata/steady.c, in bytes.
const (
	signalsAt = 0
	wrongAt   = 8
	threadsAt = 16
	pidAt     = 24
	refusedAt = 32
	goAt      = 40
	whatAt    = 48
	beatsAt   = 128
	most      = 2048
	size      = beatsAt + 8*most
)

// A Program is a running steady program.
type Program struct {
	PID     int
	Parent  int // of what was started, which may be another program
	Threads int

	t      *testing.T
	shared []byte
	cmd    *exec.Cmd
	sent   uint64
	before Picture
}

// Build compiles the program; it skips the test where there is no compiler.
func Build(t *testing.T) string {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no gcc to compile the program with")
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "steady.c"), source, 0o600))
	path := filepath.Join(dir, "steady")
	out, err := exec.Command(gcc, "-O1", "-Wall", "-pthread", "-o", path, filepath.Join(dir, "steady.c")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// Start starts a program with threads that are told apart by their beats.
func Start(t *testing.T, threads int, path string) *Program {
	t.Helper()
	return StartBy(t, threads, []string{path})
}

// StartBy starts it by a command line that may begin with other programs. More
// arguments of the program may follow.
func StartBy(t *testing.T, threads int, command []string, more ...string) *Program {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "beats")
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.Truncate(size))
	shared, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	command = append(append(command, f.Name(), strconv.Itoa(threads)), more...)
	// The program dies with the thread that starts it.
	runtime.LockOSThread()
	p := &Program{t: t, Threads: threads, shared: shared, cmd: exec.Command(command[0], command[1:]...)}
	p.cmd.Stderr = os.Stderr
	require.NoError(t, p.cmd.Start())
	p.Parent = p.cmd.Process.Pid
	t.Cleanup(func() {
		if pid := int(p.word(pidAt)); pid != 0 {
			_ = unix.Kill(pid, unix.SIGKILL) // not always a child of the command
		}
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		runtime.UnlockOSThread()
	})
	require.Eventually(t, func() bool { return p.word(threadsAt) == uint64(threads) }, time.Minute, time.Millisecond)
	p.PID = int(p.word(pidAt))
	p.Beats()
	require.Eventually(t, func() bool {
		s, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", p.PID))
		const rtSigsuspend = "130 " // of x86_64
		return err != nil || runtime.GOARCH != "amd64" || strings.HasPrefix(string(s), rtSigsuspend)
	}, time.Minute, time.Millisecond)
	p.before = Look(t, p.PID)
	return p
}

func (p *Program) word(at int) uint64 {
	return *(*uint64)(unsafe.Pointer(&p.shared[at]))
}

// Go lets the program begin to checkpoint itself.
func (p *Program) Go() { p.shared[goAt], p.shared[goAt+7] = 1, 1 }

// Calls is how many checkpoints the program has made of itself, and whether
// there is nobody to make them any more.
func (p *Program) Calls() (n uint64, refused bool) {
	return p.word(beatsAt + 8*(most-1)), p.word(refusedAt) != 0
}

// beats are those of all threads.
func (p *Program) beats() []uint64 {
	list := make([]uint64, p.Threads)
	for i := range list {
		list[i] = p.word(beatsAt + 8*(i+1))
	}
	return list
}

// Signal sends a signal that the program counts.
func (p *Program) Signal() {
	p.t.Helper()
	const sigRTMin = 34 // of the C library
	var info [128]byte
	order := binary.NativeEndian
	siQueue := int32(-1)
	order.PutUint32(info[0:], sigRTMin)
	order.PutUint32(info[8:], uint32(siQueue))
	at := 16
	if unsafe.Sizeof(uintptr(0)) == 4 {
		at = 12
	}
	order.PutUint32(info[at:], uint32(os.Getpid()))
	order.PutUint32(info[at+4:], uint32(os.Getuid()))
	order.PutUint32(info[at+8:], uint32(p.sent))
	_, _, e := unix.Syscall(unix.SYS_RT_SIGQUEUEINFO, uintptr(p.PID), sigRTMin, uintptr(unsafe.Pointer(&info[0])))
	require.Zero(p.t, e, "send a signal")
	p.sent++
}

// Beats waits until every thread has gone on, and makes sure that nothing was
// wrong, and that the signals that were sent were counted.
func (p *Program) Beats() {
	p.t.Helper()
	before := p.beats()
	end := time.Now().Add(time.Minute)
	for {
		missing := ""
		for i, b := range p.beats() {
			if b < before[i]+2 {
				missing = fmt.Sprintf("thread %d has no beats", i)
			}
		}
		if p.word(signalsAt) != p.sent {
			missing = fmt.Sprintf("%d signals were sent, %d were counted", p.sent, p.word(signalsAt))
		}
		what, _, _ := strings.Cut(string(p.shared[whatAt:beatsAt]), "\x00")
		require.Zero(p.t, p.word(wrongAt), "%s", what)
		if missing == "" {
			return
		}
		if time.Now().After(end) {
			status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
			require.FailNow(p.t, missing, "%s", status)
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// Unharmed waits for a beat of every thread, and makes sure that the program is
// as it was when it was started.
func (p *Program) Unharmed() {
	p.t.Helper()
	p.Beats()
	// The mask of the first thread changes while it handles a signal.
	end := time.Now().Add(30 * time.Second)
	for !reflect.DeepEqual(p.before, Look(p.t, p.PID)) && time.Now().Before(end) {
		time.Sleep(time.Millisecond)
	}
	require.Equal(p.t, p.before, Look(p.t, p.PID))
}

// A Picture is what /proc tells of a process that does not change by itself.
type Picture struct {
	Maps  []string
	FDs   []string
	Tasks []string // tid, what is stopped or traced, signal masks
}

// Look makes a picture of a process.
func Look(t *testing.T, pid int) Picture {
	t.Helper()
	var p Picture
	dir := fmt.Sprintf("/proc/%d/", pid)
	b, err := os.ReadFile(dir + "maps")
	require.NoError(t, err)
	p.Maps = strings.Split(string(b), "\n")
	fds, err := os.ReadDir(dir + "fd")
	require.NoError(t, err)
	for _, f := range fds {
		to, err := os.Readlink(dir + "fd/" + f.Name())
		require.NoError(t, err)
		p.FDs = append(p.FDs, f.Name()+" "+to)
	}
	tasks, err := os.ReadDir(dir + "task")
	require.NoError(t, err)
	for _, task := range tasks {
		b, err := os.ReadFile(dir + "task/" + task.Name() + "/status")
		require.NoError(t, err)
		line := task.Name()
		for _, l := range strings.Split(string(b), "\n") {
			key, v, _ := strings.Cut(l, ":")
			v = strings.TrimSpace(v)
			switch key {
			case "State":
				if v = v[:1]; v == "T" || v == "t" {
					line += " State " + v
				}
			case "TracerPid", "SigBlk", "SigIgn", "SigCgt", "Seccomp":
				line += " " + key + " " + v
			}
		}
		p.Tasks = append(p.Tasks, line)
	}
	return p
}
