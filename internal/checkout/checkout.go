// Package checkout finds the sources of this project and the cache of what is
// built from them, for host-side programs.
package checkout

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Root returns the directory of the checkout that the working directory is in.
func Root(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "cr").Output()
	if err != nil {
		return "", fmt.Errorf("finding the sources of cr: %w", Explain(err))
	}
	return strings.TrimSpace(string(out)), nil
}

// Cache returns ${CR_CACHE:-$HOME/.cache/cr}/part, which it creates.
func Cache(part string) (string, error) {
	cache := os.Getenv("CR_CACHE")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(home, ".cache", "cr")
	}
	dir := filepath.Join(cache, part)
	return dir, os.MkdirAll(dir, 0o755)
}

// Explain adds what a command wrote to standard error to the error of its
// Output method.
func Explain(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return err
}
