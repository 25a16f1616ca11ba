package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// criuFD is where criu gets the target's standard input, and its output above.
const criuFD = 5

// measureCRIU measures the peer (https://criu.org) with the same target, where
// it is installed.
func (b *bench) measureCRIU(t *target, r *results) error {
	dir := filepath.Join(b.scratch, "criu")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// It writes of an error that is none.
	var said strings.Builder
	cmd := exec.Command(b.criu, "dump", "--tree", strconv.Itoa(t.pid()), "--images-dir", dir, "--leave-running", "--shell-job")
	cmd.Stderr = &said
	s, err := t.checkpointedBy(cmd)
	if err != nil {
		return fmt.Errorf("criu dump: %w\n%s", err, &said)
	}
	r.criuCheckpoint = append(r.criuCheckpoint, s)
	// The pids that the image has are in use here, by the target itself.
	// criu keeps standard input for itself where there is no terminal.
	args := []string{"--pid", "--fork", "--mount-proc", "sh", "-c", fmt.Sprintf(`exec "$@" %d<&0 %d>&1`, criuFD, criuFD+1), "sh",
		b.criu, "restore", "--images-dir", dir, "--shell-job"}
	for fd := 0; fd < 2; fd++ {
		pipe, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", t.pid(), fd))
		if err != nil {
			return err
		}
		args = append(args, "--inherit-fd", fmt.Sprintf("fd[%d]:%s", criuFD+fd, pipe))
	}
	// The first of several tasks answers before criu is done with the last, and
	// fails if that has ended.
	const while = 300 * time.Millisecond
	said.Reset()
	cmd = exec.Command("unshare", args...)
	cmd.Stderr = &said
	if s, err = restartedBy(cmd, while); err != nil {
		return fmt.Errorf("criu restore: %w\n%s", err, &said)
	}
	r.criuRestart = append(r.criuRestart, s)
	return nil
}
