package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/image"
	"cr/image/imagetest"
	"cr/internal/proc"
)

// user is an unprivileged user, and as runs a program as that user.
const user = 1000

var as = []string{"setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"}

// forAll puts cr and the program that makes calls where every user can execute
// them.
func forAll(t *testing.T) (dir, cr, program string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can make processes of several users")
	}
	dir, err := os.MkdirTemp("", "cr-users-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	self, err := os.Executable()
	require.NoError(t, err)
	for from, to := range map[string]string{self: "cr", callsProgram(t): "calls"} {
		out, err := exec.Command("cp", from, filepath.Join(dir, to)).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.NoError(t, os.Chmod(filepath.Join(dir, to), 0o755))
	}
	return dir, filepath.Join(dir, "cr"), filepath.Join(dir, "calls")
}

// statusOf is a line of /proc/PID/status.
func statusOf(t *testing.T, pid int, key string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	for _, line := range strings.Split(string(b), "\n") {
		if k, v, _ := strings.Cut(line, ":"); k == key {
			return strings.Join(strings.Fields(v), " ")
		}
	}
	return ""
}

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
	_, cr, program := forAll(t)
	grouped := filepath.Join(t.TempDir(), "cr")
	require.NoError(t, os.WriteFile(grouped, []byte("#!/bin/sh\nexec setpriv --groups=4321 "+cr+` "$@"`), 0o755))
	for _, c := range []struct {
		what, mode, want string
		prefix           []string
	}{
		{"nobody else may read it", "600", "EACCES", as},
		{"a group of the kernel side may read it", "640", "EACCES", as},
		{"everybody may read it", "644", "id", as},
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

// TestCheckpointOfOthers: a user without privileges saves no process that it may
// not trace, neither by cr checkpoint nor by the call to a kernel side that is
// root, and nothing of it is written.
func TestCheckpointOfOthers(t *testing.T) {
	dir, cr, program := forAll(t)
	setuid, unreadable := filepath.Join(dir, "setuid"), filepath.Join(dir, "unreadable")
	for path, mode := range map[string]os.FileMode{setuid: 0o755 | os.ModeSetuid, unreadable: 0o711} {
		out, err := exec.Command("cp", program, path).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.NoError(t, os.Chmod(path, mode))
	}
	own := filepath.Join(dir, "own")
	require.NoError(t, os.Mkdir(own, 0o700))
	require.NoError(t, os.Chown(own, user, user))
	attr := func(uid, gid uint32, caps ...uintptr) *syscall.SysProcAttr {
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}, AmbientCaps: caps}
	}
	text := "\n| target | cr checkpoint | the call |\n|---|---|---|\n"
	for _, c := range []struct {
		what    string
		attr    *syscall.SysProcAttr
		program string
		may     bool
	}{
		{"a process of its own", attr(user, user), program, true},
		{"root's", nil, program, false},
		{"another user's", attr(1001, 1001), program, false},
		{"its own, of another group", attr(user, 1001), program, false},
		{"another user's, of its group", attr(1001, user), program, false},
		{"its own, with a capability", attr(user, user, unix.CAP_NET_RAW), program, false},
		{"a setuid program that it has started", attr(user, user), setuid, false},
		{"a program that it may execute but not read, so that it is not dumpable", attr(user, user), unreadable, false},
	} {
		pid, alive := target(t, c.attr, c.program)
		if c.program == setuid && statusOf(t, pid, "Uid") != "1000 0 0 0" {
			t.Log("the file system takes no setuid programs: left out")
			continue
		}
		path := filepath.Join(own, "image")
		_, said, w := run(t, as[0], append(append([]string{}, as[1:]...), cr, "checkpoint", "-o", path, strconv.Itoa(pid))...)
		byCommand := "saved"
		if c.may {
			require.Zero(t, w.ExitStatus(), "%s: %s", c.what, said)
			require.Equal(t, os.FileMode(0o600), fileMode(t, path))
		} else {
			require.Equal(t, failed, w.ExitStatus(), "%s: %s", c.what, said)
			byCommand = strings.TrimSpace(strings.ReplaceAll(said, strconv.Itoa(pid), "N"))
			left, err := os.ReadDir(own)
			require.NoError(t, err)
			require.Empty(t, left, c.what)
		}
		_ = os.Remove(path) // there is none where it may not
		alive()

		f, err := os.CreateTemp(dir, "image")
		require.NoError(t, err)
		out, _ := under(t, f, cr, as[0], append(append([]string{}, as[1:]...), program, "checkpoint", strconv.Itoa(pid))...)
		st, err := f.Stat()
		require.NoError(t, err)
		f.Close()
		byCall := strings.TrimSpace(strings.TrimPrefix(out, "checkpoint "))
		if c.may {
			require.Equal(t, "id", byCall, c.what)
		} else {
			require.Equal(t, "EPERM", byCall, c.what)
			require.Zero(t, st.Size(), "%s: something of it was written", c.what)
		}
		alive()
		text += fmt.Sprintf("| %s | %s | %s |\n", c.what, byCommand, byCall)
	}
	t.Log(text)
}

// TestImageMode: whoever else there is cannot read an image, whatever the umask.
func TestImageMode(t *testing.T) {
	cr, _ := programs(t)
	pid, _ := target(t, nil, callsProgram(t))
	for _, umask := range []string{"0", "077", "0777"} {
		dir := t.TempDir()
		for name, prepare := range map[string]string{"new": ":", "replaced": `: >"$1"; chmod 666 "$1"`} {
			path := filepath.Join(dir, name)
			_, said, w := run(t, "sh", "-c", prepare+`; umask $2; exec "$0" checkpoint -o "$1" $3`, cr, path, umask, strconv.Itoa(pid))
			require.Zero(t, w.ExitStatus(), said)
			st, err := os.Stat(path)
			require.NoError(t, err)
			mask, err := strconv.ParseUint(umask, 8, 32)
			require.NoError(t, err)
			require.Equal(t, 0o600&^os.FileMode(mask), st.Mode(), "umask %s, %s", umask, name)
		}
	}
}

// altered is an image with some records changed.
func altered(t *testing.T, b []byte, change func(*image.Image)) []byte {
	t.Helper()
	out, err := imagetest.Changed(b, change)
	require.NoError(t, err)
	return out
}

// eachCreds changes the credentials of all tasks.
func eachCreds(change func(*image.Creds)) func(*image.Image) {
	return func(m *image.Image) {
		for _, t := range m.Tasks {
			change(&t.Creds)
		}
	}
}

// TestRestartHostile restarts crafted images as a user without privileges, by cr
// restart, and by the call where root has started cr run: it is refused, or what runs has no more than the user has. In a
// user namespace of its own it may have any capability, over nothing else.
func TestRestartHostile(t *testing.T) {
	dir, cr, program := forAll(t)
	own, secret := filepath.Join(dir, "own"), filepath.Join(dir, "secret")
	require.NoError(t, os.Mkdir(own, 0o755))
	require.NoError(t, os.WriteFile(own+"/file", []byte("contents\n"), 0o600))
	require.NoError(t, os.WriteFile(own+"/log", nil, 0o600))
	require.NoError(t, os.WriteFile(secret, []byte("contents\n"), 0o600))
	for _, name := range []string{"", "/file", "/log"} {
		require.NoError(t, os.Chown(own+name, user, user))
	}
	pid, _ := target(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}},
		script(t, dir, `cd "`+own+`"; exec 4<file 5>>log
			mkfifo fifo; exec 6<>fifo 7<>gone; echo queued >&6; echo gone >&7; rm gone
			exec "`+program+`" wait`))
	saved := filepath.Join(own, "image")
	_, said, w := run(t, cr, "checkpoint", "--kill", "-o", saved, strconv.Itoa(pid))
	require.Zero(t, w.ExitStatus(), said)
	original, err := os.ReadFile(saved)
	require.NoError(t, err)
	lead := func(name, to string) func(*image.Image) {
		return func(m *image.Image) {
			var st unix.Stat_t
			require.NoError(t, unix.Stat(to, &st))
			for _, f := range m.Files {
				if f.Path == filepath.Join(own, name) {
					f.Path, f.Size, f.Mtime, f.Dev, f.Ino, f.Mode, f.Pos = to, st.Size, st.Mtim.Nano(), st.Dev, st.Ino, st.Mode, 0
				}
			}
		}
	}
	su := filepath.Join(dir, "su")
	out, err := exec.Command("cp", program, su).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, os.Chmod(su, 0o755|os.ModeSetuid))
	const ran = "runs"
	text := "\n| what the image claims | --pids=new | in a namespace | the call, to a kernel side that is root |\n|---|---|---|---|\n"
	refused, harmless := 0, 0
	for _, c := range []struct {
		what   string
		change func(*image.Image)
		new    string // "runs", or a part of why not
		spaced string
	}{
		{"what it was", func(*image.Image) {}, ran, ran},
		{"uid 0", eachCreds(func(c *image.Creds) { c.UID, c.EUID, c.SUID, c.FSUID = 0, 0, 0, 0 }), "the image is of uid 0", ran},
		{"saved uid 0", eachCreds(func(c *image.Creds) { c.SUID = 0 }), "the image is of uids 1000, 1000, 0, 1000", "no choice of users and groups"},
		{"another user's", eachCreds(func(c *image.Creds) { c.UID, c.EUID, c.SUID, c.FSUID = 1001, 1001, 1001, 1001 }), "the image is of uid 1001", ran},
		{"gid 0", eachCreds(func(c *image.Creds) { c.GID, c.EGID, c.SGID, c.FSGID = 0, 0, 0, 0 }), "the image is of uid 1000, gid 0", ran},
		{"another group", eachCreds(func(c *image.Creds) { c.Groups = []uint32{0} }), "groups [0]", "no choice of users and groups"},
		{"a capability", eachCreds(func(c *image.Creds) { c.Permitted, c.Effective = 1<<21, 1<<21 }), "capabilities 0x200000", ran},
		{"securebits", eachCreds(func(c *image.Creds) { c.Securebits = 1 }), "securebits 0x1", ran},
		{"raised hard limit", func(m *image.Image) { m.Processes[0].Limits[unix.RLIMIT_NOFILE].Max = 1 << 30 }, "hard limit was", "hard limit was"},
		{"lower oom_score_adj", func(m *image.Image) { m.Processes[0].OOMScoreAdj = -900 }, "oom_score_adj was -900", "oom_score_adj was -900"},
		{"real-time policy", func(m *image.Image) { m.Tasks[0].Sched.Policy, m.Tasks[0].Sched.Priority = 1, 50 }, "takes a privilege", "takes a privilege"},
		{"another root directory", func(m *image.Image) { m.FSs[0].Root = own }, "takes CAP_SYS_CHROOT", ran},
		{"a file that only root may read", lead("file", secret), "permission denied", "permission denied"},
		{"a file that only root may write", lead("log", "/etc/passwd"), "permission denied", "permission denied"},
		{"a setuid program", func(m *image.Image) {
			f := *m.File(m.MMs[0].Exe)
			f.ID, f.Path, f.Mtime, f.Sum = 4711, su, 0, 0
			m.Files, m.MMs[0].Exe = append(m.Files, &f), f.ID
		}, ran, ran},
	} {
		path := filepath.Join(own, "crafted")
		require.NoError(t, os.WriteFile(path, altered(t, original, c.change), 0o644))
		row := "| " + c.what
		for _, how := range []string{"new", "namespace"} {
			want := map[string]string{"new": c.new, "namespace": c.spaced}[how]
			q := launch(t, nil, append(append([]string{}, as...), cr, "restart", "--pids="+how, path)...)
			q.say("x")
			line := q.line()
			if line != "alive" {
				require.Equal(t, failed, q.end().ExitStatus(), "%s: %s", c.what, q.said)
				require.Contains(t, q.said.String(), want, c.what)
				require.NotContains(t, q.said.String(), "half way", c.what)
				refused++
				row += " | " + want
				continue
			}
			require.Equal(t, ran, want, c.what)
			harmless++
			row += " | " + ran
			pids, err := proc.Children(q.cmd.Process.Pid)
			require.NoError(t, err)
			require.NotEmpty(t, pids)
			for _, pid := range pids {
				require.Equal(t, "1000 1000 1000 1000", statusOf(t, pid, "Uid"), c.what)
				require.Equal(t, "1000 1000 1000 1000", statusOf(t, pid, "Gid"), c.what)
				require.Equal(t, "", statusOf(t, pid, "Groups"), c.what)
				if how == "new" {
					require.Equal(t, "0000000000000000", statusOf(t, pid, "CapPrm"), c.what)
				}
			}
			endTree(q.cmd.Process.Pid)
		}
		f, err := os.Open(path)
		require.NoError(t, err)
		out, w := under(t, f, cr, as[0], append(append([]string{}, as[1:]...), program, "restart", "0")...)
		f.Close()
		if c.new == ran {
			require.Empty(t, out, c.what)
			require.Zero(t, w.ExitStatus(), "%s: it ends where its input does", c.what)
			harmless++
			row += " | " + ran
		} else {
			require.Contains(t, []string{"restart EPERM\n", "restart EACCES\n"}, out, c.what)
			require.Equal(t, 1, w.ExitStatus(), "%s: the caller is as it was", c.what)
			refused++
			row += " | " + strings.TrimSpace(strings.TrimPrefix(out, "restart "))
		}
		text += row + " |\n"
	}
	t.Logf("%s%d refused, %d run without more than the user has", text, refused, harmless)
}

// script is a shell script as a program.
func script(t *testing.T, dir, text string) string {
	t.Helper()
	path := filepath.Join(dir, "script")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755))
	return path
}
