package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// manDir has the manual pages of the checkout.
const manDir = "../../docs/man"

// TestManGenerated checks that the checkout's pages are those of its commands.
func TestManGenerated(t *testing.T) {
	pages := manPages()
	require.Len(t, pages, len(listed())+1)
	for name, want := range pages {
		got, err := os.ReadFile(filepath.Join(manDir, name))
		require.NoError(t, err, "go generate ./cmd/cr makes it")
		require.Equal(t, string(want), string(got), "%s: go generate ./cmd/cr makes it anew", name)
	}
	abi, err := os.ReadFile("../../docs/abi.md")
	require.NoError(t, err)
	for name, want := range callPages(string(abi)) {
		got, err := os.ReadFile(filepath.Join(manDir, name))
		require.NoError(t, err, "go generate ./cmd/cr makes it")
		require.Equal(t, string(want), string(got), "%s is made of docs/abi.md: go generate ./cmd/cr", name)
	}
	files, err := filepath.Glob(manDir + "/*.1")
	require.NoError(t, err)
	require.Len(t, files, len(pages), "pages of commands that are gone")
}

// TestManSyntax has every page of the checkout read by groff, and everything in
// the text that comes out.
func TestManSyntax(t *testing.T) {
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip(err)
	}
	files, err := filepath.Glob(manDir + "/*.[12]")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		cmd := exec.Command(groff, "-man", "-ww", "-Tascii", "-P-cbou", "-rLL=500n", f)
		var warnings strings.Builder
		cmd.Stderr = &warnings
		out, err := cmd.Output()
		require.NoError(t, err, f)
		require.Empty(t, warnings.String(), f)
		c := find(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f), "cr-"), ".1"))
		if c == nil {
			continue
		}
		text := strings.Join(strings.Fields(string(out)), " ")
		want := append([]string{c.line(), c.short, c.long}, c.examples...)
		for _, o := range c.options() {
			want = append(want, o.usage)
		}
		for _, w := range want {
			require.Contains(t, text, strings.Join(strings.Fields(w), " "), f)
		}
	}
}
