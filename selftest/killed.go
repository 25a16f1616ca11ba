package selftest

import (
	"fmt"
	"os"
	"strings"
	"time"

	"cr/regset"
)

// killedRounds is how many checkpoints of a program are killed: every other one
// at an instant of those that are spread over the time that one takes, the
// others when the program is seen away from where it was. Where these take more
// than a hundredth of the time that a test has, there are fewer, but some:
// cr selftest --timeout gives them more. With Config.Quick there is one, of the two
// kinds in turn. The tests of other classes go on with the instants that are left.
const (
	killedRounds = 24
	killedLeast  = 4
)

// killedCase checks that a program does not notice that a checkpoint of it is
// killed: while it computes, with each class of registers that a task carries
// along, and while it waits in a system call.
func killedCase(abi regset.ABI) Case {
	c := Case{Name: "killed"}
	for _, name := range []string{"gpr", "fpr", "vmx", "vsx", "spe", "sse", "avx", "sig"} {
		class := class(abi, name)
		if class == nil || class.Regs(abi, func(string) uint64 { return 0 }) == nil {
			continue
		}
		c.Tests = append(c.Tests, Test{name, func(t *T) { t.registers(class, abi).killed() }})
	}
	c.Tests = append(c.Tests, Test{"in-call", func(t *T) { testKilledInCall(t, abi) }})
	return c
}

// killed kills checkpoints of the program while it spins. It goes on to its end
// with all registers as they were.
func (r *registers) killed() {
	t := r.t
	if t.run.Native {
		t.Skipf("the kernel makes the checkpoint itself")
	}
	original := t.start(r.prog.class, r.argv("spin"))
	r.atSpin(original)
	t.killCheckpoints(original.pid(), func() error { return awaitSpin(original.pid(), r.prog, t.limit) })
	t.must(release(original.pid(), r.prog))
	original.succeed()
	r.check("original", original.out.Bytes(), patternP, 0)
}

// testKilledInCall kills checkpoints of a program that waits in read(2), which
// goes on to wait, and then reads what it was sent.
func testKilledInCall(t *T, abi regset.ABI) {
	if t.run.Native {
		t.Skipf("the kernel makes the checkpoint itself")
	}
	c := t.caller(abi)
	in, out, err := os.Pipe()
	t.must(err)
	t.files = append(t.files, in, out)
	p := t.launch(c.prog.class, []string{c.prog.path}, func(p *process) { p.cmd.Stdin = in })
	waits := func() error { return awaitState(p.pid(), 'S', t.limit) }
	t.must(waits())
	t.killCheckpoints(p.pid(), waits)
	request := request{name: "getpriority", nr: syscallsOf(abi).getpriority}
	_, err = out.Write(request.bytes(abi))
	t.must(err)
	t.must(out.Close())
	p.succeed()
	d := c.dumps(p, 1)[0]
	if d.result < 1 || d.result > 40 {
		t.Errorf("getpriority returned %d", d.result)
	}
	for _, line := range compare(abi, c.regs, d.body, afterCall) {
		t.Errorf("after %s: %s", request.name, line)
	}
}

// killCheckpoints kills checkpoints of a process, and checks after each that it
// is as it was; settled waits until it is back from wherever it was taken.
func (t *T) killCheckpoints(pid int, settled func() error) {
	before, err := pictureOf(pid)
	t.must(err)
	image := t.file("killed")
	checkpoint := func() *process { return t.start("cr checkpoint", t.cr("checkpoint", fmt.Sprint(pid), "-o", image)) }
	for i := 0; i < 2 && t.run.whole == 0; i++ { // the first takes longer
		begin := time.Now()
		checkpoint().succeed()
		if i > 0 {
			t.run.whole = time.Since(begin)
		}
	}
	whole := t.run.whole
	hit, away, rounds := 0, 0, 0
	least, enough := killedLeast, t.limit.Add(-t.run.Timeout*99/100)
	next, anyway := 1, false
	if t.run.Quick {
		least, enough = 1, time.Now()
		next, anyway = 2, t.run.kills%2 == 0 // one at an instant will do
		defer func() { t.run.kills-- }()
	}
	shown := func() bool { return hit > 0 && (away > 0 || anyway) }
	for rounds < killedRounds && (rounds < least || !shown() || time.Now().Before(enough)) {
		i := t.run.kills % killedRounds
		t.run.kills += next
		rounds++
		c := checkpoint()
		if i%2 == 0 {
			const prime = 7 // early and late instants in turn
			time.Sleep(whole * time.Duration(i/2*prime%(killedRounds/2)) / (killedRounds / 2))
		} else if t.seenAway(pid, c, before) {
			away++
			time.Sleep(time.Duration(i/2) * 100 * time.Microsecond)
		}
		_ = c.cmd.Process.Kill() // if it has not come to its end
		if c.exitStatus() < 0 {
			hit++
		}
		t.must(settled())
		now, err := pictureOf(pid)
		t.must(err)
		if now != before {
			t.Fatalf("killed in round %d, the program changed from\n%sto\n%s", rounds, before, now)
		}
	}
	t.Logf("%d of %d checkpoints were killed, %d of them when the program was seen away; a checkpoint takes %v",
		hit, rounds, away, whole)
	checkpoint().succeed()
	if !shown() {
		t.Skipf("%d checkpoints were killed, %d when the program was seen away: this machine is too slow, or too quick, for the test to show something", hit, away)
	}
}

// seenAway waits until the signals or mappings of a process are not what they
// were: it makes calls for a checkpoint. It returns false if that is over before.
func (t *T) seenAway(pid int, c *process, before string) bool {
	parts := func(s string) string { return s[strings.Index(s, "\n"):] } // but for the tracer
	for !c.exited() {
		now, err := pictureOf(pid)
		t.must(err)
		if parts(now) != parts(before) {
			return true
		}
	}
	return false
}

// pictureOf is what a checkpoint that is killed must leave alone of a process:
// its tracer, signals and mappings.
func pictureOf(pid int) (string, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "", err
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, line := range strings.Split(string(status), "\n") {
		for _, key := range []string{"TracerPid:", "SigPnd:", "ShdPnd:", "SigBlk:", "SigIgn:", "SigCgt:"} {
			if strings.HasPrefix(line, key) {
				b.WriteString(line + "\n")
			}
		}
	}
	return b.String() + string(maps), nil
}
