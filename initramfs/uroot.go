package initramfs

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
)

// recipe is raised when the base archive is made in another way from the same
// modules, so that no old one is used.
const recipe = 3

// gcUroot and gccgoUroot are the modules that say which u-root, and which of
// its commands, guests have. u-root v0.11 is the newest that gccgo 12 compiles.
const (
	gcUroot    = "initramfs/uroot"
	gccgoUroot = "initramfs/uroot-gccgo"
)

func (b *builder) uroot() string {
	if b.flavour.gccgo() {
		return filepath.Join(b.root, gccgoUroot)
	}
	return filepath.Join(b.root, gcUroot)
}

// base returns the path of the archive with u-root in it.
func (b *builder) base() (string, error) {
	module := b.uroot()
	files, err := hashFiles(filepath.Join(module, "go.mod"), filepath.Join(module, "go.sum"), filepath.Join(module, "commands.go"),
		filepath.Join(b.root, gcUroot, "go.sum"), filepath.Join(b.root, "internal/libgo/gccgo.go"),
		filepath.Join(b.root, "internal/libgo/splitstack_ppc64.c"))
	if err != nil {
		return "", err
	}
	version, err := b.compiler()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(fmt.Sprint(recipe, files, version, b.flavour)))
	return b.make(fmt.Sprintf("uroot-%s-%x.cpio", b.flavour.Name, sum[:8]), func(w io.Writer) error {
		dir, err := os.MkdirTemp(b.cache, ".uroot-"+b.flavour.Name+"-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		commands, err := listed(filepath.Join(module, "commands.go"))
		if err != nil {
			return err
		}
		bb := filepath.Join(dir, "bb")
		if err := b.busybox(dir, bb, commands); err != nil {
			return err
		}
		return writeBase(w, bb, commands)
	})
}

// compiler names the version of all that compiles.
func (b *builder) compiler() (string, error) {
	if !b.flavour.gccgo() {
		return runtime.Version(), nil
	}
	out, err := exec.CommandContext(b.ctx, b.flavour.GCC+"-gccgo"+gccgoVersion, "--version").Output()
	return runtime.Version() + string(out), err
}

var importLine = regexp.MustCompile(`(?m)^\s+_ "(.*)"$`)

// listed returns the packages that a Go file imports for no names.
func listed(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var packages []string
	for _, m := range importLine.FindAllSubmatch(text, -1) {
		packages = append(packages, string(m[1]))
	}
	if len(packages) == 0 {
		return nil, fmt.Errorf("%s imports no commands", path)
	}
	return packages, nil
}

// busybox builds commands into one program, which acts by the name that it is
// called by.
func (b *builder) busybox(dir, bb string, commands []string) error {
	makebb := filepath.Join(dir, "makebb")
	if err := b.run(filepath.Join(b.root, gcUroot), nil, "go", "build", "-o", makebb, "github.com/u-root/gobusybox/src/cmd/makebb"); err != nil {
		return err
	}
	if !b.flavour.gccgo() {
		// With this tag gosh's line editor asks nothing of the terminal.
		argv := []string{makebb, "-go-build-tags=goshliner", "-gen-dir", filepath.Join(dir, "gen"), "-o", bb}
		return b.run(b.uroot(), b.flavour.env(), append(argv, commands...)...)
	}

	// gobusybox cannot drive gccgo. So it arranges the sources for a machine
	// that gc knows, and leaves out files for others, which are put back.
	gopath := filepath.Join(dir, "gen")
	src := filepath.Join(gopath, "src")
	argv := []string{makebb, "-g", "-gen-dir", gopath}
	if err := b.run(b.uroot(), []string{"GOOS=linux", "GOARCH=" + b.flavour.Like}, append(argv, commands...)...); err != nil {
		return err
	}
	vendor := filepath.Join(dir, "vendor")
	if err := b.run(b.uroot(), nil, "go", "mod", "vendor", "-o", vendor); err != nil {
		return err
	}
	if err := addMissing(src, vendor); err != nil {
		return err
	}
	if err := addMissing(filepath.Join(src, "libgo"), filepath.Join(b.root, "internal/libgo")); err != nil {
		return err
	}
	main := filepath.Join(src, "bb.u-root.com/bb")
	if err := os.WriteFile(filepath.Join(main, "libgo.go"), []byte("package main\n\nimport _ \"libgo\"\n"), 0o644); err != nil {
		return err
	}
	env := append(b.flavour.env(), "GO111MODULE=off", "GOFLAGS=", "GOPATH="+gopath)
	argv = append([]string{"go"}, b.flavour.build()...)
	return b.run(main, env, append(argv, "-o", bb)...)
}

// addMissing copies the files below from that are not below to.
func addMissing(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		if _, err := os.Stat(target); err == nil {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, data, 0o644)
	})
}

// writeBase writes the archive of u-root's commands: the busybox, links to it,
// and what the kernel and init want to be there.
func writeBase(w io.Writer, bb string, commands []string) error {
	a := newArchive(w)
	for _, dir := range []string{"bbin", "bin", "dev", "etc", "host", "proc", "root", "sys", "tmp", "var", "var/log"} {
		a.dir(dir, 0o755)
	}
	a.device("dev/console", 0o600, 5, 1)
	a.device("dev/null", 0o666, 1, 3)
	a.copy("bbin/bb", 0o755, bb)
	for _, c := range commands {
		a.symlink("bbin/"+path.Base(c), "bb")
	}
	a.symlink("init", "bbin/init")
	a.symlink("bin/sh", "../bbin/gosh")
	a.symlink("bin/defaultsh", "../bbin/gosh")
	return a.close()
}
