package selftest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"cr/image"
	"cr/regset"
)

// nobody is a user who is not the superuser.
const nobody = 65534

// errorCase checks that calls that cannot be carried out return the errno of
// docs/abi.md, and leave their caller as it was.
func errorCase(abi regset.ABI) Case {
	c := Case{Name: "errors", Tests: []Test{
		{"checkpoint-pid", func(t *T) { testPIDErrors(t, abi) }},
		{"checkpoint-user", func(t *T) { testUserErrors(t, abi) }},
		{"checkpoint-fd", func(t *T) { testCheckpointFDErrors(t, abi) }},
		{"restart-fd", func(t *T) { testRestartFDErrors(t, abi) }},
		{"restart-image", func(t *T) { testImageErrors(t, abi) }},
	}}
	if !abi.IsPPC() {
		c.Tests = append(c.Tests, Test{"ioperm", func(t *T) { testPorts(t, abi) }})
	}
	return c
}

// testPorts: a program that may use I/O ports is refused, by name.
func testPorts(t *T, abi regset.ABI) {
	ioperm := 173
	if abi == regset.I386 {
		ioperm = 101
	}
	c := t.caller(abi, t.create("image"))
	p := c.start([]request{
		{name: "ioperm", nr: ioperm, args: [6]int64{0x80, 1, 1}},
		{name: "checkpoint", nr: syscallsOf(abi).checkpoint, args: [6]int64{0, 3, 0}},
	})
	p.succeed()
	dumps := c.dumps(p, 2)
	if got := dumps[0].result; got != 0 {
		t.Skipf("ioperm: %s", resultName(got))
	}
	if got := dumps[1].result; got != -int64(syscall.EOPNOTSUPP) {
		t.Errorf("checkpoint: want EOPNOTSUPP, got %s", resultName(got))
	}
	if said := p.complaint(); !strings.Contains(said, "NT_386_IOPERM") {
		t.Errorf("the complaint does not name the set: %s", said)
	}
}

// failure is a call that must fail.
type failure struct {
	name string
	args [6]int64
	want syscall.Errno
}

// fail makes calls of one number and compares their results.
func (c *caller) fail(nr int, list []failure) {
	requests := make([]request, len(list))
	for i, f := range list {
		requests[i] = request{name: f.name, nr: nr, args: f.args}
	}
	for i, got := range c.results(requests) {
		if want := list[i].want; got != -int64(want) {
			c.t.Errorf("%s: want %s, got %s", list[i].name, errnoName(want), resultName(got))
		}
	}
}

var errnoNames = map[syscall.Errno]string{
	syscall.EPERM: "EPERM", syscall.ENOENT: "ENOENT", syscall.ESRCH: "ESRCH", syscall.EINTR: "EINTR",
	syscall.EIO: "EIO", syscall.ENOEXEC: "ENOEXEC", syscall.EBADF: "EBADF", syscall.ENOMEM: "ENOMEM",
	syscall.EACCES: "EACCES", syscall.EFAULT: "EFAULT", syscall.EBUSY: "EBUSY", syscall.EINVAL: "EINVAL",
	syscall.ENOSPC: "ENOSPC", syscall.EPIPE: "EPIPE", syscall.ENOSYS: "ENOSYS", syscall.EOPNOTSUPP: "EOPNOTSUPP",
}

func errnoName(e syscall.Errno) string {
	if n, ok := errnoNames[e]; ok {
		return n
	}
	return fmt.Sprintf("errno %d (%v)", int(e), e)
}

func resultName(r int64) string {
	if r < 0 {
		return errnoName(syscall.Errno(-r))
	}
	return strconv.FormatInt(r, 10)
}

func testPIDErrors(t *T, abi regset.ABI) {
	const noPID = 0x3fffff          // higher than any
	path := t.caller(abi).prog.path // which ends, without a request
	dead := exec.Command(path)
	t.must(dead.Run())
	zombie := exec.Command(path)
	t.must(zombie.Start())
	defer func() { _ = zombie.Wait() }()
	t.must(awaitState(zombie.Process.Pid, 'Z', t.limit))

	list := []failure{
		{"checkpoint of a pid that is not", [6]int64{noPID, 3}, syscall.ESRCH},
		{"checkpoint of a dead process", [6]int64{int64(dead.Process.Pid), 3}, syscall.ESRCH},
		{"checkpoint of a zombie", [6]int64{int64(zombie.Process.Pid), 3}, syscall.ESRCH},
		{"checkpoint with unknown flags", [6]int64{0, 3, 0x40000000}, syscall.EINVAL},
	}
	if pid := kernelThread(); pid != 0 {
		list = append(list, failure{"checkpoint of a kernel thread", [6]int64{int64(pid), 3}, syscall.EPERM})
	}
	t.caller(abi, t.create("image")).fail(syscallsOf(abi).checkpoint, list)
}

// kernelThread finds a kernel thread; 0 if none is to be seen.
func kernelThread() int {
	const flagsField, kthread = 6, 0x00200000 // PF_KTHREAD
	names, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, n := range names {
		pid, err := strconv.Atoi(n.Name())
		if err != nil {
			continue
		}
		f, err := statFields(pid)
		if err != nil || len(f) <= flagsField {
			continue
		}
		if flags, err := strconv.ParseUint(f[flagsField], 10, 32); err == nil && flags&kthread != 0 {
			return pid
		}
	}
	return 0
}

func testUserErrors(t *T, abi regset.ABI) {
	if os.Getuid() != 0 {
		t.Skipf("only root can run programs as two users")
	}
	c := t.caller(abi, t.create("image"))
	c.user = &syscall.Credential{Uid: nobody, Gid: nobody}
	other := t.start("other user's process", t.registers(class(abi, "gpr"), abi).argv("spin"))
	c.fail(syscallsOf(abi).checkpoint, []failure{
		{"checkpoint of another user's process", [6]int64{int64(other.pid()), 3}, syscall.EPERM},
	})
}

func testCheckpointFDErrors(t *T, abi regset.ABI) {
	readOnly, err := os.Open(t.create("file").Name())
	t.must(err)
	defer readOnly.Close()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	t.must(err)
	defer full.Close()
	r, broken, err := os.Pipe()
	t.must(err)
	defer broken.Close()
	r.Close()
	t.caller(abi, readOnly, full, broken).fail(syscallsOf(abi).checkpoint, []failure{
		{"checkpoint to a descriptor that is not open", [6]int64{0, 99}, syscall.EBADF},
		{"checkpoint to a read-only descriptor", [6]int64{0, 3}, syscall.EBADF},
		{"checkpoint to a full disk", [6]int64{0, 4}, syscall.ENOSPC},
		{"checkpoint to a broken pipe", [6]int64{0, 5}, syscall.EPIPE},
	})
}

func testRestartFDErrors(t *T, abi regset.ABI) {
	writeOnly, err := os.OpenFile(t.file("out"), os.O_WRONLY|os.O_CREATE, 0o600)
	t.must(err)
	defer writeOnly.Close()
	gpr := t.registers(class(abi, "gpr"), abi)
	good, err := os.Open(gpr.checkpointSelf())
	t.must(err)
	defer good.Close()
	t.caller(abi, writeOnly, good).fail(syscallsOf(abi).restart, []failure{
		{"restart from a descriptor that is not open", [6]int64{0, 99}, syscall.EBADF},
		{"restart from a write-only descriptor", [6]int64{0, 3}, syscall.EBADF},
		{"restart with unknown flags", [6]int64{0, 4, 0x40000000}, syscall.EINVAL},
	})
}

func testImageErrors(t *T, abi regset.ABI) {
	gpr := t.registers(class(abi, "gpr"), abi)
	good, err := os.ReadFile(gpr.checkpointSelf())
	t.must(err)
	var list []failure
	var files []*os.File
	for _, b := range []struct {
		name string
		data []byte
		want syscall.Errno
	}{
		{"an empty file", nil, syscall.ENOEXEC},
		{"no image", bytes.Repeat([]byte("no image\n"), 1000), syscall.ENOEXEC},
		{"an image that is cut", good[:len(good)/2], syscall.ENOEXEC},
		{"an image without its end", good[:len(good)-1], syscall.ENOEXEC},
		{"an image with a bit flipped", flipped(good), syscall.ENOEXEC},
		{"an image of an unknown version", otherVersion(good), syscall.ENOEXEC},
		{"an image of another architecture", t.rewritten(good, as(foreign(abi))), syscall.ENOEXEC},
		{"an image of another word size", t.rewritten(good, as(otherSize(abi))), syscall.ENOEXEC},
	} {
		if strings.HasSuffix(b.name, "word size") && t.runs(otherSize(abi)) {
			t.Logf("%s is no error: this kernel runs tasks of %s, too", b.name, otherSize(abi))
			continue
		}
		f := t.create(strings.Replace(b.name, " ", "-", -1))
		_, err := f.Write(b.data)
		t.must(err)
		_, err = f.Seek(0, io.SeekStart)
		t.must(err)
		list = append(list, failure{"restart from " + b.name, [6]int64{0, int64(3 + len(files))}, b.want})
		files = append(files, f)
	}
	t.caller(abi, files...).fail(syscallsOf(abi).restart, list)
}

// flipped is an image with one bit changed in the middle.
func flipped(b []byte) []byte {
	b = append([]byte(nil), b...)
	b[len(b)/2] ^= 1
	return b
}

// otherVersion is an image with another version number: bytes 8 to 11
// (docs/format.md).
func otherVersion(b []byte) []byte {
	b = append([]byte(nil), b...)
	b[8] ^= 0x40
	return b
}

// foreign is an ABI of another architecture with the same size of words.
func foreign(abi regset.ABI) regset.ABI {
	switch {
	case abi.IsPPC() && abi.WordSize() == 8:
		return regset.X86_64
	case abi.IsPPC():
		return regset.I386
	case abi.WordSize() == 8:
		return regset.PPC64LE
	}
	return regset.PPC
}

// otherSize is the ABI with the other size of words.
func otherSize(abi regset.ABI) regset.ABI {
	switch abi {
	case regset.X86_64:
		return regset.I386
	case regset.I386:
		return regset.X86_64
	case regset.PPC:
		return regset.PPC64
	}
	return regset.PPC
}

// runs reports whether this kernel runs tasks of an ABI.
func (t *T) runs(abi regset.ABI) bool {
	for _, a := range t.run.abis {
		if a == abi {
			return true
		}
	}
	return false
}

// as makes all tasks of an image ones of another ABI.
func as(abi regset.ABI) func(*image.Image) {
	return func(m *image.Image) {
		m.Header.ABI = abi
		for _, c := range m.CPUs {
			c.State.ABI = abi
		}
	}
}

// rewritten is an image with its metadata changed.
func (t *T) rewritten(b []byte, change func(*image.Image)) []byte {
	m, in, err := image.Read(bytes.NewReader(b))
	t.must(err)
	change(m)
	var out bytes.Buffer
	w, err := image.NewWriter(&out, m)
	t.must(err)
	for {
		p, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		t.must(err)
		t.must(w.Pages(p.Owner, p.Shm, p.Runs, p.Data))
	}
	t.must(w.Close())
	return out.Bytes()
}
