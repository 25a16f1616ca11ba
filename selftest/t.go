package selftest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// T is one test while it runs. Its methods Fatalf and Skipf end it, and may be
// called only on the test's own goroutine.
type T struct {
	run   *run
	name  string
	dir   string    // for files of this test; removed after it
	limit time.Time // by which the test must be over

	files []*os.File // to close

	mu      sync.Mutex
	notes   []string
	outcome outcome
	reason  string // of a skip
	procs   []*process
	inner   *T // that of failureOf
	ended   bool
}

// Errorf fails the test and goes on.
func (t *T) Errorf(format string, args ...interface{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return
	}
	t.outcome = failed
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

// Fatalf fails the test and ends it.
func (t *T) Fatalf(format string, args ...interface{}) {
	t.Errorf(format, args...)
	runtime.Goexit()
}

// Skipf ends the test as one that cannot be made on this machine.
func (t *T) Skipf(format string, args ...interface{}) {
	t.mu.Lock()
	t.outcome, t.reason = skipped, fmt.Sprintf(format, args...)
	t.mu.Unlock()
	runtime.Goexit()
}

// Logf says something that is shown if the test fails, or with Verbose.
func (t *T) Logf(format string, args ...interface{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

// must ends the test if there is an error.
func (t *T) must(err error) {
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// file is the path of a file of this test.
func (t *T) file(name string) string { return filepath.Join(t.dir, name) }

// create makes a file of this test, which is closed after it.
func (t *T) create(name string) *os.File {
	f, err := os.Create(t.file(name))
	t.must(err)
	t.files = append(t.files, f)
	return f
}

// do runs f within the time limit, and leaves no process behind.
func (t *T) do(f func(*T)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(t)
	}()
	timer := time.NewTimer(time.Until(t.limit))
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		t.Errorf("not over after %v", t.run.Timeout)
		t.reportProcesses()
		t.kill()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			t.Errorf("still not over after its processes were killed")
		}
		t.mu.Lock()
		t.outcome = timedOut
		t.mu.Unlock()
	}
	t.kill()
	t.mu.Lock()
	t.ended = true
	t.mu.Unlock()
	for _, f := range t.files {
		f.Close()
	}
	os.RemoveAll(t.dir)
}

// reportProcesses says what the kernel knows of the test's processes and their
// threads.
func (t *T) reportProcesses() {
	for _, pid := range t.living() {
		t.reportFiles("pid", pid, fmt.Sprintf("/proc/%d", pid), "cmdline")
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			t.Logf("pid %d: %v", pid, err)
		}
		for _, task := range tasks {
			if tid, err := strconv.Atoi(task.Name()); err == nil {
				t.reportFiles("task", tid, fmt.Sprintf("/proc/%d/task/%d", pid, tid), "stat", "syscall", "wchan", "stack")
			}
		}
	}
}

func (t *T) reportFiles(what string, id int, dir string, names ...string) {
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Logf("%s %d %s: %v", what, id, name, err)
			continue
		}
		text := strings.TrimSpace(strings.Replace(string(b), "\x00", " ", -1))
		t.Logf("%s %d %s: %s", what, id, name, text)
	}
}

// living lists the processes that the test started and those they started.
func (t *T) living() []int {
	var pids []int
	for _, p := range t.processes() {
		if !p.waited() {
			pids = append(pids, descendants(p.pid())...)
		}
	}
	return pids
}

// processes lists what the test has started.
func (t *T) processes() []*process {
	t.mu.Lock()
	defer t.mu.Unlock()
	procs := t.procs[:len(t.procs):len(t.procs)]
	if t.inner != nil {
		procs = append(procs, t.inner.processes()...)
	}
	return procs
}

// kill ends the processes of the test, the youngest first so that none is
// orphaned before it is found.
func (t *T) kill() {
	pids := t.living()
	for i := len(pids) - 1; i >= 0; i-- {
		_ = syscall.Kill(pids[i], syscall.SIGKILL)
	}
	for _, p := range t.processes() {
		_ = p.wait() // it was killed
	}
}
