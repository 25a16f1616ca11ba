package selftest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// process is a program that a test has started. Its output is collected.
type process struct {
	t    *T
	cmd  *exec.Cmd
	name string // for messages
	out  bytes.Buffer
	err  bytes.Buffer

	once   sync.Once
	mu     sync.Mutex
	over   bool
	status error
}

// start runs a program; files become its descriptors from 3 on.
func (t *T) start(name string, argv []string, files ...*os.File) *process {
	return t.launch(name, argv, func(p *process) { p.cmd.ExtraFiles = files })
}

// launch runs a program that setup has prepared.
func (t *T) launch(name string, argv []string, setup func(*process)) *process {
	p := &process{t: t, name: name, cmd: exec.Command(argv[0], argv[1:]...)}
	p.cmd.Stdout = &p.out
	p.cmd.Stderr = &p.err
	p.cmd.Dir = "/"
	setup(p)
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	t.mu.Lock()
	t.procs = append(t.procs, p)
	t.mu.Unlock()
	return p
}

// cr is the command line of a sub-command of the utility, which the kernel must
// have all for. In a kernel that has the calls itself, it is the call that does
// the same.
func (t *T) cr(args ...string) []string {
	argv := []string{t.run.Executable}
	if t.run.Native {
		argv = append(argv, "call")
		if numbers.Checkpoint != 0 {
			argv = append(argv, "--numbers="+numbers.String())
		}
		return append(argv, args...)
	}
	if missing := t.run.missing(args[0]); missing != "" {
		t.Skipf("%s", missing)
	}
	return append(argv, args...)
}

// underCalls is the command line that offers the two calls to a program.
func (t *T) underCalls(argv []string) []string {
	if t.run.Native {
		return argv
	}
	run := t.cr("run")
	if numbers.Checkpoint != 0 {
		run = append(run, "--numbers="+numbers.String())
	}
	return append(append(run, "--"), argv...)
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// wait waits for the end of the process and of its output.
func (p *process) wait() error {
	p.once.Do(func() {
		err := p.cmd.Wait()
		p.mu.Lock()
		p.over, p.status = true, err
		p.mu.Unlock()
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// exitStatus waits for the end of the process; -1 if a signal ended it.
func (p *process) exitStatus() int {
	_ = p.wait()
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) waited() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.over
}

// succeed waits for the end of the process, and ends the test if it failed.
func (p *process) succeed() {
	err := p.wait()
	if err != nil {
		p.t.Fatalf("%s: %v%s", p.name, err, p.complaint())
	}
}

// complaint is what the process wrote to its standard error, on lines of its
// own: the first of them, where it is the trace of a crash.
func (p *process) complaint() string {
	const most = 20
	text := strings.TrimSpace(p.err.String())
	if text == "" {
		return ""
	}
	lines := strings.Split(text, "\n")
	if len(lines) > most {
		lines = append(lines[:most], fmt.Sprintf("... %d lines more", len(lines)-most))
	}
	return "\n" + strings.Join(lines, "\n")
}

// task finds the process among those that p started, and p itself, that runs a
// target program.
func (p *process) task(prog *program) int {
	var pause poll
	for {
		for _, pid := range family(p.pid()) {
			if runs(pid, prog) {
				return pid
			}
		}
		if p.exited() {
			p.succeed()
			p.t.Fatalf("%s: exited without a task of %s", p.name, prog.path)
		}
		if time.Now().After(p.t.limit) {
			p.t.Fatalf("%s: no task of %s", p.name, prog.path)
		}
		pause.wait()
	}
}

// exited reports whether the process is a zombie.
func (p *process) exited() bool {
	_, err := stateOf(p.pid())
	return err != nil || isZombie(p.pid())
}
