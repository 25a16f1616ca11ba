package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// open lets every user reach a file.
func open(t *testing.T, path string) {
	t.Helper()
	for p := path; p != "/"; p = filepath.Dir(p) {
		require.NoError(t, os.Chmod(p, 0o755|os.ModeSticky&fileMode(t, p)|fileMode(t, p).Perm()))
	}
}

// A deleted file that a program may only write to is no way to learn what is in
// it, but for callers who may read it.
func TestDeletedFileOfOthers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make processes of several users")
	}
	cr, _ := programs(t)
	program := callsProgram(t)
	open(t, program)
	grouped := filepath.Join(t.TempDir(), "cr")
	require.NoError(t, os.WriteFile(grouped, []byte("#!/bin/sh\nexec setpriv --groups=4321 "+cr+` "$@"`), 0o755))
	for _, c := range []struct {
		what, mode, want string
		prefix           []string
	}{
		{"nobody else may read it", "600", "EACCES", []string{"setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"}},
		{"a group of the kernel side may read it", "640", "EACCES", []string{"setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"}},
		{"everybody may read it", "644", "id", []string{"setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"}},
		{"the caller is root", "600", "id", nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "image")
			f, err := os.Create(path)
			require.NoError(t, err)
			defer f.Close()
			args := append([]string{"-c", `exec 4>"$1"; echo a secret >&4; chgrp 4321 "$1"; chmod $2 "$1"; rm "$1"; shift 2; exec "$@"`, "sh",
				filepath.Join(t.TempDir(), "secret"), c.mode}, append(c.prefix, program, "checkpoint", "0")...)
			out, _ := under(t, f, grouped, "sh", args...)
			require.Equal(t, "checkpoint "+c.want+"\n", out)
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			if c.want == "id" {
				require.Contains(t, string(b), "a secret\n")
			} else {
				require.Empty(t, b)
			}
		})
	}
}
