package vmtests

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"cr/initramfs"
	"cr/internal/checkout"
)

// ErrNotBuilt is the error for a guest whose kernel is not built.
var ErrNotBuilt = errors.New("the kernel is not built")

// Files are the two files that a guest is booted from.
type Files struct {
	Kernel    string
	Initramfs string
}

// Build returns a guest's kernel, which must have been built by
// scripts/kernels, and its initramfs, which is built if need be. A kernel that
// is given is used instead of the guest's own.
func (g Guest) Build(ctx context.Context, kernel string) (Files, error) {
	root, err := checkout.Root(ctx)
	if err != nil {
		return Files{}, err
	}
	if kernel == "" {
		out, err := exec.CommandContext(ctx, filepath.Join(root, "scripts/kernels"), "--path", g.Kernel).Output()
		if err != nil {
			return Files{}, fmt.Errorf("guest %s: %w: run scripts/kernels %s (%w)", g.Name, ErrNotBuilt, g.Kernel, checkout.Explain(err))
		}
		kernel = strings.TrimSpace(string(out))
	} else if kernel, err = g.own(root, kernel); err != nil {
		return Files{}, fmt.Errorf("guest %s: %w", g.Name, err)
	}
	image, err := initramfs.Build(ctx, g.Flavour)
	if err != nil {
		return Files{}, fmt.Errorf("guest %s: %w", g.Name, err)
	}
	return Files{Kernel: kernel, Initramfs: image}, nil
}

// own finds a kernel of the user's, whose path may be relative to the top of the
// checkout: tests run in a directory of their own. It checks that the guest can
// be booted from it as far as its format tells.
func (g Guest) own(root, kernel string) (string, error) {
	path := kernel
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(kernel) {
		path = filepath.Join(root, kernel)
		_, err = os.Stat(path)
	}
	if err != nil {
		return "", err
	}
	f, err := elf.Open(path)
	if err != nil {
		return path, nil // a bzImage or the like
	}
	defer f.Close()
	if got, want := kindOf(f), kernelKinds[g.Kernel]; got != want {
		return "", fmt.Errorf("%s is a kernel for %s, not for %s", path, got, want)
	}
	return path, nil
}

// kernelKinds are the ELF files of kernels, as kindOf says it.
var kernelKinds = map[string]string{
	"ppc32": "EM_PPC, big endian", "e500v2": "EM_PPC, big endian",
	"ppc64": "EM_PPC64, big endian", "ppc64le": "EM_PPC64, little endian",
	"i386": "EM_386, little endian", "x86_64": "EM_X86_64, little endian",
}

func kindOf(f *elf.File) string {
	if f.ByteOrder == binary.BigEndian {
		return f.Machine.String() + ", big endian"
	}
	return f.Machine.String() + ", little endian"
}
