// Package ktap reads test results in the kernel's test anything protocol
// (Documentation/dev-tools/ktap.rst in the kernel's sources).
package ktap

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// Result is the result of one test.
type Result struct {
	Name string
	OK   bool

	// Directive is SKIP, TODO, XFAIL, TIMEOUT, ERROR or "", and Reason what
	// follows it.
	Directive string
	Reason    string

	// Diagnostics are the lines that begin with # between the result before
	// and this one, without the #.
	Diagnostics []string

	Subtests []Result
}

// maxLine is the longest line that is read, in bytes.
const maxLine = 1 << 20

// ErrBailOut is the error of tests that gave up as a whole.
var ErrBailOut = errors.New("bail out")

// Reader reads the results of one run of tests.
type Reader struct {
	lines  *bufio.Scanner
	levels []*level // the outermost first
}

// level is what was read at one depth of indentation and has not gone to the
// test around it.
type level struct {
	indent      int
	planned     int // -1 if no plan was read
	results     []Result
	diagnostics []string
}

func newLevel(indent int) *level { return &level{indent: indent, planned: -1} }

// NewReader reads from r. Lines that are no KTAP are passed over.
func NewReader(r io.Reader) *Reader {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	return &Reader{lines: lines, levels: []*level{newLevel(0)}}
}

var (
	resultLine = regexp.MustCompile(`^(ok|not ok) (\d+)(?:$|\s+(?:- )?(.*))`)
	planLine   = regexp.MustCompile(`^1\.\.(\d+)(?:\s|$)`)
	directive  = regexp.MustCompile(`(?:^|\s)#\s*(SKIP|TODO|XFAIL|TIMEOUT|ERROR)\b:?\s*(.*)$`)
)

// Next returns the next result that is not a subtest's. At the end of the input
// it returns io.EOF if there were as many as planned, an error that is
// io.ErrUnexpectedEOF if not.
func (r *Reader) Next() (*Result, error) {
	top := r.levels[0]
	for r.lines.Scan() {
		line := strings.TrimRight(r.lines.Text(), "\r")
		text := strings.TrimLeft(line, " ")
		indent := len(line) - len(text)
		if reason, ok := strings.CutPrefix(text, "Bail out!"); ok {
			return nil, fmt.Errorf("%w: %s", ErrBailOut, strings.TrimSpace(reason))
		}
		if m := planLine.FindStringSubmatch(text); m != nil {
			if n, err := strconv.Atoi(m[1]); err == nil {
				r.at(indent).planned = n
			}
		} else if m := resultLine.FindStringSubmatch(text); m != nil {
			r.result(indent, m[1] == "ok", m[3])
			if indent == 0 {
				return &top.results[len(top.results)-1], nil
			}
		} else if note, ok := strings.CutPrefix(text, "#"); ok {
			l := r.at(indent)
			l.diagnostics = append(l.diagnostics, strings.TrimPrefix(note, " "))
		}
	}
	if err := r.lines.Err(); err != nil {
		return nil, err
	}
	switch {
	case top.planned < 0:
		return nil, fmt.Errorf("no plan: %w", io.ErrUnexpectedEOF)
	case len(top.results) != top.planned:
		return nil, fmt.Errorf("%d of %d results: %w", len(top.results), top.planned, io.ErrUnexpectedEOF)
	}
	return nil, io.EOF
}

// at returns the level of a line that is indented so much.
func (r *Reader) at(indent int) *level {
	for i := len(r.levels) - 1; i >= 0; i-- {
		if r.levels[i].indent == indent {
			return r.levels[i]
		}
		if r.levels[i].indent < indent {
			l := newLevel(indent)
			r.levels = append(r.levels[:i+1], append([]*level{l}, r.levels[i+1:]...)...)
			return l
		}
	}
	return r.levels[0]
}

// result adds a result, whose subtests are those that are indented more.
func (r *Reader) result(indent int, ok bool, description string) {
	l := r.at(indent)
	res := Result{Name: strings.TrimSpace(description), OK: ok}
	if m := directive.FindStringSubmatchIndex(description); m != nil {
		res.Name = strings.TrimSpace(description[:m[0]])
		res.Directive = description[m[2]:m[3]]
		res.Reason = strings.TrimSpace(description[m[4]:m[5]])
	}
	res.Diagnostics = l.diagnostics
	l.diagnostics = nil
	for last := len(r.levels) - 1; r.levels[last] != l; last-- {
		sub := r.levels[last]
		r.levels = r.levels[:last]
		res.Subtests = append(sub.results, res.Subtests...)
		res.Diagnostics = append(res.Diagnostics, sub.diagnostics...)
		if sub.planned >= 0 && len(sub.results) != sub.planned {
			res.OK = false
			res.Diagnostics = append(res.Diagnostics, fmt.Sprintf("%d of %d results", len(sub.results), sub.planned))
		}
	}
	l.results = append(l.results, res)
}
