// Package initramfs makes what a guest boots into: u-root's init, shell and
// commands, cr, and the uinit that connects the guest to its host.
//
// What is made is kept in the cache, ${CR_CACHE:-$HOME/.cache/cr}/initramfs,
// under a name that has a hash of everything that went in. It comes in two
// parts, which are two archives in one file: u-root, which takes a minute to
// build and hardly ever changes, and the programs of this project.
//
// The archives are not compressed: a guest's CPU is emulated, and unpacking
// costs it half a second of a boot of three.
package initramfs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"cr/internal/checkout"
)

// Build returns the path of the initramfs of a flavour, which it makes if
// something that goes into it has changed.
func Build(ctx context.Context, flavour string) (string, error) {
	f, err := FlavourOf(flavour)
	if err != nil {
		return "", err
	}
	if err := f.check(); err != nil {
		return "", err
	}
	b, err := newBuilder(ctx, f)
	if err != nil {
		return "", err
	}
	unlock, err := b.lock()
	if err != nil {
		return "", err
	}
	defer unlock()

	base, err := b.base()
	if err != nil {
		return "", fmt.Errorf("u-root for %s: %w", flavour, err)
	}
	own, err := b.own()
	if err != nil {
		return "", fmt.Errorf("cr for %s: %w", flavour, err)
	}
	return b.join(base, own)
}

// builder makes the initramfs of one flavour.
type builder struct {
	ctx     context.Context
	flavour Flavour
	root    string // of the module
	cache   string
}

func newBuilder(ctx context.Context, f Flavour) (*builder, error) {
	root, err := checkout.Root(ctx)
	if err != nil {
		return nil, err
	}
	cache, err := checkout.Cache("initramfs")
	if err != nil {
		return nil, err
	}
	return &builder{ctx: ctx, flavour: f, root: root, cache: cache}, nil
}

// lock keeps other processes from making the same thing.
func (b *builder) lock() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(b.cache, b.flavour.Name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(&os.PathError{Op: "flock", Path: f.Name(), Err: err}, f.Close())
	}
	return func() { f.Close() }, nil
}

// run runs a command in dir for the flavour's machine.
func (b *builder) run(dir string, env []string, argv ...string) error {
	cmd := exec.CommandContext(b.ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// own builds the programs of this project and returns their directory.
func (b *builder) own() (string, error) {
	dir := filepath.Join(b.cache, b.flavour.Name+".bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := b.run(b.root, nil, "make", "-s", "-C", "selftest/targets"); err != nil {
		return "", err
	}
	args := append([]string{"go"}, b.flavour.build()...)
	// What guests do not need is left out.
	args = append(args, "-tags=guest", "-modfile="+b.flavour.modfile(), "-o", dir+"/", "./cmd/cr", "./initramfs/uinit")
	return dir, b.run(b.root, b.flavour.env(), args...)
}

// join puts the two parts into one file, the initramfs.
func (b *builder) join(base, own string) (string, error) {
	programs := []string{filepath.Join(own, "cr"), filepath.Join(own, "uinit")}
	hash, err := hashFiles(append([]string{base}, programs...)...)
	if err != nil {
		return "", err
	}
	return b.make(b.flavour.Name+"-"+hash+".cpio", func(w io.Writer) error {
		f, err := os.Open(base)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := io.Copy(w, f); err != nil {
			return err
		}
		a := newArchive(w)
		a.dir("bin", 0o755)
		for _, p := range programs {
			a.copy("bin/"+filepath.Base(p), 0o755, p)
		}
		return a.close()
	})
}

// make returns the path of a file in the cache, which write writes if it is
// not there.
func (b *builder) make(name string, write func(io.Writer) error) (string, error) {
	path := filepath.Join(b.cache, name)
	now := time.Now()
	if err := os.Chtimes(path, now, now); err == nil {
		return path, nil
	}
	f, err := os.CreateTemp(b.cache, "."+name+".*")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	if err := errors.Join(write(f), f.Chmod(0o644), f.Close()); err != nil {
		return "", err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return "", err
	}
	return path, b.prune(name)
}

// keep is how long files are kept in the cache that nobody asks for.
const keep = 7 * 24 * time.Hour

// prune removes old files of the kind of name, which is KIND-HASH.cpio.
func (b *builder) prune(name string) error {
	kind := name[:strings.LastIndex(name, "-")]
	files, err := filepath.Glob(filepath.Join(b.cache, kind+"-*.cpio"))
	if err != nil {
		return err
	}
	for _, path := range files {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if time.Since(info.ModTime()) > keep {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// hashFiles hashes the contents of files.
func hashFiles(paths ...string) (string, error) {
	h := sha256.New()
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		n, err := io.Copy(h, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n", filepath.Base(path), n)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8]), nil
}
