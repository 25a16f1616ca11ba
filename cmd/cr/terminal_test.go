package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/internal/proc"
)

// screen is a pseudoterminal, and all that has been written to it.
type screen struct {
	t             *testing.T
	master, slave *os.File
	mutex         sync.Mutex
	text          bytes.Buffer
	seen          int // what waitFor has gone past
}

func newScreen(t *testing.T) *screen {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	require.NoError(t, err)
	s := &screen{t: t, master: os.NewFile(uintptr(fd), "ptmx")}
	s.slave, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := s.master.Read(b)
			s.mutex.Lock()
			s.text.Write(b[:n])
			s.mutex.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { s.master.Close(); s.slave.Close() })
	return s
}

// start runs a program in a session whose terminal this is.
func (s *screen) start(argv ...string) *exec.Cmd {
	s.t.Helper()
	c := exec.Command(argv[0], argv[1:]...)
	c.Stdin, c.Stdout, c.Stderr = s.slave, s.slave, s.slave
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(s.t, c.Start())
	s.t.Cleanup(func() {
		endTree(c.Process.Pid)
		_ = c.Wait() // it was killed
	})
	return c
}

func (s *screen) write(text string) {
	s.t.Helper()
	_, err := io.WriteString(s.master, text)
	require.NoError(s.t, err)
}

// enterUntil sends empty lines, which make a shell tell of its jobs, until there
// is text that matches.
func (s *screen) enterUntil(pattern string) {
	s.t.Helper()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case <-ended:
				return
			case <-time.After(200 * time.Millisecond):
				_, _ = s.master.WriteString("\n") // it shows on the screen
			}
		}
	}()
	s.waitFor(pattern)
}

// waitFor waits for text that matches behind what was waited for before, and
// returns the match and its groups.
func (s *screen) waitFor(pattern string) []string {
	s.t.Helper()
	re := regexp.MustCompile(pattern)
	for end := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		s.mutex.Lock()
		text := s.text.String()
		s.mutex.Unlock()
		if at := re.FindStringSubmatchIndex(text[s.seen:]); at != nil {
			found := re.FindStringSubmatch(text[s.seen:])
			s.seen += at[1]
			return found
		}
		if time.Now().After(end) {
			require.FailNow(s.t, "not on the screen", "%q in\n%s", pattern, text[s.seen:])
		}
	}
}

// jobShell is an interactive shell with job control on a terminal.
func jobShell(t *testing.T) *screen {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash with job control")
	}
	s := newScreen(t)
	t.Setenv("PS1", "% ")
	s.start(bash, "--norc", "--noprofile", "-i")
	s.waitFor("% ")
	return s
}

// TestRestartJob has a restarted program as a job of a shell: ^C, ^Z, fg, bg and
// the exit status are as they are for any program.
func TestRestartJob(t *testing.T) {
	cr, _ := programs(t)
	dir := t.TempDir()
	image, program := filepath.Join(dir, "image"), filepath.Join(dir, "program")
	require.NoError(t, os.WriteFile(program, []byte(`
import os, signal, sys
signal.signal(signal.SIGINT, lambda *_: print("interrupted", flush=True))
signal.signal(signal.SIGCONT, lambda *_: print("continued", flush=True))
print("begun", os.getpid(), flush=True)
while line := sys.stdin.readline():
    print("got", line.strip(), os.isatty(0), os.tcgetpgrp(0) == os.getpgrp() == os.getpid(), flush=True)
sys.exit(6)
`), 0o600))
	s := jobShell(t)
	s.write(python(t) + " " + program + "\n")
	pid := s.waitFor(`begun (\d+)\r\n`)[1]
	_, said, w := run(t, cr, "checkpoint", "--kill", "-o", image, pid)
	require.Zero(t, w.ExitStatus(), said)
	s.waitFor("Killed[^%]*% ")

	for _, pids := range []string{"namespace", "keep"} {
		s.write(cr + " restart --pids=" + pids + " " + image + "\n")
		s.waitFor("image\r\n")
		s.write("one\n")
		s.waitFor("got one True True\r\n")
		s.write("\x03")
		s.waitFor("interrupted\r\n")
		s.write("\x1a")
		s.waitFor(`Stopped .*restart`)
		s.write("echo $((6*7))\n") // the shell has the terminal
		s.waitFor("42\r\n")
		s.write("fg\n")
		s.waitFor("continued\r\n")
		s.write("two\n")
		s.waitFor("got two True True\r\n")
		s.write("\x1a")
		s.waitFor(`Stopped .*restart`)
		s.write("bg\n")
		s.waitFor("continued")
		// It reads from the terminal and is in the background.
		s.enterUntil(`Stopped .*restart`)
		s.write("fg\n")
		s.waitFor("continued\r\n")
		s.write("three\n")
		s.waitFor("got three True True\r\n")
		s.write("\x04")
		s.waitFor("% ")
		s.write("echo status=$?\n")
		s.waitFor("status=6\r\n")
	}
	// In the background from the beginning.
	s.write(cr + " restart " + image + " &\n")
	s.enterUntil(`Stopped .*restart`)
	s.write("fg\n")
	s.waitFor("continued\r\n")
	s.write("four\n")
	s.waitFor("got four True True\r\n")
	s.write("\x04")
	s.waitFor("% ")
	s.write("echo status=$?\n")
	s.waitFor("status=6\r\n")
}

// TestRunJob has a program that is run as a job of a shell: the shell learns of a
// stop once the program has stopped, which may take its time for it, or not do so.
func TestRunJob(t *testing.T) {
	cr, _ := programs(t)
	program := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(program, []byte(`
import os, signal, sys, time
def stop(*_):
    print("putting away", flush=True)
    time.sleep(0.3)
    print("put away", flush=True)
    signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    os.kill(0, signal.SIGTSTP)
    print("back", flush=True)
    signal.signal(signal.SIGTSTP, stop)
signal.signal(signal.SIGTSTP, stop)
print("begun", os.getpid(), flush=True)
while line := sys.stdin.readline():
    print("got", line.strip(), flush=True)
    if line.strip() == "ignore":
        signal.signal(signal.SIGTSTP, signal.SIG_IGN)
sys.exit(6)
`), 0o600))
	s := jobShell(t)
	s.write(cr + " run " + python(t) + " " + program + "\n")
	pid := s.waitFor(`begun (\d+)\r\n`)[1]
	for _, goOn := range []string{"fg\n", "kill -CONT " + pid + "; fg\n"} {
		s.write("\x1a")
		s.waitFor(`(?s)putting away\r\n.*put away\r\n.*Stopped .*% `)
		s.write(goOn)
		s.waitFor("back\r\n")
		s.write("one\n")
		s.waitFor("got one\r\n")
	}
	s.write("ignore\n")
	s.waitFor("got ignore\r\n")
	s.write("\x1a")
	s.write("two\n")
	s.waitFor("got two\r\n")
	s.write("\x04")
	s.waitFor("% ")
	s.write("echo status=$?\n")
	s.waitFor("status=6\r\n")
	// In the background it is stopped when it reads.
	s.write(cr + " run " + python(t) + " " + program + " &\n")
	s.waitFor(`begun (\d+)\r\n`)
	s.enterUntil(`Stopped .*run`)
	s.write("fg\n")
	s.waitFor(`program\r\n`)
	s.write("three\n")
	s.waitFor("got three\r\n")
	s.write("\x04")
	s.waitFor("% ")
	s.write("echo status=$?\n")
	s.waitFor("status=6\r\n")
}

// TestRestartShell restarts an interactive shell, whose own job was in the
// foreground.
func TestRestartShell(t *testing.T) {
	cr, _ := programs(t)
	image := filepath.Join(t.TempDir(), "image")
	s := jobShell(t)
	s.write("PS1='inner ' bash --norc --noprofile -i\n")
	s.waitFor("inner ")
	s.write("x=kept; echo pid=$$\n")
	pid := s.waitFor(`pid=(\d+)\r\n`)[1]
	s.waitFor("inner ")
	s.write("sleep 1000\n")
	n, err := strconv.Atoi(pid)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		c, err := proc.Children(n)
		if err != nil || len(c) != 1 {
			return false
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", c[0]))
		return err == nil && strings.HasPrefix(string(b), "sleep")
	}, limit, 10*time.Millisecond)
	_, said, w := run(t, cr, "checkpoint", "--kill", "-o", image, pid)
	require.Zero(t, w.ExitStatus(), said)
	s.write("\n")
	s.waitFor("% ")
	s.write(cr + " restart " + image + "\n")
	s.waitFor("image\r\n")
	time.Sleep(time.Second)
	s.write("\x1a")
	s.waitFor(`Stopped .*sleep`)
	s.write("echo $x-$((6*7)); kill %1\n")
	s.waitFor("kept-42\r\n")
	s.write("sleep 1000\n")
	time.Sleep(200 * time.Millisecond)
	s.write("\x03echo next\n")
	s.waitFor("next\r\n")
	s.write("exit 3\n")
	s.waitFor("% ")
	s.write("echo status=$?\n")
	s.waitFor("status=3\r\n")
}

// TestNoImageOnTerminal refuses to write an image to a terminal, or to read one.
func TestNoImageOnTerminal(t *testing.T) {
	cr, _ := programs(t)
	r := launch(t, nil, python(t), "-c", counter)
	require.Equal(t, "begun", r.line())
	pid := strconv.Itoa(r.cmd.Process.Pid)
	for _, args := range [][]string{{"checkpoint", pid}, {"checkpoint", "-o", "/dev/tty", pid}, {"restart"}} {
		s := newScreen(t)
		c := s.start(append([]string{cr}, args...)...)
		s.waitFor("cr " + args[0] + ": .*file or a pipe")
		require.Error(t, c.Wait())
		require.Equal(t, failed, c.ProcessState.ExitCode())
	}
	r.say("one")
	require.Equal(t, "1 one "+pid, r.line())
}

// TestProgress shows a bar on a terminal when the image is taken slowly, and
// none elsewhere.
func TestProgress(t *testing.T) {
	cr, _ := programs(t)
	r := launch(t, nil, python(t), "-c", "import os\nb = os.urandom(16 << 20)\nprint('begun', flush=True)\ninput()")
	require.Equal(t, "begun", r.line())
	for _, terminal := range []bool{true, false} {
		s := newScreen(t)
		c := exec.Command(cr, "checkpoint", strconv.Itoa(r.cmd.Process.Pid))
		var said bytes.Buffer
		c.Stderr = &said
		if terminal {
			c.Stderr = s.slave
		}
		out, err := c.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, c.Start())
		first := make([]byte, 1)
		_, err = io.ReadFull(out, first)
		require.NoError(t, err)
		time.Sleep(1200 * time.Millisecond)
		n, err := io.Copy(io.Discard, out)
		require.NoError(t, err)
		require.Greater(t, n, int64(16<<20))
		require.NoError(t, c.Wait())
		if terminal {
			s.waitFor(`saved \[#* *\] \d+ of \d+ MiB`)
			s.waitFor(`saved \[#{40}\] (\d+) of \d+ MiB\r\n`)
		}
		require.Empty(t, said.String())
	}
}
