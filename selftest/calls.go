package selftest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"syscall"
	"time"

	imagefile "cr/image"
	"cr/internal/proc"
	"cr/regset"
)

// syscalls are the numbers of system calls that the tests make.
type syscalls struct {
	read, write, getpriority int

	checkpoint, restart int

	// The owners of the two numbers on kernels that have not the calls.
	owners [2]string
}

// numbers are those of the two calls in the kernel that is tested, zero for the
// usual ones.
var numbers Numbers

// Numbers are the numbers of the two calls, the same for all ABIs.
type Numbers struct{ Checkpoint, Restart int }

// String is the form of the option --numbers.
func (n Numbers) String() string { return fmt.Sprintf("%d,%d", n.Checkpoint, n.Restart) }

// MaxNumber is the highest number that the programs can call.
const MaxNumber = 0x7fff

func syscallsOf(abi regset.ABI) syscalls {
	s := usualSyscalls(abi)
	if numbers.Checkpoint != 0 {
		s.checkpoint, s.restart = numbers.Checkpoint, numbers.Restart
	}
	return s
}

func usualSyscalls(abi regset.ABI) syscalls {
	switch abi {
	case regset.X86_64:
		return syscalls{0, 1, 140, 313, 314, [2]string{"finit_module", "sched_setattr"}}
	case regset.I386:
		return syscalls{3, 4, 96, 333, 334, [2]string{"preadv", "pwritev"}}
	}
	return syscalls{3, 4, 96, 319, 320, [2]string{"perf_event_open", "preadv"}}
}

// request is a system call that a program of targets/common/call.S is told to
// make.
type request struct {
	name string // for messages
	nr   int
	args [6]int64
	data []byte // what the call reads from descriptor 0
}

// bytes is the request as the program reads it.
func (r *request) bytes(abi regset.ABI) []byte {
	w := abi.WordSize()
	b := number(abi.Order(), w, uint64(r.nr))
	for _, a := range r.args {
		b = append(b, number(abi.Order(), w, uint64(a))...)
	}
	return append(append(b, make([]byte, w)...), r.data...)
}

// caller is a program that makes calls, before it is started.
type caller struct {
	t     *T
	prog  *program
	regs  []Reg
	files []*os.File // its descriptors from 3 on
	user  *syscall.Credential

	// plain is a caller to which the two calls are not offered.
	plain bool
}

func (t *T) caller(abi regset.ABI, files ...*os.File) *caller {
	p, err := unpack(t.run.dir, abi, "call")
	t.must(err)
	return &caller{t: t, prog: p, regs: callRegs(abi, p.symbol), files: files}
}

// callRegs lists the registers after a call, which changes no others than any
// system call does, and the checksum of memory.
func callRegs(abi regset.ABI, symbol func(string) uint64) []Reg {
	regs := class(abi, "gpr").Regs(abi, symbol)
	for i := range regs {
		switch regs[i].Name {
		case "r10", "r8", "r9", "esi", "edi", "ebp":
			regs[i].clobbered() // arguments; of powerpc's sc anyway
		}
	}
	l := &layout{abi: abi, regs: regs}
	sum := uint64(checksum(abi.Order(), pattern(abi.Order(), 0, 1024, 0)))
	l.fixed("checksum of memory", 4, sum, sum)
	return l.regs
}

// start starts the program, which makes the calls one after the other.
func (c *caller) start(requests []request) *process {
	var in bytes.Buffer
	for i := range requests {
		in.Write(requests[i].bytes(c.prog.abi))
	}
	argv := []string{c.prog.path}
	if !c.plain {
		argv = c.t.underCalls(argv)
	}
	return c.t.launch(c.prog.class, argv, func(p *process) {
		p.cmd.Stdin = &in
		p.cmd.ExtraFiles = c.files
		if c.user != nil {
			p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.user}
		}
	})
}

// results are the results of calls that all return, to a caller that is as it
// was.
func (c *caller) results(requests []request) []int64 {
	t := c.t
	p := c.start(requests)
	p.succeed()
	dumps := c.dumps(p, len(requests))
	results := make([]int64, len(dumps))
	for i, d := range dumps {
		results[i] = d.result
		for _, line := range compare(c.prog.abi, c.regs, d.body, afterCall) {
			t.Errorf("after %s: %s", requests[i].name, line)
		}
	}
	if text := p.complaint(); text != "" {
		t.Logf("%s%s", p.name, text)
	}
	return results
}

func (c *caller) dumps(p *process, n int) []dump {
	dumps, err := parseDumps(c.prog.abi, p.out.Bytes(), size(c.regs))
	c.t.must(err)
	if len(dumps) != n {
		c.t.Fatalf("%s: %d calls returned, not %d%s", p.name, len(dumps), n, p.complaint())
	}
	return dumps
}

// callCase checks what the calls do when a program makes them, and that their
// numbers still have their old meaning.
func callCase(abi regset.ABI) Case {
	return Case{Name: "call", Tests: []Test{
		{"checkpoint", func(t *T) { testCheckpointCall(t, abi) }},
		{"restart", func(t *T) { testRestartCall(t, abi) }},
		{"restart-killed", func(t *T) { testKilledRestart(t, abi) }},
		{"owners", func(t *T) { testOwners(t, abi) }},
	}}
}

// testCheckpointCall: the call returns an identifier, and 0 in the task that is
// restarted; else it changes nothing.
func testCheckpointCall(t *T, abi regset.ABI) {
	image := t.create("image")
	c := t.caller(abi, image)
	nr := syscallsOf(abi).checkpoint
	if got := c.results([]request{{name: "checkpoint", nr: nr, args: [6]int64{0, 3, 0}}}); got[0] <= 0 {
		t.Fatalf("checkpoint returned %d, no identifier", got[0])
	}
	restart := t.start("cr restart", t.cr("restart", image.Name()))
	restart.succeed()
	d := c.dumps(restart, 1)[0]
	if d.result != 0 {
		t.Errorf("checkpoint returned %d in the restarted task", d.result)
	}
	for _, line := range compare(abi, c.regs, d.body, afterCall) {
		t.Errorf("restarted: %s", line)
	}
}

// testRestartCall: a program turns itself into another one that was
// checkpointed.
func testRestartCall(t *T, abi regset.ABI) {
	gpr := t.registers(class(abi, "gpr"), abi)
	image, err := os.Open(gpr.checkpointSelf())
	t.must(err)
	defer image.Close()
	c := t.caller(abi, image)
	p := c.start([]request{{name: "restart", nr: syscallsOf(abi).restart, args: [6]int64{0, 3, 0}}})
	p.succeed()
	gpr.check("restarted", p.out.Bytes(), afterCall, 0)
}

// testKilledRestart kills the kernel side when a program is about to become
// another one, whose image comes through a pipe and lacks its last byte: the call
// returns ENOSYS, and the program is as it was.
func testKilledRestart(t *T, abi regset.ABI) {
	if t.run.Native {
		t.Skipf("the kernel makes the restart itself")
	}
	image := t.threadedImage()
	m, _, err := imagefile.Read(bytes.NewReader(image))
	t.must(err)
	threads := len(m.Tasks)
	if m.Header.ABI != abi || abi == regset.PPC64 {
		// Of another kind than the program, which would execute something first;
		// there signal handlers are function descriptors in one of the two only.
		threads = 1
		image, err = os.ReadFile(t.registers(class(abi, "gpr"), abi).checkpointSelf())
		t.must(err)
	}
	imageEnd, rest, err := os.Pipe()
	t.must(err)
	in, out, err := os.Pipe()
	t.must(err)
	t.files = append(t.files, imageEnd, rest, in, out)
	c := t.caller(abi)
	p := t.launch(c.prog.class, t.underCalls([]string{c.prog.path}), func(p *process) {
		p.cmd.Stdin, p.cmd.ExtraFiles = in, []*os.File{imageEnd}
	})
	pid := 0
	t.until("the program runs", func() (bool, error) {
		for _, pid = range family(p.pid()) {
			if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && exe == c.prog.path {
				return true, nil
			}
		}
		return false, nil
	})
	t.must(awaitState(pid, 'S', t.limit))
	before, err := pictureOf(pid)
	t.must(err)
	restart := request{name: "restart", nr: syscallsOf(abi).restart, args: [6]int64{0, 3, 0}}
	_, err = out.Write(restart.bytes(abi))
	t.must(err)
	_, err = rest.Write(image[:len(image)-1])
	t.must(err)
	t.until("the restart has begun", func() (bool, error) {
		now, err := pictureOf(pid)
		return now != before && threadsOf(pid) >= threads, err
	})
	time.Sleep(100 * time.Millisecond) // most often the rest is made by then
	kernelSide, err := proc.Children(p.pid())
	t.must(err)
	if len(kernelSide) != 1 {
		t.Fatalf("%s has the children %d, not the kernel side alone", p.name, kernelSide)
	}
	t.must(syscall.Kill(kernelSide[0], syscall.SIGKILL))
	now := ""
	t.until("the program is as it was", func() (bool, error) {
		var err error
		now, err = pictureOf(pid)
		return now == before, err
	})
	request := request{name: "getpriority", nr: syscallsOf(abi).getpriority}
	_, err = out.Write(request.bytes(abi))
	t.must(err)
	t.must(out.Close())
	p.succeed()
	dumps := c.dumps(p, 2)
	if got := dumps[0].result; got != -int64(syscall.ENOSYS) {
		t.Errorf("restart: want ENOSYS, got %s", resultName(got))
	}
	for i, name := range []string{"restart", "getpriority"} {
		for _, line := range compare(abi, c.regs, dumps[i].body, afterCall) {
			t.Errorf("after %s: %s", name, line)
		}
	}
}

// threadedImage is an image of a program with threads, of the ABI of cr: of cr
// itself, which waits for its input.
func (t *T) threadedImage() []byte {
	in, out, err := os.Pipe()
	t.must(err)
	t.files = append(t.files, in, out)
	p := t.launch("cr info", t.cr("info"), func(p *process) { p.cmd.Stdin = in })
	t.until("it has threads", func() (bool, error) { return threadsOf(p.pid()) > 2, nil })
	t.must(awaitState(p.pid(), 'S', t.limit))
	path := t.file("threads")
	t.start("cr checkpoint", t.cr("checkpoint", "--kill", fmt.Sprint(p.pid()), "-o", path)).succeed()
	b, err := os.ReadFile(path)
	t.must(err)
	return b
}

// threadsOf is the number of threads of a process.
func threadsOf(pid int) int {
	list, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid)) // none if it has gone
	return len(list)
}

// until waits until something holds.
func (t *T) until(what string, holds func() (bool, error)) {
	var pause poll
	for {
		ok, err := holds()
		if err != nil {
			t.Fatalf("until %s: %v", what, err)
		}
		if ok {
			return
		}
		if time.Now().After(t.limit.Add(-time.Second)) {
			t.Fatalf("until %s: it does not come to that", what)
		}
		pause.wait()
	}
}

// testOwners makes the system calls that have the numbers on kernels without
// the two calls, with and without `cr run`: the results must be the same.
func testOwners(t *T, abi regset.ABI) {
	if t.run.Native || numbers.Checkpoint != 0 {
		t.Skipf("the kernel's numbers of the two calls have no other owners")
	}
	var results [2][]int64
	var written [2][]byte
	requests, want := ownerRequests(t, abi)
	for i := range results {
		in, out := t.create("in"), t.create("out")
		_, err := in.WriteString(fileContents)
		t.must(err)
		c := t.caller(abi, in, out)
		c.plain = i == 0
		results[i] = c.results(requests)
		written[i], err = os.ReadFile(out.Name())
		t.must(err)
	}
	for i := range requests {
		plain, under := results[0][i], results[1][i]
		if plain != under {
			t.Errorf("%s: %d under cr run, %d without", requests[i].name, under, plain)
		}
		if w, ok := want[i]; ok && under != w {
			t.Errorf("%s: want %d got %d", requests[i].name, w, under)
		}
	}
	if !bytes.Equal(written[0], written[1]) {
		t.Errorf("written: %q under cr run, %q without", written[1], written[0])
	}
	t.Logf("%v: %v, written %q", syscallsOf(abi).owners, results[1], written[1])
}

// ownerRequests are calls of the numbers' owners with pointers in memory of the
// program. Want has the results that are known, by request.
func ownerRequests(t *T, abi regset.ABI) (requests []request, want map[int]int64) {
	p, err := unpack(t.run.dir, abi, "call")
	t.must(err)
	memory := int64(p.symbol("memory"))
	const piece = 16
	order, w := abi.Order(), abi.WordSize()
	sys := syscallsOf(abi)
	iov := append(number(order, w, uint64(memory)+256), number(order, w, piece)...)
	load := func(data []byte) request {
		return request{name: "read", nr: sys.read, args: [6]int64{0, memory, int64(len(data))}, data: data}
	}
	show := request{name: "write", nr: sys.write, args: [6]int64{4, memory + 256, piece}}
	const position = 5
	preadv := func(nr int) request {
		return request{name: "preadv", nr: nr, args: [6]int64{3, memory, 1, position, 0}}
	}
	switch abi {
	case regset.X86_64:
		return []request{
			{name: "finit_module", nr: sys.checkpoint, args: [6]int64{3, memory, 0}},
			load(schedAttr(order)),
			{name: "sched_setattr", nr: sys.restart, args: [6]int64{0, memory, 0}},
			{name: "getpriority", nr: sys.getpriority},
		}, map[int]int64{1: 48, 2: 0, 3: 20 - nice}
	case regset.I386:
		pwritev := request{name: "pwritev", nr: sys.restart, args: [6]int64{4, memory, 1, 3, 0}}
		return []request{load(iov), preadv(sys.checkpoint), pwritev}, map[int]int64{0: int64(len(iov)), 1: piece, 2: piece}
	}
	perf := perfAttr(order)
	return []request{
		load(perf),
		{name: "perf_event_open", nr: sys.checkpoint, args: [6]int64{memory, 0, -1, -1, 0}},
		load(iov),
		preadv(sys.restart),
		show,
	}, map[int]int64{0: int64(len(perf)), 2: int64(len(iov)), 3: piece, 4: piece}
}

// nice is the nice value that the programs set.
const nice = 5

// schedAttr is a struct sched_attr: SCHED_OTHER and a nice value.
func schedAttr(order binary.ByteOrder) []byte {
	b := make([]byte, 48)
	order.PutUint32(b, uint32(len(b)))
	order.PutUint32(b[16:], nice)
	return b
}

// perfAttr is a struct perf_event_attr, in its first size: the task clock, one
// of the software events.
func perfAttr(order binary.ByteOrder) []byte {
	const software, taskClock = 1, 1
	b := make([]byte, 64)
	order.PutUint32(b, software)
	order.PutUint32(b[4:], uint32(len(b)))
	order.PutUint64(b[8:], taskClock)
	return b
}
