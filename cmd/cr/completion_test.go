package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// completions are the scripts by shell, with the options by which the shell
// checks a script.
var completions = []struct {
	shell, check string
	write        func(io.Writer)
}{
	{"bash", "-n", bashCompletion},
	{"zsh", "-n", zshCompletion},
	{"fish", "--no-execute", fishCompletion},
}

// shell looks for a shell and writes its script to a file.
func shell(t *testing.T, name string) (path, script string) {
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(err)
	}
	script = filepath.Join(t.TempDir(), "cr."+name)
	for _, c := range completions {
		if c.shell == name {
			var b bytes.Buffer
			c.write(&b)
			require.NoError(t, os.WriteFile(script, b.Bytes(), 0o644))
		}
	}
	return path, script
}

func TestCompletionSyntax(t *testing.T) {
	for _, c := range completions {
		t.Run(c.shell, func(t *testing.T) {
			path, script := shell(t, c.shell)
			out, err := exec.Command(path, c.check, script).CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Empty(t, string(out))
		})
	}
}

// TestCompletionComplete has every command, and every option that is not
// hidden, in every script.
func TestCompletionComplete(t *testing.T) {
	for _, c := range completions {
		var b bytes.Buffer
		c.write(&b)
		for _, k := range listed() {
			require.Contains(t, b.String(), k.name, c.shell)
			for _, o := range k.options() {
				require.Contains(t, b.String(), o.long, "%s: %s", c.shell, k.name)
			}
		}
		require.NotContains(t, b.String(), "--socket", "an option that is hidden")
	}
}

// TestBashCompletion completes command lines, which are given as bash splits
// them.
func TestBashCompletion(t *testing.T) {
	bash, script := shell(t, "bash")
	dir := t.TempDir()
	for _, name := range []string{"image one", "image-two", "other"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
	}
	for _, c := range []struct {
		line []string
		want []string
	}{
		{[]string{"ve"}, []string{"verify", "version"}},
		{[]string{"info", "--h"}, []string{"--hexdump", "--html"}},
		{[]string{"info", "im"}, []string{"image one", "image-two"}},
		{[]string{"info", "--json", "o"}, []string{"other"}},
		{[]string{"info", "--hexdump", ""}, nil},
		{[]string{"restart", "--pids", "k"}, []string{"keep"}},
		{[]string{"restart", "--pids", "=", ""}, []string{"keep", "namespace", "new"}},
		{[]string{"restart", "--pids", "="}, []string{"keep", "namespace", "new"}},
		{[]string{"checkpoint", "-o", "o"}, []string{"other"}},
		{[]string{"help", "co"}, []string{"core"}},
		{[]string{"completion", "f"}, []string{"fish"}},
		{[]string{"run", "--q"}, []string{"--quiet"}},
		{[]string{"run", "-q", "--", "ot"}, nil}, // programs
		{[]string{"run", "ls", "ot"}, []string{"other"}},
		{[]string{"run", "-q", "--", "ls", "ot"}, []string{"other"}},
		{[]string{"nonsense", ""}, nil},
	} {
		cmd := exec.Command(bash, append([]string{"--norc", "-c", `
			. "$0"
			COMP_WORDS=(cr "$@")
			COMP_CWORD=$#
			_cr
			((${#COMPREPLY[@]})) && printf '%s\n' "${COMPREPLY[@]}" | sort -u || true`, script}, c.line...)...)
		cmd.Dir = dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		require.NoError(t, err)
		if c.want == nil && c.line[0] == "run" {
			require.NotContains(t, string(out), "other\n", "%v", c.line)
			continue
		}
		var got []string
		if len(out) > 0 {
			got = strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
		}
		require.Equal(t, c.want, got, "%v", c.line)
	}
}

func TestBashCompletionOfPIDs(t *testing.T) {
	bash, script := shell(t, "bash")
	out, err := exec.Command(bash, "--norc", "-c", `. "$0"; COMP_WORDS=(cr checkpoint $$) COMP_CWORD=2; _cr; [[ " ${COMPREPLY[*]} " == *" $$ "* ]] && echo yes`, script).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "yes\n", string(out))
}

func TestFishCompletion(t *testing.T) {
	fish, script := shell(t, "fish")
	for line, want := range map[string]string{
		"cr ver":               "verify\tversion",
		"cr info --h":          "--hexdump\t--html",
		"cr restart --pids=k":  "--pids=keep",
		"cr restart --pids ne": "new",
		"cr help co":           "core",
	} {
		cmd := exec.Command(fish, "--no-config", "-c", `source $argv[1]; complete -C $argv[2]`, script, line)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
		cmd.Dir = t.TempDir() // it completes names of files, too
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		var got []string
		for _, l := range strings.Split(strings.TrimSpace(string(out)), "\n") {
			word, _, _ := strings.Cut(l, "\t")
			got = append(got, word)
		}
		require.Equal(t, want, strings.Join(got, "\t"), line)
	}
}
