package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"cr/image"
)

// controlGroup is a line of /proc/PID/cgroup (cgroups(7)), without the number of
// its hierarchy, which other boots count otherwise.
type controlGroup struct {
	controllers string // with commas between them; empty for version 2
	path        string
}

func (g controlGroup) String() string {
	if g.controllers == "" {
		return g.path
	}
	return g.controllers + ":" + g.path
}

// groupsIn reads /proc/PID/cgroup.
func groupsIn(text string) []controlGroup {
	var list []controlGroup
	for _, line := range strings.Split(text, "\n") {
		if f := strings.SplitN(line, ":", 3); len(f) == 3 {
			list = append(list, controlGroup{f[1], f[2]})
		}
	}
	return list
}

// enterGroups moves the processes of a restart to the control groups that they
// were in, as the caller may. They are stopped still.
func (rs *restarter) enterGroups() error {
	for _, r := range rs.list {
		if r.rec.State == image.Zombie {
			continue
		}
		if err := rs.enterGroupsOf(r.pid, r.rec); err != nil {
			return err
		}
	}
	return nil
}

// enterGroupsOf moves a process to the control groups that one of the image was
// in.
func (rs *restarter) enterGroupsOf(pid int, rec *image.Process) error {
	mounts, err := readFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	now, err := readProc(pid, "cgroup")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	is := make(map[controlGroup]bool)
	for _, g := range groupsIn(string(now)) {
		is[g] = true
	}
	for _, g := range groupsIn(rec.Cgroup) {
		if is[g] {
			continue
		}
		if err := rs.enterGroup(string(mounts), g, pid); err != nil {
			return &RefusedError{PID: int(rec.PID), Kind: "control group", Object: g.String(),
				Reason: fmt.Sprintf("it cannot be entered: %v", err), Hint: "make it, or restart without --cgroups", Errno: Errno(err)}
		}
	}
	return nil
}

// enterGroup moves a process to a control group. Only a path of the form that the
// kernel gives it is one.
func (rs *restarter) enterGroup(mounts string, g controlGroup, pid int) error {
	first, _, _ := strings.Cut(g.controllers, ",")
	_, dir, mounted := groupDir(mounts, first, g.path)
	if !mounted || g.path != path.Clean(g.path) || !strings.HasPrefix(g.path, "/") {
		return fmt.Errorf("no such group is mounted: %w", unix.ENOENT)
	}
	_, err := rs.options.as.do(func() (int, error) {
		f, err := os.OpenFile(path.Join(dir, "cgroup.procs"), os.O_WRONLY, 0)
		if err != nil {
			return 0, err
		}
		defer f.Close()
		return f.WriteString(strconv.Itoa(pid))
	})
	return err
}
