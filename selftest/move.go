package selftest

import (
	"os"
	"path/filepath"

	"cr/regset"
)

// A test can be made on two machines: the first saves programs with their
// images, the second finds them below the same path and restarts them. What a
// program of an ABI leaves in a mode, self or external, is in
// DIR/ABI/CLASS.MODE; the programs are DIR/ABI/CLASS.

// Images lists the images that Config.Save has left in a directory, by the name
// of the test, as gpr-ppc/self, that restarts them.
func Images(dir string) (map[string]string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*", "image"))
	if err != nil {
		return nil, err
	}
	images := make(map[string]string)
	for _, path := range paths {
		parent := filepath.Dir(path)
		abi, name := filepath.Base(filepath.Dir(parent)), filepath.Base(parent)
		mode := filepath.Ext(name)
		images[name[:len(name)-len(mode)]+"-"+abi+"/"+mode[1:]] = path
	}
	return images, nil
}

// moveDir is where a test leaves or finds its files.
func moveDir(dir string, abi regset.ABI, class, mode string) string {
	return filepath.Join(dir, abi.String(), class+"."+mode)
}

// saveCases are the tests of registers that end with a checkpoint.
func (r *run) saveCases(abi regset.ABI) []Case {
	return r.moveCases(abi, func(t *T, c *Class, mode string) {
		defer t.saving(r.Save, c, abi, mode)()
		if mode == "self" {
			t.movable(c, abi, r.Save).checkpointSelf()
			return
		}
		t.movable(c, abi, r.Save).checkpointSpinning()
	})
}

// loadCases are the tests that restart what saveCases has left.
func (r *run) loadCases(abi regset.ABI) []Case {
	return r.moveCases(abi, func(t *T, c *Class, mode string) {
		dir := moveDir(r.Load, abi, c.Name, mode)
		image := filepath.Join(dir, "image")
		if _, err := os.Stat(image); err != nil {
			t.Skipf("no image: %v", err)
		}
		defer t.use(dir)()
		regs := t.movable(c, abi, r.Load)
		if mode == "self" {
			regs.restartSelf(image)
			return
		}
		regs.restartSpinning(image)
	})
}

// passCases are the tests that restart what saveCases has left while it spins, and
// save it once more before it has gone on: on the way to a third machine.
func (r *run) passCases(abi regset.ABI) []Case {
	cases := r.moveCases(abi, func(t *T, c *Class, mode string) {
		dir := moveDir(r.Load, abi, c.Name, mode)
		image := filepath.Join(dir, "image")
		if _, err := os.Stat(image); err != nil {
			t.Skipf("no image: %v", err)
		}
		next := moveDir(r.Save, abi, c.Name, mode)
		t.must(os.MkdirAll(next, 0o755))
		defer t.use(dir)()
		t.movable(c, abi, r.Load).pass(image, filepath.Join(next, "image"))
	})
	for i := range cases {
		cases[i].Tests = cases[i].Tests[1:] // one that saves itself does not wait
	}
	return cases
}

// moveCases has the same two tests for each class.
func (r *run) moveCases(abi regset.ABI, f func(t *T, c *Class, mode string)) []Case {
	var list []Case
	for _, c := range classes(abi) {
		c := c
		if c.Regs(abi, func(string) uint64 { return 0 }) == nil {
			continue
		}
		list = append(list, Case{Name: c.Name + "-" + abi.String(), Tests: []Test{
			{"self", func(t *T) { f(t, c, "self") }},
			{"external", func(t *T) { f(t, c, "external") }},
		}})
	}
	return list
}

// saving skips the test of a class that the machine has not, and makes the
// directory where its files stay that of the test, until the function that it
// returns is called.
func (t *T) saving(dir string, c *Class, abi regset.ABI, mode string) (back func()) {
	if reason := t.run.lacks(c.Needs); reason != "" {
		t.Skipf("%s", reason)
	}
	dir = moveDir(dir, abi, c.Name, mode)
	t.must(os.MkdirAll(dir, 0o755))
	return t.use(dir)
}

// use makes a directory that of the test's files until the function that it
// returns is called.
func (t *T) use(dir string) (back func()) {
	own := t.dir
	t.dir = dir
	return func() { t.dir = own }
}

// movable is the test of a class whose program is in a directory that stays.
func (t *T) movable(c *Class, abi regset.ABI, dir string) *registers {
	p, err := unpack(dir, abi, c.Name)
	t.must(err)
	return &registers{t: t, class: c, prog: p, regs: c.Regs(abi, p.symbol)}
}
