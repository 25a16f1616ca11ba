package selftest

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"cr/regset"
)

// casesOf lists the cases of an ABI.
func (r *run) casesOf(abi regset.ABI) []Case {
	var list []Case
	for _, c := range classes(abi) {
		if c.Regs(abi, func(string) uint64 { return 0 }) == nil {
			continue
		}
		list = append(list, registerCase(c, abi))
	}
	return append(list, debugCase(abi), callCase(abi), errorCase(abi), corruptCase(abi),
		killedCase(abi))
}

// registerCase checks the registers of one class.
func registerCase(c *Class, abi regset.ABI) Case {
	return Case{Name: c.Name, Tests: []Test{
		{"self", func(t *T) {
			defer t.saving(t.run.Keep, c, abi, "self")()
			t.movable(c, abi, t.run.Keep).self()
		}},
		{"external", func(t *T) {
			defer t.saving(t.run.Keep, c, abi, "external")()
			t.movable(c, abi, t.run.Keep).external()
		}},
	}}
}

// registers is a test of one class of registers.
type registers struct {
	t     *T
	class *Class
	prog  *program
	regs  []Reg
}

// registers prepares the test of a class, or skips it.
func (t *T) registers(c *Class, abi regset.ABI) *registers {
	if reason := t.run.lacks(c.Needs); reason != "" {
		t.Skipf("%s", reason)
	}
	p, err := unpack(t.run.dir, abi, c.Name)
	t.must(err)
	return &registers{t: t, class: c, prog: p, regs: c.Regs(abi, p.symbol)}
}

// argv is the program's command line. Its second argument is a file, which
// class files opens.
func (r *registers) argv(mode string) []string {
	path := r.t.file("file")
	r.t.must(os.WriteFile(path, []byte(fileContents), 0o644))
	return []string{r.prog.path, mode, path}
}

// external checkpoints the program while it spins.
func (r *registers) external() {
	image := r.checkpointSpinning()
	r.restartSpinning(image)
}

// checkpointSpinning runs the program to its spin, checkpoints it, and lets it
// go on to its end: that it was checkpointed must not show in it.
func (r *registers) checkpointSpinning() (image string) {
	t := r.t
	image = t.file("image")
	original := t.start(r.prog.class, r.argv("spin"))
	r.atSpin(original)
	t.start("cr checkpoint", t.cr("checkpoint", fmt.Sprint(original.pid()), "-o", image)).succeed()
	t.must(release(original.pid(), r.prog))
	original.succeed()
	r.check("original", original.out.Bytes(), patternP, 0)
	return image
}

// atSpin waits until the original spins, and has it go on without being in the
// way of the others.
func (r *registers) atSpin(original *process) {
	err := awaitSpin(original.pid(), r.prog, r.t.limit)
	if errors.Is(err, errExited) {
		r.lacking(original)
		original.succeed()
	}
	r.t.must(err)
	r.t.must(giveWay(original.pid()))
}

// lacking skips the test if the program found that it cannot be made here.
func (r *registers) lacking(original *process) {
	if original.exitStatus() == statusLacking && r.class.Lacks != "" {
		r.t.Skipf("%s", r.class.Lacks)
	}
}

// restartSpinning restarts the image of a spinning program.
func (r *registers) restartSpinning(image string) {
	t := r.t
	restart := t.start("cr restart", t.cr("restart", image))
	pid := restart.task(r.prog)
	t.must(awaitSpin(pid, r.prog, t.limit))
	t.must(release(pid, r.prog))
	restart.succeed()
	r.check("restarted", restart.out.Bytes(), patternP, 0)
}

// pass restarts the image of a spinning program, saves it once more, and ends it.
func (r *registers) pass(image, next string) {
	t := r.t
	restart := t.start("cr restart", t.cr("restart", image))
	pid := restart.task(r.prog)
	t.must(awaitSpin(pid, r.prog, t.limit))
	t.start("cr checkpoint", t.cr("checkpoint", fmt.Sprint(pid), "-o", next)).succeed()
	t.must(syscall.Kill(pid, syscall.SIGKILL))
	_ = restart.wait() // it ends as the program does
}

// self lets the program checkpoint itself.
func (r *registers) self() {
	r.restartSelf(r.checkpointSelf())
}

// restartSelf restarts the image of a program that checkpointed itself.
func (r *registers) restartSelf(image string) {
	restart := r.t.start("cr restart", r.t.cr("restart", image))
	restart.succeed()
	r.check("restarted", restart.out.Bytes(), afterCall, 0)
}

func (r *registers) checkpointSelf() (image string) {
	t := r.t
	image = t.file("image")
	original := t.start(r.prog.class, t.underCalls(r.argv("self")), t.create("image"))
	r.lacking(original)
	original.succeed()
	r.check("original", original.out.Bytes(), afterCall, 1)
	return image
}

// check compares both dumps of a program, and the result of its checkpoint
// call: 1 stands for any identifier.
func (r *registers) check(who string, out []byte, w which, result int64) {
	t := r.t
	abi := r.prog.abi
	dumps, err := parseDumps(abi, out, size(r.regs))
	t.must(err)
	if len(dumps) != 2 {
		t.Fatalf("%s: %d dumps, not 2", who, len(dumps))
	}
	for i, d := range dumps {
		if result == 0 && d.result != 0 || result > 0 && d.result <= 0 {
			t.Errorf("%s: checkpoint returned %d", who, d.result)
		}
		name := "P"
		if i == 1 {
			w, name = patternQ, "Q"
		}
		for _, line := range compare(abi, r.regs, d.body, w) {
			t.Errorf("%s, pattern %s: %s", who, name, line)
		}
	}
}
