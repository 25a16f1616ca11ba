package initramfs

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// File types of a cpio archive, in the high bits of the mode.
const (
	typeDir     = 0o040000
	typeRegular = 0o100000
	typeSymlink = 0o120000
	typeChar    = 0o020000
)

// archive writes a cpio archive of the format "newc", the one that the kernel
// unpacks (Documentation/driver-api/early-userspace/buffer-format.rst). Nothing
// in it depends on when or by whom it is made. The first error stays.
type archive struct {
	w      *bufio.Writer
	offset int64
	inode  int
	err    error
}

func newArchive(w io.Writer) *archive { return &archive{w: bufio.NewWriterSize(w, 1<<20)} }

func (a *archive) dir(name string, perm fs.FileMode) { a.header(name, typeDir|int(perm), 0, 0, 0) }

func (a *archive) symlink(name, target string) {
	a.header(name, typeSymlink|0o777, int64(len(target)), 0, 0)
	a.printf("%s", target)
	a.pad()
}

func (a *archive) device(name string, perm fs.FileMode, major, minor int) {
	a.header(name, typeChar|int(perm), 0, major, minor)
}

// copy adds the file at path.
func (a *archive) copy(name string, perm fs.FileMode, path string) {
	f, err := os.Open(path)
	if err != nil {
		a.fail(err)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		a.fail(err)
		return
	}
	a.header(name, typeRegular|int(perm), info.Size(), 0, 0)
	n, err := io.CopyN(a.w, f, info.Size())
	a.offset += n
	if err != nil {
		a.fail(fmt.Errorf("%s: %w", path, err))
	}
	a.pad()
}

func (a *archive) header(name string, mode int, size int64, major, minor int) {
	a.inode++
	nlink := 1
	if mode&typeDir != 0 && mode&typeRegular != typeRegular {
		nlink = 2
	}
	a.entry(name, a.inode, mode, nlink, size, major, minor)
}

func (a *archive) entry(name string, inode, mode, nlink int, size int64, major, minor int) {
	a.printf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		inode, mode, 0, 0, nlink, 0, size, 0, 0, major, minor, len(name)+1, 0, name)
	a.pad()
}

// pad fills up to a multiple of four bytes.
func (a *archive) pad() { a.printf("%s", "\x00\x00\x00"[:-a.offset&3]) }

func (a *archive) printf(format string, args ...any) {
	n, err := fmt.Fprintf(a.w, format, args...)
	a.offset += int64(n)
	a.fail(err)
}

func (a *archive) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

// close ends the archive with its trailer and returns the first error of all.
func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, 0, 1, 0, 0, 0)
	a.fail(a.w.Flush())
	return a.err
}
