// Package selftest checks, on the machine that it runs on, that a program comes
// back from a restart as it was at its checkpoint: every bit of every register,
// its memory, signals and files.
//
// Programs in assembly (targets/) load patterns into what is under test, are
// checkpointed, and print what they find; this package runs them, drives `cr`
// as a user does, compares, and reports in KTAP. Each case is made twice: self,
// where the program makes the checkpoint call, and external, where another
// process asks for it while the program spins.
package selftest

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"cr/internal/kconfig"
	"cr/regset"
)

// Config says which tests to run and how.
type Config struct {
	Out io.Writer // for KTAP

	// Executable is the `cr` to test; "" for this program itself.
	Executable string

	// Match selects tests by CASE/TEST, as gpr-32/self; nil for all.
	Match *regexp.Regexp

	// Skip leaves out tests by CASE/TEST; nil for none.
	Skip *regexp.Regexp

	// Quick kills but one checkpoint of a program where the test is to do that.
	Quick bool

	// Timeout is how long one test may take; 0 for a minute.
	Timeout time.Duration

	// TempDir is where programs and images are put; "" for the default.
	TempDir string

	// Native says that the kernel has the two calls itself: the emulation is
	// off, and the calls take the place of cr's sub-commands.
	Native bool

	// Numbers are those of the two calls, the zero value for the usual ones.
	Numbers Numbers

	// Kernel tells what the kernel is configured with; nil for the one that runs.
	Kernel *kconfig.Kernel

	// Save and Load make halves of tests, on two machines: Save is a directory
	// where programs and their images are left, Load one where they are found.
	// Both are a part in the middle: what is in Load is saved once more.
	Save, Load string

	// Keep is a directory where the tests of registers leave what Save would,
	// beside being made; "" for none.
	Keep string

	// Verbose shows the diagnostics of tests that pass, too.
	Verbose bool
}

// Case is a group of tests of one thing.
type Case struct {
	Name  string
	Tests []Test
}

// Test is one result.
type Test struct {
	Name string
	run  func(*T)
}

// run is one run of the tests.
type run struct {
	Config
	dir    string
	host   *host
	kernel *kconfig.Kernel
	abis   []regset.ABI // that the kernel runs

	whole time.Duration // a checkpoint of a small program; 0 if not known yet
	kills int           // checkpoints that were killed
}

// List gives the cases that Match and Skip select, on this machine.
func List(c Config) ([]Case, error) {
	r, err := newRun(c)
	if err != nil {
		return nil, err
	}
	defer r.remove()
	cases, _, err := r.cases()
	return cases, err
}

// Totals count the tests by their result.
type Totals struct{ Passed, Failed, Skipped int }

// Run runs the tests. The error says that tests could not be run or reported at
// all.
func Run(c Config) (Totals, error) {
	r, err := newRun(c)
	if err != nil {
		return Totals{}, err
	}
	defer r.remove()
	cases, notBuilt, err := r.cases()
	if err != nil {
		return Totals{}, err
	}
	rep := &report{w: r.Out}
	rep.begin(0, len(cases))
	for _, err := range notBuilt {
		rep.note(0, err.Error())
	}
	for i := range cases {
		r.runCase(rep, i+1, &cases[i])
	}
	rep.summary()
	return rep.totals, rep.err
}

func newRun(c Config) (*run, error) {
	if c.Executable == "" {
		exe, err := os.Executable()
		if err != nil {
			return nil, err
		}
		c.Executable = exe
	}
	if c.Timeout == 0 {
		c.Timeout = time.Minute
	}
	h, err := thisHost()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(c.TempDir, "cr-selftest-")
	if err != nil {
		return nil, err
	}
	// Programs in it are also run by other users.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	numbers = c.Numbers
	k := c.Kernel
	if k == nil {
		k = kconfig.Running()
	}
	if c.Keep == "" {
		c.Keep = filepath.Join(dir, "kept")
	}
	return &run{Config: c, dir: dir, host: h, kernel: k}, nil
}

func (r *run) remove() { os.RemoveAll(r.dir) }

// cases lists the cases that this machine's ABIs have and Match and Skip select.
func (r *run) cases() (selected []Case, notBuilt []error, err error) {
	runs, refused, notBuilt, err := abis(r.dir)
	if err != nil {
		return nil, nil, err
	}
	r.abis = runs
	for _, abi := range runs {
		suffix := ""
		if abi.WordSize() < runs[0].WordSize() {
			suffix = "-32"
		}
		list := r.casesOf(abi)
		switch {
		case r.Save != "" && r.Load != "":
			suffix, list = "", r.passCases(abi)
		case r.Save != "":
			suffix, list = "", r.saveCases(abi)
		case r.Load != "":
			suffix, list = "", r.loadCases(abi)
		}
		for _, c := range list {
			c.Name += suffix
			if c.Tests = r.matching(&c); len(c.Tests) > 0 {
				selected = append(selected, c)
			}
		}
	}
	for _, c := range r.compatCases(refused) {
		if c.Tests = r.matching(&c); len(c.Tests) > 0 {
			selected = append(selected, c)
		}
	}
	return selected, notBuilt, nil
}

func (r *run) matching(c *Case) []Test {
	var tests []Test
	for _, t := range c.Tests {
		name := c.Name + "/" + t.Name
		if (r.Match == nil || r.Match.MatchString(name)) && (r.Skip == nil || !r.Skip.MatchString(name)) {
			tests = append(tests, t)
		}
	}
	return tests
}

// runCase runs the tests of a case and reports each as it ends. The case fails
// if one does, and is skipped if all are.
func (r *run) runCase(rep *report, number int, c *Case) {
	rep.begin(1, len(c.Tests))
	all, reason := skipped, ""
	for i := range c.Tests {
		t := r.runTest(c.Name, &c.Tests[i])
		if t.outcome != passed || r.Verbose {
			for _, n := range t.notes {
				rep.note(1, n)
			}
		}
		rep.test(i+1, c.Tests[i].Name, t.outcome, t.reason)
		switch {
		case t.outcome == failed, t.outcome == timedOut:
			all = failed
		case t.outcome == passed && all == skipped:
			all = passed
		case t.outcome == skipped && reason == "":
			reason = t.reason
		}
	}
	rep.result(0, number, c.Name, all, reason)
}

func (r *run) runTest(caseName string, test *Test) *T {
	t := &T{run: r, name: caseName + "/" + test.Name, limit: time.Now().Add(r.Timeout)}
	dir, err := os.MkdirTemp(r.dir, "test-")
	if err != nil {
		t.Errorf("%v", err)
		return t
	}
	t.dir = dir
	t.do(test.run)
	return t
}
