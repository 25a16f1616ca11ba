package vmtests

import (
	"context"
	"errors"
	"fmt"
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
	if kernel == "" {
		root, err := checkout.Root(ctx)
		if err != nil {
			return Files{}, err
		}
		out, err := exec.CommandContext(ctx, filepath.Join(root, "scripts/kernels"), "--path", g.Kernel).Output()
		if err != nil {
			return Files{}, fmt.Errorf("guest %s: %w: run scripts/kernels %s (%w)", g.Name, ErrNotBuilt, g.Kernel, checkout.Explain(err))
		}
		kernel = strings.TrimSpace(string(out))
	}
	image, err := initramfs.Build(ctx, g.Flavour)
	if err != nil {
		return Files{}, fmt.Errorf("guest %s: %w", g.Name, err)
	}
	return Files{Kernel: kernel, Initramfs: image}, nil
}
