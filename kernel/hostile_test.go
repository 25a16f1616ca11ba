package kernel_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/image"
	"cr/kernel"
)

// Two unprivileged users, and their groups.
const (
	nobody  = 65534
	wwwData = 33
)

// modest is a program of a user, in a directory. It is no less nice than the
// caller that is to become it.
const modest = `
d = sys.argv[1]; u = int(sys.argv[2]); os.setgroups([]); os.setresgid(u, u, u); os.setresuid(u, u, u); libc.prctl(4, 1, 0, 0, 0)
os.nice(max(0, 2 - os.nice(0))); os.chdir(d); f = open("file"); g = open("log", "a"); m = mmap.mmap(f.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ)
if os.fork() == 0: signal.pause()
print("ready", flush=True); signal.pause()`

// hostileRow is an image of modest, changed to gain something.
type hostileRow struct {
	name    string
	change  func(h *hostileCase, m *image.Image)
	before  func(h *hostileCase) // what is changed outside
	options kernel.RestartOptions
	errno   []unix.Errno                         // one of them
	gained  func(h *hostileCase, pid int) string // it may run: what it has gained then, but for what is always looked at
	env     string                               // of the caller
}

// hostileCase is what a row is tried with.
type hostileCase struct {
	t           *testing.T
	user, other uint32 // whose the image is, and somebody else
	dir, secret string // the directory of the user, and one of root's
	others      string // one of somebody else
	queue       int    // a message queue of root's
}

// saved makes an image of the user's program.
func (h *hostileCase) saved() []byte {
	h.t.Helper()
	return savedOnce(h.t, modest, h.dir, fmt.Sprint(h.user))
}

func (h *hostileCase) file(m *image.Image, name string) *image.File {
	for _, f := range m.Files {
		if f.Path == filepath.Join(h.dir, name) {
			return f
		}
	}
	require.FailNow(h.t, "no such file in the image", name)
	return nil
}

// lead has a file of an image lead to another one as if it had always done.
func (h *hostileCase) lead(m *image.Image, name, to string) {
	var st unix.Stat_t
	require.NoError(h.t, unix.Stat(to, &st))
	for _, f := range m.Files {
		if f.Path == filepath.Join(h.dir, name) {
			f.Path, f.Size, f.Mtime, f.Dev, f.Ino, f.Mode = to, st.Size, st.Mtim.Nano(), st.Dev, st.Ino, st.Mode
		}
	}
}

// put removes a file of the user and makes something else of its name.
func (h *hostileCase) put(name string, make func(path string) error) {
	path := filepath.Join(h.dir, name)
	require.NoError(h.t, os.Remove(path))
	require.NoError(h.t, make(path))
}

func eachTask(change func(*image.Task)) func(*hostileCase, *image.Image) {
	return func(_ *hostileCase, m *image.Image) {
		for _, t := range m.Tasks {
			change(t)
		}
	}
}

func eachProcess(change func(*image.Process)) func(*hostileCase, *image.Image) {
	return func(_ *hostileCase, m *image.Image) {
		for _, p := range m.Processes {
			change(p)
		}
	}
}

var (
	eperm   = []unix.Errno{unix.EPERM}
	eacces  = []unix.Errno{unix.EACCES}
	estale  = []unix.Errno{unix.ESTALE}
	refuse  = []unix.Errno{unix.EPERM, unix.EACCES}
	invalid = []unix.Errno{unix.ENOEXEC}
)

// status is a line of /proc/PID/status.
func status(pid int, key string) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for _, line := range strings.Split(string(b), "\n") {
		if k, v, _ := strings.Cut(line, ":"); k == key {
			return strings.Join(strings.Fields(v), " ")
		}
	}
	return ""
}

var hostileRows = []hostileRow{
	{name: "uid 0", change: eachTask(func(t *image.Task) { t.Creds.UID, t.Creds.EUID, t.Creds.SUID, t.Creds.FSUID = 0, 0, 0, 0 }), errno: eperm},
	{name: "saved uid 0", change: eachTask(func(t *image.Task) { t.Creds.SUID = 0 }), errno: eperm},
	{name: "file system uid 0", change: eachTask(func(t *image.Task) { t.Creds.FSUID = 0 }), errno: eperm},
	{name: "uid 0 of one thread", change: func(_ *hostileCase, m *image.Image) { m.Tasks[len(m.Tasks)-1].Creds.EUID = 0 }, errno: eperm},
	{name: "gid 0", change: eachTask(func(t *image.Task) { t.Creds.GID, t.Creds.EGID, t.Creds.SGID, t.Creds.FSGID = 0, 0, 0, 0 }), errno: eperm},
	{name: "file system gid 0", change: eachTask(func(t *image.Task) { t.Creds.FSGID = 0 }), errno: eperm},
	{name: "ids of another user", change: func(h *hostileCase, m *image.Image) {
		for _, t := range m.Tasks {
			c := &t.Creds
			c.UID, c.EUID, c.SUID, c.FSUID, c.GID, c.EGID, c.SGID, c.FSGID = h.other, h.other, h.other, h.other, h.other, h.other, h.other, h.other
		}
	}, errno: eperm},
	{name: "saved uid of another user", change: func(h *hostileCase, m *image.Image) {
		for _, t := range m.Tasks {
			t.Creds.SUID = h.other
		}
	}, errno: eperm},
	{name: "another group", change: eachTask(func(t *image.Task) { t.Creds.Groups = []uint32{0} }), errno: eperm},
	{name: "permitted capabilities", change: eachTask(func(t *image.Task) { t.Creds.Permitted, t.Creds.Effective = 1<<21, 1<<21 }), errno: eperm},
	{name: "effective capabilities", change: eachTask(func(t *image.Task) { t.Creds.Effective = 1 << 21 }), errno: eperm},
	{name: "inheritable capabilities", change: eachTask(func(t *image.Task) { t.Creds.Inheritable = 1 << 21 }), errno: eperm},
	{name: "ambient capabilities", change: eachTask(func(t *image.Task) { t.Creds.Ambient, t.Creds.Inheritable, t.Creds.Permitted = 1<<21, 1<<21, 1<<21 }), errno: eperm},
	{name: "ambient capabilities alone", change: eachTask(func(t *image.Task) { t.Creds.Ambient = 1 << 10 }), errno: eperm},
	{name: "a smaller bounding set", change: eachTask(func(t *image.Task) { t.Creds.Bounding = 0 }), errno: eperm},
	{name: "a larger bounding set", change: eachTask(func(t *image.Task) { t.Creds.Bounding = 1<<41 - 1 }), gained: func(_ *hostileCase, pid int) string {
		if now, own := status(pid, "CapBnd"), status(os.Getpid(), "CapBnd"); now > own {
			return "CapBnd " + now
		}
		return ""
	}},
	{name: "securebits", change: eachTask(func(t *image.Task) { t.Creds.Securebits = 1 }), errno: eperm},
	{name: "no_new_privs dropped", env: "CALLER_NO_NEW_PRIVS=1", change: eachTask(func(t *image.Task) { t.Creds.NoNewPrivs = false }),
		gained: func(_ *hostileCase, pid int) string {
			if v := status(pid, "NoNewPrivs"); v != "1" {
				return "NoNewPrivs " + v
			}
			return ""
		}},
	{name: "seccomp filter without no_new_privs", change: func(_ *hostileCase, m *image.Image) {
		m.Seccomps = append(m.Seccomps, &image.Seccomp{ID: 4711, Program: []byte{6, 0, 0, 0, 0, 0, 0xff, 0x7f}})
		for _, t := range m.Tasks {
			t.Filters = []uint32{4711}
		}
	}, errno: refuse},
	{name: "personality", change: eachProcess(func(p *image.Process) { p.Personality = 0x0400000 | 0x0040000 | 0x0100000 }), gained: nothing},
	{name: "negative nice value", change: eachTask(func(t *image.Task) { t.Sched.Nice = -10 }), errno: eperm},
	{name: "real-time policy", change: eachTask(func(t *image.Task) { t.Sched.Policy, t.Sched.Priority = 1, 50 }), errno: eperm},
	{name: "deadline policy", change: eachTask(func(t *image.Task) {
		t.Sched.Policy, t.Sched.Runtime, t.Sched.Deadline, t.Sched.Period = 6, 1e6, 1e8, 1e8
	}), errno: eperm},
	{name: "real-time I/O priority", change: eachTask(func(t *image.Task) { t.IOPrio = 1 << 13 }), errno: eperm},
	{name: "I/O flusher", change: eachTask(func(t *image.Task) { t.Settings = []image.Setting{{Option: 57, Value: 1}} }), errno: eperm},
	{name: "a setting that is none", change: eachTask(func(t *image.Task) { t.Settings = []image.Setting{{Option: 28, Value: 0x2f}} }), errno: invalid},
	{name: "raised hard limit", change: eachProcess(func(p *image.Process) {
		p.Limits[unix.RLIMIT_NOFILE].Max = 1 << 30
	}), errno: eperm},
	{name: "limit above its hard limit", change: eachProcess(func(p *image.Process) {
		p.Limits[unix.RLIMIT_NOFILE].Cur = p.Limits[unix.RLIMIT_NOFILE].Max + 1
	}), errno: invalid},
	{name: "lower oom_score_adj", change: eachProcess(func(p *image.Process) { p.OOMScoreAdj = -900 }), errno: eperm},
	{name: "another root directory", change: func(h *hostileCase, m *image.Image) {
		for _, f := range m.FSs {
			f.Root = h.dir
		}
	}, errno: eperm},
	{name: "working directory of root's", change: func(h *hostileCase, m *image.Image) {
		for _, f := range m.FSs {
			f.Cwd = h.secret
		}
	}, errno: eacces},
	{name: "a file that only root may read", change: func(h *hostileCase, m *image.Image) { h.lead(m, "file", h.secret+"/read") }, errno: eacces},
	{name: "a file that only another user may read", change: func(h *hostileCase, m *image.Image) { h.lead(m, "file", h.others+"/file") }, errno: eacces},
	{name: "a file that only root may write", change: func(h *hostileCase, m *image.Image) {
		h.lead(m, "log", "/etc/passwd")
	}, errno: eacces},
	{name: "a FIFO that only root may see, as a file", change: func(h *hostileCase, m *image.Image) {
		h.lead(m, "file", h.secret+"/fifo")
		for _, f := range m.Files {
			if f.Path == h.secret+"/fifo" {
				f.Mode = unix.S_IFREG | 0o600
			}
		}
	}, errno: eacces},
	{name: "a file that only root may see, as a FIFO", change: func(h *hostileCase, m *image.Image) {
		f := h.file(m, "log")
		f.Path, f.Kind, f.Mode, f.Object, f.Pos = h.secret+"/read", image.FIFO, unix.S_IFIFO|0o600, 4711, 0
		m.Pipes = append(m.Pipes, &image.Pipe{ID: 4711, Capacity: 1 << 16})
	}, errno: eacces},
	{name: "opened to read, written to", change: func(h *hostileCase, m *image.Image) {
		f := h.file(m, "log")
		h.lead(m, "log", "/etc/passwd")
		f.Flags = f.Flags&^unix.O_ACCMODE | unix.O_RDWR
	}, errno: eacces},
	{name: "truncated or made when opened", change: func(h *hostileCase, m *image.Image) {
		h.file(m, "log").Flags |= unix.O_TRUNC | unix.O_CREAT
	}, gained: func(h *hostileCase, _ int) string {
		if b, err := os.ReadFile(h.dir + "/log"); string(b) != "kept\n" {
			return fmt.Sprintf("the file is %q, %v", b, err)
		}
		return ""
	}},
	{name: "made where root's files are", change: func(h *hostileCase, m *image.Image) {
		f := h.file(m, "log")
		f.Path, f.Flags = "/etc/cr-hostile", f.Flags|unix.O_CREAT
	}, errno: []unix.Errno{unix.EACCES, unix.ENOENT}},
	{name: "mapping of a file that only root may read", change: func(h *hostileCase, m *image.Image) {
		for _, mm := range m.MMs {
			for _, v := range mm.VMAs {
				if f := m.File(v.File); f != nil && v.Kind == image.FileVMA && f.Path == h.dir+"/file" {
					f.Path, f.Mtime = h.secret+"/read", 0
				}
			}
		}
	}, errno: eacces},
	{name: "shared mapping made writable", change: func(h *hostileCase, m *image.Image) {
		for _, mm := range m.MMs {
			for i := range mm.VMAs {
				v := &mm.VMAs[i]
				if f := m.File(v.File); f != nil && v.Kind == image.FileVMA && f.Path == h.dir+"/file" {
					f.Path, f.Mtime = "/etc/passwd", 0
					v.Prot |= unix.PROT_WRITE
				}
			}
		}
	}, errno: eacces},
	{name: "a deleted file in a directory of root's", change: func(h *hostileCase, m *image.Image) {
		f := h.file(m, "log")
		m.Shms = append(m.Shms, &image.Shm{ID: 4711, Size: 4096, Path: "/etc/cr-hostile", Mode: unix.S_IFREG | 0o4777})
		f.Gone, f.Object, f.Path = true, 4711, "/etc/cr-hostile"
	}, errno: eacces},
	{name: "a symlink to a file of root's for it", before: func(h *hostileCase) {
		h.put("file", func(p string) error { return os.Symlink(h.secret+"/read", p) })
	}, errno: eacces},
	{name: "a symlink to another file for it", before: func(h *hostileCase) {
		h.put("file", func(p string) error { return os.Symlink("/etc/passwd", p) })
	}, errno: estale},
	{name: "a symlink to a file of /proc for it", before: func(h *hostileCase) {
		h.put("file", func(p string) error { return os.Symlink("/proc/1/environ", p) })
	}, errno: append(eacces, unix.ESTALE)},
	{name: "a FIFO for it", before: func(h *hostileCase) {
		h.put("file", func(p string) error { return firstOf(unix.Mkfifo(p, 0o666), os.Chmod(p, 0o666)) })
	}, errno: estale},
	{name: "a device for it", before: func(h *hostileCase) {
		h.put("file", func(p string) error { return os.Symlink("/dev/zero", p) })
	}, errno: estale},
	{name: "setuid program", change: func(h *hostileCase, m *image.Image) {
		for _, mm := range m.MMs {
			f := *m.File(mm.Exe)
			f.ID, f.Path, f.Mtime, f.Sum = 4711+mm.ID, filepath.Dir(h.dir)+"/su", 0, 0
			m.Files, mm.Exe = append(m.Files, &f), f.ID
		}
	}, gained: nothing},
	{name: "pids of others", options: kernel.RestartOptions{KeepPIDs: true}, change: othersPID, errno: eperm},
	{name: "pids of others, for new ones", change: othersPID, gained: nothing},
	{name: "pids that it chooses", options: kernel.RestartOptions{KeepPIDs: true}, errno: eperm},
	{name: "signals to others", change: func(h *hostileCase, m *image.Image) {
		f := h.file(m, "log")
		f.Owner, f.OwnerType, f.Signal = int32(os.Getpid()), 1, uint32(unix.SIGKILL)
	}, errno: invalid},
	{name: "System V message queue of root's", change: func(h *hostileCase, m *image.Image) {
		id, _, e := unix.Syscall(unix.SYS_MSGGET, 0, 0o1600, 0)
		require.Zero(h.t, e)
		h.t.Cleanup(func() { _, _, _ = unix.Syscall(unix.SYS_MSGCTL, id, unix.IPC_RMID, 0) })
		h.queue = int(id)
		m.Queues = append(m.Queues, &image.Queue{ID: 4711, IPC: image.IPC{Number: int32(id)}, Messages: []image.QueueMessage{{Type: 1}}})
	}, options: kernel.RestartOptions{Force: true}, gained: func(h *hostileCase, _ int) string {
		const messages = 4
		line := sysvNumbers("msg", 0)[h.queue]
		if f := strings.Fields(line); len(f) <= messages || f[messages] != "0" {
			return "a message in it: " + line
		}
		return ""
	}},
	{name: "number of a System V message queue", change: func(h *hostileCase, m *image.Image) {
		m.Queues = append(m.Queues, &image.Queue{ID: 4711, IPC: image.IPC{Number: 4711 << 15, Mode: 0o600}})
	}, errno: eperm},
	{name: "number of System V semaphores", change: func(h *hostileCase, m *image.Image) {
		m.Semaphores = append(m.Semaphores, &image.Semaphores{ID: 4711, IPC: image.IPC{Number: 4711 << 15, Mode: 0o600}, Values: []uint32{1}})
	}, errno: eperm},
	{name: "System V shared memory of root's", change: func(h *hostileCase, m *image.Image) {
		id, err := unix.SysvShmGet(0, 4096, 0o1600)
		require.NoError(h.t, err)
		h.t.Cleanup(func() { _, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) })
		m.Shms = append(m.Shms, &image.Shm{ID: 4711, Size: 4096, Mode: 0o600, Segment: image.Segment{Is: true, Number: int32(id)}})
		for _, mm := range m.MMs {
			at := mm.VMAs[0].Start
			mm.VMAs = append([]image.VMA{{Start: at - 1<<20, End: at - 1<<20 + 4096, Prot: 3, Kind: image.ShmVMA, Flags: image.VMAMayShare, File: 4711}}, mm.VMAs...)
		}
	}, errno: eacces},
}

// othersPID gives a child the pid of another process.
func othersPID(_ *hostileCase, m *image.Image) {
	child := m.Processes[len(m.Processes)-1]
	old, pid := child.PID, uint32(os.Getppid())
	m.TasksOf(child)[0].TID, m.TasksOf(child)[0].PID, child.PID = pid, pid, pid
	for _, c := range m.CPUs {
		if c.TID == old {
			c.TID = pid
		}
	}
}

func nothing(*hostileCase, int) string { return "" }

// rootRows are for callers that are root, with files in a directory of somebody
// else, who can put something else in their place.
var rootRows = []hostileRow{
	{name: "another user's", change: eachTask(func(t *image.Task) {
		c := &t.Creds
		c.UID, c.EUID, c.SUID, c.FSUID, c.GID, c.EGID, c.SGID, c.FSGID = nobody, nobody, nobody, nobody, nobody, nobody, nobody, nobody
		c.Permitted, c.Effective, c.Inheritable, c.Ambient = 0, 0, 0, 0
	}), gained: func(h *hostileCase, pid int) string {
		for key, want := range map[string]string{"Uid": "65534 65534 65534 65534", "Gid": "65534 65534 65534 65534",
			"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000", "CapAmb": "0000000000000000"} {
			if v := status(pid, key); v != want {
				return key + " " + v
			}
		}
		return ""
	}},
	{name: "capabilities that there are not", change: eachTask(func(t *image.Task) { t.Creds.Permitted = 1<<63 | t.Creds.Permitted }), errno: eperm},
	{name: "a symlink to another file, for one that it reads", before: func(h *hostileCase) {
		h.put("file", func(p string) error { return os.Symlink("/etc/passwd", p) })
	}, errno: estale},
	{name: "a symlink to a file of /proc, for one that it reads", before: func(h *hostileCase) {
		h.put("file", func(p string) error { return os.Symlink("/proc/self/environ", p) })
	}, errno: estale},
	{name: "a FIFO, for one that it reads", before: func(h *hostileCase) {
		h.put("file", func(p string) error { return unix.Mkfifo(p, 0o666) })
	}, errno: estale},
	{name: "a device, for one that it reads", before: func(h *hostileCase) {
		h.put("file", func(p string) error { return os.Symlink("/dev/zero", p) })
	}, errno: estale},
	{name: "a symlink to a file of root's, for one that it writes", before: func(h *hostileCase) {
		h.put("log", func(p string) error { return os.Symlink(h.secret+"/read", p) })
	}, errno: estale},
	{name: "a symlink to a file of /proc, for one that it writes", change: func(h *hostileCase, m *image.Image) {
		f := h.file(m, "log")
		f.Size, f.Pos = 0, 0
	}, before: func(h *hostileCase) {
		h.put("log", func(p string) error { return os.Symlink("/proc/self/oom_score_adj", p) })
	}, errno: estale},
	{name: "a symlink for the directory of one that it writes", before: func(h *hostileCase) {
		require.NoError(h.t, os.Rename(h.dir, h.dir+".moved"))
		require.NoError(h.t, os.Symlink(h.secret, h.dir))
		require.NoError(h.t, os.WriteFile(h.secret+"/log", []byte("of root's"), 0o600))
		require.NoError(h.t, os.Rename(h.dir+".moved/file", h.secret+"/file"))
	}, errno: estale},
	{name: "a symlink to a file of /proc, for a FIFO", change: func(h *hostileCase, m *image.Image) {
		f := h.file(m, "log")
		f.Kind, f.Mode, f.Flags, f.Object, f.Pos = image.FIFO, unix.S_IFIFO|0o600, unix.O_RDWR, 4711, 0
		m.Pipes = append(m.Pipes, &image.Pipe{ID: 4711, Capacity: 1 << 16, Data: []byte("-900")})
	}, before: func(h *hostileCase) {
		h.put("log", func(p string) error { return os.Symlink("/proc/self/oom_score_adj", p) })
	}, errno: estale},
}

// TestHostileToRoot restarts images of root's, where somebody else has changed
// them or what they lead to. An image is a program, which root had better not
// take from others; but what a good image leads to is not theirs to choose.
func TestHostileToRoot(t *testing.T) {
	needs(t, "CAP_SETUID", unix.CAP_SETUID)
	adopting(t)
	table := &hostileTable{path: buildWaiter(t), other: nobody}
	table.run(t, rootRows)
}

// TestHostile restarts crafted images as users without privileges, by a kernel
// side that is root: each is refused with the caller as it was, or runs without
// having gained anything.
func TestHostile(t *testing.T) {
	needs(t, "CAP_SETUID", unix.CAP_SETUID)
	adopting(t)
	path := buildWaiter(t)
	for _, u := range [][2]uint32{{nobody, wwwData}, {wwwData, nobody}} {
		table := &hostileTable{path: path, user: u[0], other: u[1]}
		table.run(t, hostileRows)
	}
}

// TestHostileInUserNamespace restarts images in callers that have all
// capabilities, but in a user namespace of their own.
func TestHostileInUserNamespace(t *testing.T) {
	needs(t, "CAP_SETUID", unix.CAP_SETUID)
	adopting(t)
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: nobody, Size: 1}}
	table := &hostileTable{path: buildWaiter(t), user: nobody, other: wwwData,
		attr: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids,
			Credential: &syscall.Credential{NoSetGroups: true}}}
	var rows []hostileRow
	for _, row := range hostileRows {
		switch row.name {
		case "uid 0", "saved uid 0", "gid 0", "ids of another user", "another group", "negative nice value", "real-time policy",
			"real-time I/O priority", "I/O flusher", "raised hard limit", "lower oom_score_adj", "a file that only root may read",
			"a file that only root may write", "a symlink to a file of root's for it":
			rows = append(rows, row)
		}
	}
	require.Len(t, rows, 14)
	table.run(t, rows)
}

// hostileTable is what came of rows.
type hostileTable struct {
	path              string // of the caller's program
	user, other       uint32
	attr              *syscall.SysProcAttr // of the caller, if it is not just the user's
	text              string
	refused, harmless int
}

// run tries rows in callers of the user.
func (table *hostileTable) run(t *testing.T, rows []hostileRow) {
	all := newHostileCase(t, table.user, table.other)
	original := all.saved()
	for _, row := range append([]hostileRow{{name: "what it was", gained: nothing}}, rows...) {
		t.Run(fmt.Sprintf("%d/%s", table.user, row.name), func(t *testing.T) {
			h, b := all, original
			if row.before != nil {
				h = newHostileCase(t, table.user, table.other)
				b = h.saved()
			}
			if row.change != nil {
				b = changed(t, b, func(m *image.Image) { row.change(h, m) })
			}
			if row.before != nil {
				row.before(h)
			}
			if row.env != "" {
				k, v, _ := strings.Cut(row.env, "=")
				t.Setenv(k, v)
			}
			table.try(t, h, row, b)
		})
	}
	t.Logf("as user %d:\n| what the image claims | result |\n|---|---|\n%s%d refused with the caller as it was, %d run without more than the caller has",
		table.user, table.text, table.refused, table.harmless)
}

// try restarts an image in a caller of the user.
func (table *hostileTable) try(t *testing.T, h *hostileCase, row hostileRow, b []byte) {
	attr := table.attr
	if attr == nil {
		attr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: table.user, Gid: table.user}}
	}
	w := startWaiter(t, table.path, attr)
	if row.gained == nil {
		err := w.refuses(b, row.options)
		ok := false
		for _, e := range row.errno {
			ok = ok || kernel.Errno(err) == e
		}
		require.True(t, ok, "%v: %v", kernel.Errno(err), err)
		table.refused++
		table.text += fmt.Sprintf("| %s | %s: %s |\n", row.name, unix.ErrnoName(kernel.Errno(err)), h.plain(err))
		return
	}
	_, err := kernel.RestartInto(w.pid, bytes.NewReader(b), row.options)
	require.NoError(t, err)
	for _, pid := range descendants(w.pid) {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if pid != w.pid && (err != nil || exe == table.path) {
			continue // a child that the caller had keeps what it had, and ends
		}
		if table.user != 0 {
			ids := fmt.Sprint(table.user)
			ids = strings.Join([]string{ids, ids, ids, ids}, " ")
			for key, want := range map[string]string{"Uid": ids, "Gid": ids, "Groups": "",
				"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000", "CapAmb": "0000000000000000"} {
				require.Equal(t, want, status(pid, key), key)
			}
		}
		if why := row.gained(h, pid); why != "" {
			require.FailNow(t, "it has gained something", why)
		}
	}
	table.harmless++
	table.text += fmt.Sprintf("| %s | runs, with nothing more than the caller has |\n", row.name)
}

// newHostileCase makes files of a user, of another one, and of root.
func newHostileCase(t *testing.T, user, other uint32) *hostileCase {
	t.Helper()
	top, err := os.MkdirTemp("", "cr-hostile-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(top) })
	require.NoError(t, os.Chmod(top, 0o755))
	h := &hostileCase{t: t, user: user, other: other, dir: top + "/user", secret: top + "/root", others: top + "/other"}
	require.NoError(t, os.Mkdir(h.dir, 0o755))
	require.NoError(t, os.Mkdir(h.secret, 0o700))
	require.NoError(t, os.Mkdir(h.others, 0o755))
	for name, text := range map[string]string{h.dir + "/file": "contents\n", h.dir + "/log": "kept\n",
		h.secret + "/read": "contents\n", h.others + "/file": "contents\n"} {
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	}
	require.NoError(t, unix.Mkfifo(h.secret+"/fifo", 0o600))
	su, err := os.ReadFile("/usr/bin/true")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(top+"/su", su, 0o755))
	require.NoError(t, os.Chmod(top+"/su", 0o755|os.ModeSetuid))
	owner := int(user)
	if user == 0 {
		owner = int(other)
	}
	for _, name := range []string{"", "/file", "/log"} {
		require.NoError(t, os.Chown(h.dir+name, owner, owner))
	}
	for _, name := range []string{"", "/file"} {
		require.NoError(t, os.Chown(h.others+name, int(other), int(other)))
	}
	return h
}

// plain is an error without what is different each time.
func (h *hostileCase) plain(err error) string {
	var refused *kernel.RefusedError
	if errors.As(err, &refused) {
		return strings.ReplaceAll(refused.Reason, filepath.Dir(h.dir), "")
	}
	s := strings.ReplaceAll(err.Error(), filepath.Dir(h.dir), "")
	if i := strings.LastIndex(s, ": "); i > 0 {
		s = s[:i]
	}
	return numbered.ReplaceAllString(s, "")
}

// numbered is what of an error is different each time.
var numbered = regexp.MustCompile(`pid \d+: |process \d+: | \d{2,}|(mapping) [0-9a-f-]+`)
