package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// output is a file that appears under its name when it is whole, or not at all.
// What is no regular file, a FIFO or a device, is written to as it is.
type output struct {
	*os.File
	path  string // of the whole file; empty if it is written to as it is
	temp  string // name of the file until then
	named bool   // the file has that name already
	whole bool
}

// createOutput begins to write a file, which gets mode 0600.
func createOutput(path string) (*output, error) {
	st, err := os.Stat(path)
	if err == nil && !st.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		if isTerminal(f) {
			f.Close()
			return nil, fmt.Errorf("%s: %w", path, errText)
		}
		return &output{File: f}, nil
	}
	if err == nil {
		// What a symbolic link leads to is replaced, not the link.
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	o := &output{path: path, temp: filepath.Join(dir, "."+base+"."+strconv.Itoa(os.Getpid())+"~")}
	// A file without a name goes with this program, however that ends.
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err == nil {
		o.File = os.NewFile(uintptr(fd), path)
		return o, nil
	}
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EROFS) || errors.Is(err, unix.ENOSPC) {
		return nil, &os.PathError{Op: "create", Path: path, Err: err}
	}
	o.named = true
	if o.File, err = os.OpenFile(o.temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return nil, err
	}
	o.removeWhenKilled()
	return o, nil
}

// errText is why an image is not written to a terminal.
var errText = errors.New("the image is no text: send it to a file or a pipe, or use -o FILE")

// removeWhenKilled removes the file when a signal ends this program.
func (o *output) removeWhenKilled() {
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, notIgnored([]os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT})...)
	go func() {
		s := <-ends
		_ = os.Remove(o.temp) // it has another name if it is whole
		os.Exit(exitAs(unix.WaitStatus(s.(syscall.Signal))))
	}()
}

// publish gives the file its name.
func (o *output) publish() error {
	if o.path == "" {
		return nil
	}
	if !o.named {
		from := "/proc/self/fd/" + strconv.Itoa(int(o.Fd()))
		if err := unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, o.temp, unix.AT_SYMLINK_FOLLOW); err != nil {
			return fmt.Errorf("give %s its name: %w", o.path, err)
		}
		o.named = true
	}
	if err := os.Rename(o.temp, o.path); err != nil {
		return err
	}
	o.whole = true
	return nil
}

// finish closes the file, and leaves nothing of one that is not whole.
func (o *output) finish() error {
	err := o.Close()
	if o.named && !o.whole {
		if e := os.Remove(o.temp); err == nil {
			err = e
		}
	}
	return err
}

// removed removes an image that is not whole, and adds to the error if that
// fails.
func removed(file string, err error) error {
	if e := os.Remove(file); e != nil {
		return fmt.Errorf("%w\n%v", err, e)
	}
	return err
}
