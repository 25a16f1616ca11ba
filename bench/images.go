package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// results are the measurements of one shape.
type results struct {
	shape
	checkpoint, restart         series
	call                        series // of checkpoint(), without the start of a program
	checkpointLimit             series
	restartLimit                series
	criuCheckpoint, criuRestart series
}

func (s shape) String() string {
	switch {
	case s.threads > 1:
		return fmt.Sprintf("%d threads", s.threads)
	case s.processes > 1:
		return fmt.Sprintf("%d processes, %d MiB each", s.processes, s.mib)
	}
	return fmt.Sprintf("%d MiB", s.mib)
}

// images measures checkpoints and restarts.
func (b *bench) images(shapes []shape) error {
	var all []*results
	var failed error
	for _, s := range shapes {
		r := &results{shape: s}
		if err := b.measure(r); err != nil {
			failed = fmt.Errorf("%s: %w", s, err)
			break
		}
		all = append(all, r)
	}
	t := newTable("checkpoint, leave running", "wall", "frozen", "CPU", "peak MiB", "limit", "ratio", "CPU ratio")
	for _, r := range all {
		t.row(r.String(), r.checkpoint.times(wall), r.checkpoint.times(frozen), r.checkpoint.times(cpu), r.checkpoint.peak(),
			r.checkpointLimit.times(wall), ratio(r.checkpoint, r.checkpointLimit, wall), ratio(r.checkpoint, r.checkpointLimit, cpu))
		if len(r.call) > 0 {
			t.row("  the call", r.call.times(wall), "", "", "", "", ratio(r.call, r.checkpointLimit, wall), "")
		}
		if len(r.criuCheckpoint) > 0 {
			t.row("  CRIU", r.criuCheckpoint.times(wall), r.criuCheckpoint.times(frozen), r.criuCheckpoint.times(cpu), r.criuCheckpoint.peak(),
				"", ratio(r.criuCheckpoint, r.checkpointLimit, wall), ratio(r.criuCheckpoint, r.checkpointLimit, cpu))
		}
	}
	t.print()
	t = newTable("restart", "wall", "CPU", "peak MiB", "limit", "ratio", "CPU ratio")
	for _, r := range all {
		t.row(r.String(), r.restart.times(wall), r.restart.times(cpu), r.restart.peak(),
			r.restartLimit.times(wall), ratio(r.restart, r.restartLimit, wall), ratio(r.restart, r.restartLimit, cpu))
		if len(r.criuRestart) > 0 {
			t.row("  CRIU", r.criuRestart.times(wall), r.criuRestart.times(cpu), r.criuRestart.peak(),
				"", ratio(r.criuRestart, r.restartLimit, wall), ratio(r.criuRestart, r.restartLimit, cpu))
		}
	}
	t.print()
	return failed
}

// measure measures a shape: in turns, so that what else the machine does slows
// all of them down alike.
func (b *bench) measure(r *results) (err error) {
	t, err := startTarget(b.target, r.shape, true)
	if err != nil {
		return err
	}
	defer func() {
		if e := t.stop(); err == nil {
			err = e
		}
	}()
	bytes := r.mib * r.processes << 20
	image, file := filepath.Join(b.scratch, "image"), filepath.Join(b.scratch, "limit")
	for i := 0; i < b.n; i++ {
		if err := os.RemoveAll(file); err != nil {
			return err
		}
		s, err := copyOut(t, r.mib, r.processes, file)
		if err != nil {
			return err
		}
		r.checkpointLimit = append(r.checkpointLimit, s)
		if s, err = b.copyIn(bytes, file); err != nil {
			return err
		}
		r.restartLimit = append(r.restartLimit, s)
		if err := os.RemoveAll(file); err != nil {
			return err
		}
		if s, err = b.checkpoint(t, image); err != nil {
			return err
		}
		r.checkpoint = append(r.checkpoint, s)
		if r.threads == 1 && r.processes == 1 {
			if s, err = b.checkpointCall(r.mib, file); err != nil {
				return err
			}
			r.call = append(r.call, s)
			if err := os.Remove(file); err != nil {
				return err
			}
		}
		if s, err = b.restart(image); err != nil {
			return err
		}
		r.restart = append(r.restart, s)
		if err := os.Remove(image); err != nil {
			return err
		}
		if b.criu == "" {
			continue
		}
		if err := b.measureCRIU(t, r); err != nil {
			return err
		}
	}
	return nil
}

// checkpoint measures one run of cr checkpoint.
func (b *bench) checkpoint(t *target, image string) (sample, error) {
	return t.checkpointedBy(exec.Command(b.cr, "checkpoint", "-o", image, strconv.Itoa(t.pid())))
}

// checkpointCall measures the third checkpoint call of a program under cr run:
// by then the kernel side has touched what it needs.
func (b *bench) checkpointCall(mib int, image string) (s sample, err error) {
	times, err := numbers(b.cr, "run", "--", b.target, "self", strconv.Itoa(mib), image, "3")
	if err != nil {
		return s, err
	}
	s.wall = time.Duration(times[len(times)-1])
	return s, nil
}

// checkpointedBy measures a command that checkpoints a target and lets it run
// on.
func (t *target) checkpointedBy(cmd *exec.Cmd) (s sample, err error) {
	if cmd.Stderr == nil {
		cmd.Stderr = os.Stderr
	}
	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		var err error
		s.frozen, err = t.longestEcho(stop)
		stopped <- err
	}()
	start := time.Now()
	err = cmd.Run()
	s.wall = time.Since(start)
	close(stop)
	if e := <-stopped; err == nil {
		err = e
	}
	if err == nil {
		s.spent(cmd.ProcessState)
	}
	return s, err
}

// restart measures how long cr restart takes until the target answers.
func (b *bench) restart(image string) (sample, error) {
	cmd := exec.Command(b.cr, "restart", image)
	cmd.Stderr = os.Stderr
	return restartedBy(cmd, 0)
}

// restartedBy measures how long a command takes that becomes a target, or the
// parent of one, until the target answers. It is ended after a while.
func restartedBy(cmd *exec.Cmd, while time.Duration) (s sample, err error) {
	start := time.Now()
	t, err := spawn(cmd)
	if err != nil {
		return s, err
	}
	if err := t.echo(); err != nil {
		t.kill()
		return s, err
	}
	s.wall = time.Since(start)
	time.Sleep(while)
	if err := t.stop(); err != nil {
		return s, err
	}
	s.spent(cmd.ProcessState)
	return s, nil
}

// copyIn measures the limit of a restart, with a process of its own to fill.
func (b *bench) copyIn(bytes int, file string) (s sample, err error) {
	t, err := startTarget(b.target, shape{bytes >> 20, 1, 1}, false)
	if err != nil {
		return s, err
	}
	defer func() {
		if e := t.stop(); err == nil {
			err = e
		}
	}()
	return copyIn(t, bytes, file)
}
