package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What is restarted under a name has a directory of that name, with three files:
// a lock that the cr which restarted it holds for as long as it watches, what is
// running, and in the end the wait status. So an entry whose cr has been killed
// is known by its lock, and one whose processes are gone by their start times.
const (
	lockFile   = "lock"
	infoFile   = "info"
	statusFile = "status"
)

// named is a program that was restarted under a name.
type named struct {
	Name  string    `json:"name"`
	Image string    `json:"image,omitempty"` // the file, where there was one
	Time  time.Time `json:"time"`            // of the restart
	Boot  string    `json:"boot"`            // boot_id of the kernel
	Tasks int       `json:"tasks"`
	Root  processID `json:"root"`
	Init  processID `json:"init"` // of its pid namespace; 0 if it has none

	dir string
}

// processID names a process for good: pids are used again.
type processID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // in clock ticks since the boot
}

// nameForm is what names look like: one path element that is no option. It is
// not compiled at every start, which takes a tenth of it in a guest.
const nameForm = `^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`

// stateDir is the directory of the user's named programs. It is made if it is
// missing.
func stateDir() (string, error) {
	parent := os.Getenv("XDG_RUNTIME_DIR")
	if st, err := os.Stat(parent); parent == "" || err != nil || !ours(st) {
		parent = "/run"
		if os.Geteuid() != 0 {
			parent = fmt.Sprintf("/run/user/%d", os.Geteuid())
		}
	}
	dir := filepath.Join(parent, "cr")
	if st, err := os.Stat(parent); err != nil || !ours(st) {
		dir = filepath.Join(os.TempDir(), fmt.Sprintf("cr-%d", os.Geteuid()))
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	st, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if !st.IsDir() || !ours(st) || st.Mode().Perm()&0o022 != 0 {
		return "", fmt.Errorf("%s is not a directory that only this user can write to", dir)
	}
	return dir, nil
}

// ours reports whether this user owns a file.
func ours(st os.FileInfo) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && int(sys.Uid) == os.Geteuid()
}

// openNamed reads the entry of a name. It is os.ErrNotExist if there is none.
func openNamed(name string) (*named, error) {
	if !regexp.MustCompile(nameForm).MatchString(name) {
		return nil, usageError(fmt.Sprintf("%q is no name: letters, digits, dots, dashes and underscores are, up to 64", name))
	}
	dir, err := stateDir()
	if err != nil {
		return nil, err
	}
	n := &named{Name: name, dir: filepath.Join(dir, name)}
	if _, err := os.Stat(n.path(lockFile)); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("nothing was restarted as %q; cr ps lists what was: %w", name, os.ErrNotExist)
		}
		return nil, err
	}
	b, err := os.ReadFile(n.path(infoFile))
	if errors.Is(err, os.ErrNotExist) {
		return n, nil // it is being restarted
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, n); err != nil {
		return nil, fmt.Errorf("%s: %w", n.path(infoFile), err)
	}
	n.Name = name
	return n, nil
}

func (n *named) path(file string) string { return filepath.Join(n.dir, file) }

// started reports whether the program has been running.
func (n *named) started() bool { return n.Root.PID != 0 }

// watched reports whether the cr that restarted the program watches it still.
func (n *named) watched() (bool, error) {
	f, err := os.OpenFile(n.path(lockFile), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	l := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &l); err != nil {
		return false, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return l.Type != unix.F_UNLCK, nil
}

// ended gives the wait status of a program that has ended.
func (n *named) ended() (ws unix.WaitStatus, ok bool, err error) {
	b, err := os.ReadFile(n.path(statusFile))
	if errors.Is(err, os.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	v, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
	if err != nil {
		return 0, false, fmt.Errorf("%s: %w", n.path(statusFile), err)
	}
	return unix.WaitStatus(v), true, nil
}

// open opens one of the program's processes. It is unix.ESRCH if that has
// ended, whatever has its pid now.
func (n *named) open(p processID) (pidfd int, err error) {
	if boot, err := bootID(); err != nil || boot != n.Boot || p.PID == 0 {
		return -1, firstOf(err, unix.ESRCH)
	}
	if pidfd, err = unix.PidfdOpen(p.PID, 0); err != nil {
		return -1, err
	}
	// This is the process that has been opened, or none.
	now, _, err := startOf(p.PID)
	if err == nil && now.Start != p.Start || errors.Is(err, os.ErrNotExist) {
		err = unix.ESRCH
	}
	if err != nil {
		unix.Close(pidfd)
		return -1, err
	}
	return pidfd, nil
}

func firstOf(list ...error) error {
	for _, err := range list {
		if err != nil {
			return err
		}
	}
	return nil
}

// startOf reads when a process has started, and its state.
func startOf(pid int) (id processID, state byte, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, unix.ESRCH) {
		err = os.ErrNotExist
	}
	if err != nil {
		return id, 0, err
	}
	// The name of the program, in parentheses, may be anything.
	text := string(b)
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	const stateField, startField = 0, 19 // 3 and 22 in proc(5)
	if len(f) <= startField {
		return id, 0, fmt.Errorf("/proc/%d/stat is malformed", pid)
	}
	id.PID = pid
	id.Start, err = strconv.ParseUint(f[startField], 10, 64)
	return id, f[stateField][0], err
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

// claim takes a name for a program that is about to be restarted. Until this
// program ends, or gives it back, nobody else can have it. What an earlier one
// has left of itself is removed.
func claim(name string) (*named, error) {
	old, err := openNamed(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	dir, err := stateDir()
	if err != nil {
		return nil, err
	}
	n := &named{Name: name, dir: filepath.Join(dir, name)}
	if n.Boot, err = bootID(); err != nil {
		return nil, err
	}
	if err := os.Mkdir(n.dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	// Not closed: to close any descriptor of the file gives up the lock.
	fd, err := unix.Open(n.path(lockFile), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: n.path(lockFile), Err: err}
	}
	l := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	err = unix.FcntlFlock(uintptr(fd), unix.F_SETLK, &l)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return nil, fmt.Errorf("%q is running: end it with cr kill, or take another name", name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.path(lockFile), err)
	}
	if old != nil && old.started() {
		if _, ended, err := old.ended(); err == nil && !ended {
			if pidfd, err := old.open(old.Root); err == nil {
				unix.Close(pidfd)
				return nil, fmt.Errorf("%q is running, though the cr that restarted it has been killed: end it with cr kill -s KILL", name)
			}
		}
	}
	for _, file := range []string{infoFile, statusFile} {
		if err := os.Remove(n.path(file)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	return n, nil
}

// forget removes the entry.
func (n *named) forget() error {
	for _, file := range []string{infoFile, statusFile, lockFile} {
		if err := os.Remove(n.path(file)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return os.Remove(n.dir)
}

// begun notes that the program is there.
func (n *named) begun(root, init, tasks int) error {
	var err error
	if n.Root, _, err = startOf(root); err != nil {
		return err
	}
	if init != 0 {
		if n.Init, _, err = startOf(init); err != nil {
			return err
		}
	}
	n.Tasks, n.Time = tasks, time.Now()
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return n.write(infoFile, b)
}

// end notes how the program has ended.
func (n *named) end(ws unix.WaitStatus) error {
	return n.write(statusFile, []byte(strconv.FormatUint(uint64(uint32(ws)), 10)))
}

// write writes a file, which is there as a whole or not at all.
func (n *named) write(file string, b []byte) error {
	temp := n.path(file + "~")
	if err := os.WriteFile(temp, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, n.path(file))
}

// list gives all entries, by name.
func list() ([]*named, error) {
	dir, err := stateDir()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []*named
	for _, e := range entries {
		n, err := openNamed(e.Name())
		var u usageError
		if errors.Is(err, os.ErrNotExist) || errors.As(err, &u) {
			continue // it has gone meanwhile, or is no entry
		}
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}
