package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"cr/image"
)

// processFiles saves what a process sets in its files of /proc, beyond
// oom_score_adj, and its control groups.
func (s *saver) processFiles(p *process, r *image.Process) error {
	b, err := readProc(p.pid, "coredump_filter")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.CoreFilter = usualCoreFilter // a kernel without core files
	case err != nil:
		return err
	default:
		n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 16, 32)
		if err != nil {
			return fmt.Errorf("%s: %w", procPath(p.pid, "coredump_filter"), err)
		}
		r.CoreFilter = uint32(n)
	}
	if b, err = readProc(p.pid, "cgroup"); err == nil {
		r.Cgroup = string(b)
	}
	return nil
}

// usualCoreFilter is coredump_filter of a process that has not set it
// (core(5)).
const usualCoreFilter = 0x33

// writeFile makes a process write to a file that is there.
func (r *reborn) writeFile(path, text string) error {
	fd, err := r.openPath(path, unix.O_WRONLY|unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	_, err = r.do(sysWrite, fd, []byte(text), len(text))
	if _, e := r.do(sysClose, fd); err == nil {
		err = e
	}
	return err
}

// procFile is a file of /proc that a process has open to write to.
type procFile struct {
	name, text string
	fd         int
}

// stageProcessFiles opens oom_score_adj and coredump_filter where they differ.
func (rs *restarter) stageProcessFiles(r *reborn) error {
	for _, f := range []struct {
		name string
		then int64
		base int
		text string
	}{
		{"oom_score_adj", int64(r.rec.OOMScoreAdj), 10, strconv.Itoa(int(r.rec.OOMScoreAdj))},
		{"coredump_filter", int64(r.rec.CoreFilter), 16, fmt.Sprintf("%#x", r.rec.CoreFilter)},
	} {
		b, err := readProc(r.pid, f.name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		now, err := strconv.ParseInt(strings.TrimSpace(string(b)), f.base, 64)
		if err != nil || now == f.then {
			continue
		}
		fd, err := r.openPath("/proc/self/"+f.name, unix.O_WRONLY|unix.O_CLOEXEC)
		if refusedByKernel(err) && rs.options.Force {
			continue
		}
		if err != nil {
			return err
		}
		r.settings = append(r.settings, procFile{f.name, f.text, fd})
	}
	return nil
}

// commitProcessFiles writes to what stageProcessFiles has opened.
func (rs *restarter) commitProcessFiles(r *reborn) error {
	for _, f := range r.settings {
		_, err := r.do(sysWrite, f.fd, []byte(f.text), len(f.text))
		if refusedByKernel(err) && rs.options.Force {
			err = nil
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", f.name, f.text, err)
		}
	}
	return nil
}

// tryOOMScore finds out whether a process of our making may have the
// oom_score_adj of the image: to lower it takes CAP_SYS_RESOURCE.
func (rs *restarter) tryOOMScore(r *reborn) error {
	b, err := readProc(r.pid, "oom_score_adj")
	if err != nil {
		return err
	}
	now, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return fmt.Errorf("%s: %w", procPath(r.pid, "oom_score_adj"), err)
	}
	lowest := int32(now)
	for _, p := range rs.img.Processes {
		if p.State != image.Zombie && p.OOMScoreAdj < lowest {
			lowest = p.OOMScoreAdj
		}
	}
	if int(lowest) == now || rs.options.Force {
		return nil
	}
	refused := &RefusedError{PID: int(r.rec.PID), Kind: "process",
		Reason: fmt.Sprintf("its oom_score_adj was %d, here it is %d, and to lower it takes a privilege", lowest, now),
		Hint:   "restart it as root, or do without (--force)", Errno: unix.EPERM}
	fd, err := r.openPath("/proc/self/oom_score_adj", unix.O_WRONLY|unix.O_CLOEXEC)
	switch {
	case refusedByKernel(err):
		return refused
	case err != nil:
		return err
	}
	set := func(to int) error {
		text := strconv.Itoa(to)
		_, err := r.do(sysWrite, fd, []byte(text), len(text))
		return err
	}
	lowered := true
	err = rs.forNow(func() error {
		err := set(int(lowest))
		lowered = !refusedByKernel(err)
		return err
	}, nil, func() error {
		if !lowered {
			return nil
		}
		return set(now)
	})
	if _, e := r.do(sysClose, fd); err == nil {
		err = e
	}
	if refusedByKernel(err) && !lowered {
		return refused
	}
	return err
}
