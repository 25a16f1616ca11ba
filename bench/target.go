package main

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

//go:embed target/target.c
var targetSource []byte

// buildTarget compiles target/target.c with the C compiler of the machine.
func buildTarget(dir string) (string, error) {
	program := filepath.Join(dir, "target")
	source := program + ".c"
	if err := os.WriteFile(source, targetSource, 0o600); err != nil {
		return "", err
	}
	out, err := exec.Command("cc", "-O2", "-w", "-pthread", "-o", program, source).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("compile the target: %w\n%s", err, out)
	}
	return program, nil
}

// shape is what a target process is like.
type shape struct {
	mib       int // touched memory of each process
	threads   int
	processes int
}

// target is a running target: it echoes every byte that it reads.
type target struct {
	cmd     *exec.Cmd
	in, out *os.File // our ends of its standard input and output
	addr    uintptr  // of its memory
}

// startTarget starts a target, and returns when it has touched all its memory;
// with fill unset, when it has mapped it.
func startTarget(program string, s shape, fill bool) (*target, error) {
	touch := "0"
	if fill {
		touch = "1"
	}
	cmd := exec.Command(program, "memory", strconv.Itoa(s.mib), strconv.Itoa(s.threads), strconv.Itoa(s.processes), touch)
	cmd.Stderr = os.Stderr
	t, err := spawn(cmd)
	if err != nil {
		return nil, err
	}
	line, err := readLine(t.out)
	if err != nil {
		t.stop()
		return nil, fmt.Errorf("start the target: %w", err)
	}
	// The line is preceded by an r of every child.
	addr, err := strconv.ParseUint(strings.TrimLeft(line, "r"), 16, 64)
	if err != nil {
		t.stop()
		return nil, fmt.Errorf("start the target: it says %q", line)
	}
	t.addr = uintptr(addr)
	for i := strings.Count(line, "r"); i < s.processes; i++ {
		if _, err := t.out.Read(make([]byte, 1)); err != nil {
			t.stop()
			return nil, fmt.Errorf("start the target: %w", err)
		}
	}
	return t, nil
}

// readLine reads a line and nothing behind it.
func readLine(f *os.File) (string, error) {
	var line []byte
	for b := make([]byte, 1); ; {
		if _, err := f.Read(b); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return string(line), nil
		}
		line = append(line, b[0])
	}
}

// spawn starts a command that is a target or becomes one, between two pipes.
func spawn(cmd *exec.Cmd) (*target, error) {
	inRead, inWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdin, cmd.Stdout = inRead, outWrite
	err = cmd.Start()
	inRead.Close()
	outWrite.Close()
	if err != nil {
		return nil, err
	}
	return &target{cmd: cmd, in: inWrite, out: outRead}, nil
}

func (t *target) pid() int { return t.cmd.Process.Pid }

// echo sends a byte and waits until it comes back.
func (t *target) echo() error {
	if _, err := t.in.Write([]byte("x")); err != nil {
		return err
	}
	if err := t.out.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := t.out.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("the target does not answer: %w", err)
	}
	return nil
}

// longestEcho sends bytes until stop is closed. It returns the longest time
// that one took to come back: at least as long as the target stood still.
func (t *target) longestEcho(stop <-chan struct{}) (longest time.Duration, err error) {
	for {
		start := time.Now()
		if err := t.echo(); err != nil {
			return 0, err
		}
		if d := time.Since(start); d > longest {
			longest = d
		}
		select {
		case <-stop:
			return longest, nil
		case <-time.After(time.Millisecond):
		}
	}
}

// patience is how long a target may take to answer.
const patience = 2 * time.Minute

// kill ends the target where it does not end by itself.
func (t *target) kill() {
	_ = t.cmd.Process.Kill() // it may have ended
	t.stop()
}

// stop lets the target end, and returns how it did.
func (t *target) stop() error {
	t.in.Close()
	err := t.cmd.Wait()
	t.out.Close()
	return err
}
