package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// Serve runs the commands that are asked for on port until the host closes its
// side or sends what is no request.
func Serve(port io.ReadWriter) error {
	s := &server{port: port}
	if err := s.send(Reply{}); err != nil {
		return err
	}
	requests := json.NewDecoder(port)
	for {
		var r Request
		if err := requests.Decode(&r); err != nil {
			return fmt.Errorf("agent: reading a request: %w", err)
		}
		go s.run(r)
	}
}

type server struct {
	mu   sync.Mutex
	port io.Writer
}

// piece is how much output one reply holds at most. In base64 it stays below
// the 32 KiB that a virtio port takes in one write.
const piece = 16 << 10

func (s *server) send(r Reply) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err = s.port.Write(append(line, '\n'))
	return err
}

func (s *server) run(r Request) {
	end := Reply{ID: r.ID, Ended: true}
	if err := s.command(r); err != nil {
		if exit, ok := err.(*exec.ExitError); ok {
			end.Exit = status(exit)
		} else {
			end.Exit, end.Error = 127, err.Error()
		}
	}
	if err := s.send(end); err != nil {
		fmt.Fprintf(os.Stderr, "agent: the end of %q: %v\n", r.Argv, err)
	}
}

func (s *server) command(r Request) error {
	if len(r.Argv) == 0 {
		return fmt.Errorf("agent: no command")
	}
	cmd := exec.Command(r.Argv[0], r.Argv[1:]...)
	cmd.Env = append(os.Environ(), r.Env...)
	cmd.Dir = r.Dir
	cmd.Stdin = bytes.NewReader(r.Stdin)
	cmd.Stdout = output(func(b []byte) error { return s.send(Reply{ID: r.ID, Stdout: b}) })
	cmd.Stderr = output(func(b []byte) error { return s.send(Reply{ID: r.ID, Stderr: b}) })
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Run()
}

func status(e *exec.ExitError) int {
	w, ok := e.Sys().(syscall.WaitStatus)
	if ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	return e.ExitCode()
}

// output sends what is written to it in pieces.
type output func([]byte) error

func (send output) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n := len(b) - done
		if n > piece {
			n = piece
		}
		if err := send(b[done : done+n]); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}
