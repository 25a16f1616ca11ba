package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// cipher is a program that encrypts what goes through it, by shell commands as
// docs/encrypted.md has them. $KEY and $WRONG are files.
type cipher struct {
	name             string
	keys             string // makes the files
	encrypt, decrypt string
}

var ciphers = []cipher{
	{
		"gpg", `echo right >"$KEY"; echo wrong >"$WRONG"`,
		`gpg --symmetric --batch --pinentry-mode loopback --passphrase-fd 3 3<"$KEY"`,
		`gpg --decrypt --quiet --batch --pinentry-mode loopback --passphrase-fd 3 3<"$KEY"`,
	},
	{
		"age", `age-keygen -o "$KEY" && age-keygen -o "$WRONG"`,
		`age --encrypt -i "$KEY"`,
		`age --decrypt -i "$KEY"`,
	},
}

// TestEncrypted saves a program through a cipher, and restarts it from there:
// no file holds the image in the clear. With the wrong key, a flipped byte or an
// end that is missing nothing is restarted.
func TestEncrypted(t *testing.T) {
	for _, c := range ciphers {
		t.Run(c.name, func(t *testing.T) {
			if _, err := exec.LookPath(c.name); err != nil {
				t.Skip(err)
			}
			cr, _ := programs(t)
			dir := t.TempDir()
			key, wrong := filepath.Join(dir, "key"), filepath.Join(dir, "wrong")
			home := filepath.Join(dir, "home")
			require.NoError(t, os.Mkdir(home, 0o700))
			shell := func(key, script string) []string {
				return []string{"env", "CR=" + cr, "KEY=" + key, "WRONG=" + wrong, "GNUPGHOME=" + home, "bash", "-c", "set -o pipefail; " + script}
			}
			pipe := func(script string) (out, said string, status int) {
				argv := shell(key, script)
				out, said, w := run(t, argv[0], argv[1:]...)
				return out, said, w.ExitStatus()
			}
			defer func() { _ = exec.Command("env", "GNUPGHOME="+home, "gpgconf", "--kill", "all").Run() }() // gpg starts an agent
			_, said, status := pipe(c.keys)
			require.Zero(t, status, said)

			r := launch(t, nil, python(t), "-c", counter)
			require.Equal(t, "begun", r.line())
			r.say("one")
			pid := r.cmd.Process.Pid
			require.Equal(t, fmt.Sprint("1 one ", pid), r.line())
			sealed := filepath.Join(dir, "sealed")
			_, said, status = pipe(`"$CR" checkpoint --kill ` + strconv.Itoa(pid) + " | " + c.encrypt + " >" + sealed)
			require.Zero(t, status, said)
			r.end()
			b, err := os.ReadFile(sealed)
			require.NoError(t, err)
			require.NotContains(t, string(b), "os.getpid()", "the program's text in the clear")

			// The program's input is cr's: the image comes by a descriptor of its own.
			restart := func(key, file string) *running {
				return launch(t, nil, shell(key, `"$CR" restart <(`+c.decrypt+" <"+file+")")...)
			}
			r = restart(key, sealed)
			r.say("two")
			require.Equal(t, fmt.Sprint("2 two ", pid), r.line(), "%s", r.said)
			r.say("exit 5")
			require.Equal(t, "3 exit 5 "+strconv.Itoa(pid), r.line())
			require.Equal(t, 5, r.end().ExitStatus())

			for _, at := range []int{len(b) / 3, len(b) / 2, len(b) - 100} {
				flipped := bytes.Clone(b)
				flipped[at] ^= 1
				nothingRestarted(t, restart(key, file(t, "flipped", flipped)))
			}
			nothingRestarted(t, restart(key, file(t, "cut", b[:len(b)-200])))
			nothingRestarted(t, restart(wrong, sealed))
		})
	}
}

// nothingRestarted checks that a restart has made nothing.
func nothingRestarted(t *testing.T, r *running) {
	t.Helper()
	require.Equal(t, failed, r.end().ExitStatus(), "%s", r.said)
	require.True(t, strings.Contains(r.said.String(), "cr restart: "), "%s", r.said)
	require.Equal(t, "(EOF)", r.line(), "nothing ran")
}
