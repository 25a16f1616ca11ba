package selftest

import (
	"fmt"
	"io"
	"strings"
)

// outcome of a test.
type outcome int

const (
	passed outcome = iota
	failed
	skipped
	timedOut
)

// report writes KTAP version 1 (Documentation/dev-tools/ktap.rst), with one
// level of nesting: a case and its tests.
type report struct {
	w      io.Writer
	totals Totals
	err    error // the first of w
}

func (r *report) printf(indent int, format string, args ...interface{}) {
	text := strings.TrimRight(fmt.Sprintf(format, args...), "\n")
	for _, line := range strings.Split(text, "\n") {
		if _, err := fmt.Fprintf(r.w, "%s%s\n", strings.Repeat("  ", indent), line); err != nil && r.err == nil {
			r.err = err
		}
	}
}

// begin begins a list of n results with the version and the plan.
func (r *report) begin(indent, n int) {
	r.printf(indent, "KTAP version 1\n1..%d", n)
}

// note writes a diagnostic; every line of it begins with a #.
func (r *report) note(indent int, text string) {
	r.printf(indent, "# %s", strings.Replace(strings.TrimRight(text, "\n"), "\n", "\n# ", -1))
}

// result writes the line of a test or of a case.
func (r *report) result(indent, number int, name string, o outcome, reason string) {
	line := fmt.Sprintf("ok %d %s", number, name)
	switch o {
	case failed:
		line = "not " + line
	case timedOut:
		line = "not " + line + " # TIMEOUT"
	case skipped:
		line += " # SKIP " + strings.Replace(reason, "\n", "; ", -1)
	}
	r.printf(indent, "%s", line)
}

// test writes the line of a test, and counts it.
func (r *report) test(number int, name string, o outcome, reason string) {
	r.result(1, number, name, o, reason)
	switch o {
	case passed:
		r.totals.Passed++
	case skipped:
		r.totals.Skipped++
	default:
		r.totals.Failed++
	}
}

// summary writes the totals the way kselftest does.
func (r *report) summary() {
	r.printf(0, "# Totals: pass:%d fail:%d xfail:0 xpass:0 skip:%d error:0",
		r.totals.Passed, r.totals.Failed, r.totals.Skipped)
}
