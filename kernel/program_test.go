package kernel_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/kernel"
)

// A waiter is a program of testdata/caller.c: it waits in a call, and stays as
// it is.
type waiter struct {
	t      *testing.T
	pid    int
	dir    string
	shared []byte
	c      *exec.Cmd
	pidfd  int
	fds    map[int]int // descriptors of ours by its own: the same open files
	before picture
}

// Layout of struct shared of testdata/caller.c.
const (
	countAt  = 0
	resultAt = 8
	readsAt  = 24
	writeAt  = 40
	returned = 48
	stateAt  = 64
	sharedSz = 1 << 16
)

func (w *waiter) word(at int) uint64 { return *(*uint64)(unsafe.Pointer(&w.shared[at])) }

// buildWaiter compiles the program.
func buildWaiter(t *testing.T) string {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no gcc to compile the program with")
	}
	dir, err := os.MkdirTemp("", "cr-caller-") // another user runs it
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	path := filepath.Join(dir, "caller")
	out, err := exec.Command(gcc, "-O1", "-Wall", "-pthread", "-o", path, "testdata/caller.c").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// startWaiter starts the program in a directory of its own, as another user if
// attr says so.
func startWaiter(t *testing.T, path string, attr *syscall.SysProcAttr) *waiter {
	t.Helper()
	dir, err := os.MkdirTemp("", "cr-caller-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o777))
	shared := filepath.Join(dir, "shared")
	f, err := os.OpenFile(shared, os.O_RDWR|os.O_CREATE, 0)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.Chmod(0o666))
	require.NoError(t, f.Truncate(sharedSz))
	w := &waiter{t: t, dir: dir}
	w.shared, err = unix.Mmap(int(f.Fd()), 0, sharedSz, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	w.c = exec.Command(path, shared, dir)
	var said strings.Builder
	w.c.Stderr = &said
	w.c.WaitDelay = time.Second
	w.c.SysProcAttr = attr
	in, err := w.c.StdinPipe()
	require.NoError(t, err)
	t.Cleanup(func() { in.Close() })
	out, err := w.c.StdoutPipe()
	require.NoError(t, err)
	t.Cleanup(func() { out.Close() })
	require.NoError(t, w.c.Start())
	w.pid = w.c.Process.Pid
	t.Cleanup(func() {
		w.end()
		if said.Len() > 0 {
			t.Log(said.String())
		}
	})
	w.await(1)
	w.fds = make(map[int]int)
	w.pidfd, err = unix.PidfdOpen(w.pid, 0)
	require.NoError(t, err)
	for _, fd := range w.descriptors() {
		own, err := unix.PidfdGetfd(w.pidfd, fd, 0)
		require.NoError(t, err)
		w.fds[fd] = own
	}
	// A call that was stopped once is another one (restart_syscall), and the
	// first return leaves something on the stack.
	w.look()
	for n := uint64(2); n < 4; n++ {
		require.NoError(t, unix.Tgkill(w.pid, w.pid, unix.SIGUSR1))
		w.await(n)
	}
	w.wakes()
	w.wakes()
	w.before = w.look()
	return w
}

// end ends the program and its descendants.
func (w *waiter) end() {
	if w.c == nil {
		return
	}
	for _, pid := range descendants(w.pid) {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	for _, fd := range w.fds { // its stderr is among them, which Wait reads to the end
		unix.Close(fd)
	}
	_ = w.c.Wait()
	_ = w.c.Process.Release() // its pidfd would go when it pleases, if others have waited for it
	w.c = nil
	unix.Close(w.pidfd)
	_ = unix.Munmap(w.shared)
	_ = os.RemoveAll(w.dir)
}

// await waits until the program is in its call for the n-th time.
func (w *waiter) await(n uint64) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		if w.word(countAt) >= n && w.inCall() {
			require.Equal(w.t, n, w.word(countAt), "how often the call has returned")
			return
		}
		if time.Now().After(end) {
			b, _ := os.ReadFile(w.proc("status"))
			require.FailNow(w.t, "the caller does not wait", "%s", b)
		}
		runtime.Gosched()
	}
}

// settle waits until all tasks wait.
func (w *waiter) settle() {
	w.t.Helper()
	require.Eventually(w.t, w.inCall, time.Minute, 50*time.Microsecond, "a task does not wait as it did")
}

func (w *waiter) proc(name string) string { return fmt.Sprintf("/proc/%d/%s", w.pid, name) }

// inCall reports whether all tasks sleep, and the first in ppoll.
func (w *waiter) inCall() bool {
	tids := w.tasks()
	for _, tid := range tids {
		b, err := os.ReadFile(w.proc(fmt.Sprintf("task/%d/syscall", tid)))
		if err != nil || strings.HasPrefix(string(b), "running") || tid == w.pid && !strings.HasPrefix(string(b), fmt.Sprint(unix.SYS_PPOLL, " ")) {
			return false
		}
	}
	return len(tids) == 5
}

func (w *waiter) tasks() []int       { return numbers(w.proc("task")) }
func (w *waiter) descriptors() []int { return numbers(w.proc("fd")) }

// numbers lists the numeric names in a directory.
func numbers(dir string) []int {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	var list []int
	for _, n := range names {
		if i, err := strconv.Atoi(n); err == nil {
			list = append(list, i)
		}
	}
	sort.Ints(list)
	return list
}

// descendants lists a process and those that have come of it.
func descendants(pid int) []int {
	list := []int{pid}
	for i := 0; i < len(list); i++ {
		for _, tid := range numbers(fmt.Sprintf("/proc/%d/task", list[i])) {
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", list[i], tid))
			for _, c := range strings.Fields(string(b)) {
				n, _ := strconv.Atoi(c)
				list = append(list, n)
			}
		}
	}
	return list
}

// picture is all that can be told of a process from outside, and what it tells
// of itself.
type picture map[string]string

// ofThisProgram ends the names of descriptors of this program in a picture.
const ofThisProgram = " of this program"

// differs lists what is different in another picture.
func (p picture) differs(q picture) []string {
	var list []string
	for k, v := range p {
		if _, open := q[k]; !open && strings.HasSuffix(k, ofThisProgram) {
			continue // the garbage collector has closed it
		}
		if q[k] != v {
			list = append(list, fmt.Sprintf("%s:\n\t%.1500q\nis now\n\t%.1500q", k, v, q[k]))
		}
	}
	for k, v := range q {
		if _, ok := p[k]; !ok {
			list = append(list, fmt.Sprintf("%s is new:\n\t%.1500q", k, v))
		}
	}
	sort.Strings(list)
	return list
}

// look makes a picture of the program, which waits in its call.
func (w *waiter) look() picture {
	w.t.Helper()
	runtime.LockOSThread() // it traces
	defer runtime.UnlockOSThread()
	p := picture{}
	file := func(name string) string {
		b, err := os.ReadFile(w.proc(name))
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
	for _, name := range []string{"limits", "oom_score_adj", "coredump_filter", "personality", "timerslack_ns", "cgroup", "cmdline", "environ", "auxv", "setgroups", "loginuid"} {
		p[name] = file(name)
	}
	for _, name := range []string{"cwd", "root", "exe", "ns/mnt", "ns/pid", "ns/pid_for_children", "ns/net", "ns/user", "ns/ipc", "ns/uts"} {
		p[name], _ = os.Readlink(w.proc(name))
	}
	p["timers"] = file("timers")
	p["descendants"] = fmt.Sprint(descendants(w.pid))
	for _, fd := range w.descriptors() {
		key := fmt.Sprintf("descriptor %03d", fd)
		link, _ := os.Readlink(w.proc(fmt.Sprint("fd/", fd)))
		info := ""
		for _, line := range strings.Split(file(fmt.Sprint("fdinfo/", fd)), "\n") {
			if !strings.HasPrefix(line, "it_value:") { // the time that is left
				info += line + "\n"
			}
		}
		same := "no open file that was there before"
		if own, ok := w.fds[fd]; ok && sameFile(w.pid, fd, own) {
			same = "the same"
		}
		p[key] = link + "\n" + info + same
	}
	for _, tid := range w.tasks() {
		for _, line := range strings.Split(file(fmt.Sprintf("task/%d/status", tid)), "\n") {
			key, v, _ := strings.Cut(line, ":")
			switch key {
			case "Name", "Umask", "TracerPid", "Uid", "Gid", "FDSize", "Groups", "Threads", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt",
				"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters", "VmLck", "VmSize", "VmData", "VmStk", "VmExe",
				"Cpus_allowed", "THP_enabled", "NSpid", "NSpgid", "NSsid", "Kthread", "CoreDumping":
				if key == "FDSize" {
					continue // the kernel grows the table, and does not shrink it
				}
				p[fmt.Sprintf("task %d: %s", tid, key)] = v
			}
		}
	}
	defer w.settle()
	var rseqs []int64
	for _, tid := range w.tasks() {
		s, err := kernel.ReadTask(tid)
		require.NoError(w.t, err)
		rseqs = append(rseqs, int64(s.Rseq))
		p[fmt.Sprintf("task %d: registers", tid)] = fmt.Sprintf("%x", s.GPRs)
		p[fmt.Sprintf("task %d: floating-point registers", tid)] = fmt.Sprintf("%x", s.FPRs)
		p[fmt.Sprintf("task %d: signals", tid)] = fmt.Sprintf("%x %x %x", s.Sigmask, s.Rseq, s.Pending)
		attr, err := unix.SchedGetAttr(tid, 0)
		require.NoError(w.t, err)
		p[fmt.Sprintf("task %d: scheduling", tid)] = fmt.Sprintf("%+v", *attr)
	}
	w.lookMemory(p, rseqs)
	p["other calls that have returned"] = fmt.Sprint(w.word(returned))
	p["what it tells"] = fmt.Sprintf("%x", sha256.Sum256(w.shared[stateAt:8192]))
	return p
}

// lookMemory adds the mappings, with a checksum of the contents of each, but
// for where the kernel writes on which processor a task runs.
func (w *waiter) lookMemory(p picture, rseqs []int64) {
	w.t.Helper()
	maps, err := os.ReadFile(w.proc("maps"))
	require.NoError(w.t, err)
	p["maps"] = string(maps)
	mem, err := os.Open(w.proc("mem"))
	require.NoError(w.t, err)
	defer mem.Close()
	for _, line := range strings.Split(strings.TrimSpace(string(maps)), "\n") {
		if strings.Contains(line, "[vvar") || strings.Contains(line, "[vsyscall]") || strings.HasSuffix(line, "/shared") {
			continue
		}
		var from, to int64
		_, err := fmt.Sscanf(line, "%x-%x", &from, &to)
		require.NoError(w.t, err)
		b := make([]byte, to-from)
		if _, err := mem.ReadAt(b, from); err != nil {
			p["contents of "+line] = err.Error()
			continue
		}
		for _, at := range rseqs {
			if at >= from && at < to {
				copy(b[at-from:], make([]byte, 32))
			}
		}
		p["contents of "+line] = fmt.Sprintf("%x", sha256.Sum256(b))
	}
}

// sameFile reports whether a descriptor of a process and one of ours are of the
// same open file (kcmp(2)).
func sameFile(pid, fd, own int) bool {
	r, _, e := unix.Syscall6(unix.SYS_KCMP, uintptr(os.Getpid()), uintptr(pid), 0, uintptr(own), uintptr(fd), 0)
	return e == 0 && r == 0
}

// wakes makes sure that another thread of the program goes on.
func (w *waiter) wakes() {
	w.t.Helper()
	n := w.word(readsAt)
	_, err := unix.Write(w.fds[int(w.word(writeAt))], []byte("x"))
	require.NoError(w.t, err)
	require.Eventually(w.t, func() bool { return w.word(readsAt) == n+1 }, time.Minute, 50*time.Microsecond, "its thread does not go on")
	w.settle()
}
