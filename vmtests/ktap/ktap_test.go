package ktap_test

import (
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"cr/vmtests/ktap"
)

// read reads all results and returns the error that is not io.EOF.
func read(r io.Reader) ([]ktap.Result, error) {
	k := ktap.NewReader(r)
	var all []ktap.Result
	for {
		res, err := k.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, *res)
	}
}

var tests = []struct {
	name  string
	input string
	want  []ktap.Result
	err   error
}{
	{name: "empty", input: "", err: io.ErrUnexpectedEOF},
	{name: "no tests", input: "KTAP version 1\n1..0\n"},
	{
		name:  "flat",
		input: "KTAP version 1\n1..3\nok 1 gpr\n# f1: got 1, want 2\n# f2\nnot ok 2 - fpr\nok 3 vmx # SKIP no AltiVec\n# Totals: pass:1\n",
		want: []ktap.Result{
			{Name: "gpr", OK: true},
			{Name: "fpr", Diagnostics: []string{"f1: got 1, want 2", "f2"}},
			{Name: "vmx", OK: true, Directive: "SKIP", Reason: "no AltiVec"},
		},
	},
	{
		name: "nested",
		input: `KTAP version 1
1..2
    KTAP version 1
    1..2
    ok 1 self
    # r31: got 0
    not ok 2 external
not ok 1 gpr-32
  1..1
    ok 1 deepest
  ok 1 deeper # skip of nothing
ok 2 fpr-32
`,
		want: []ktap.Result{
			{Name: "gpr-32", Subtests: []ktap.Result{
				{Name: "self", OK: true},
				{Name: "external", Diagnostics: []string{"r31: got 0"}},
			}},
			{Name: "fpr-32", OK: true, Subtests: []ktap.Result{
				{Name: "deeper # skip of nothing", OK: true, Subtests: []ktap.Result{{Name: "deepest", OK: true}}},
			}},
		},
	},
	{
		name:  "subtests missing",
		input: "1..1\n  1..3\n  ok 1 a\nok 1 x\n",
		want: []ktap.Result{{
			Name: "x", Diagnostics: []string{"1 of 3 results"}, Subtests: []ktap.Result{{Name: "a", OK: true}},
		}},
	},
	{
		name:  "noise and carriage returns",
		input: "[    1.0] kernel: hello\r\nKTAP version 1\r\n1..1\r\nok\r\nok 1\r\nnot okay 2\r\n",
		want:  []ktap.Result{{OK: true}},
	},
	{
		name:  "cut short",
		input: "1..3\nok 1 a\n# b hangs\n    ok 1 self\n",
		want:  []ktap.Result{{Name: "a", OK: true}},
		err:   io.ErrUnexpectedEOF,
	},
	{
		name:  "more than planned",
		input: "1..1\nok 1 a\nok 2 b\n",
		want:  []ktap.Result{{Name: "a", OK: true}, {Name: "b", OK: true}},
		err:   io.ErrUnexpectedEOF,
	},
	{
		name:  "bail out",
		input: "1..2\nok 1 a\nBail out! no memory\nok 2 b\n",
		want:  []ktap.Result{{Name: "a", OK: true}},
		err:   ktap.ErrBailOut,
	},
	{
		name:  "no plan",
		input: "ok 1 a\n",
		want:  []ktap.Result{{Name: "a", OK: true}},
		err:   io.ErrUnexpectedEOF,
	},
	{
		name:  "directive only",
		input: "1..2\nok 1 # SKIP\nnot ok 2 a #b # TIMEOUT: 30 s\n",
		want: []ktap.Result{
			{OK: true, Directive: "SKIP"},
			{Name: "a #b", Directive: "TIMEOUT", Reason: "30 s"},
		},
	},
}

func TestReader(t *testing.T) {
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := read(strings.NewReader(test.input))
			require.ErrorIs(t, err, test.err)
			require.Equal(t, test.want, got)
		})
	}
}

func TestLineTooLong(t *testing.T) {
	_, err := read(strings.NewReader("1..1\nok 1 " + strings.Repeat("x", 2<<20) + "\n"))
	require.Error(t, err)
}

func FuzzReader(f *testing.F) {
	for _, test := range tests {
		f.Add(test.input)
	}
	outermost := regexp.MustCompile(`^(not )?ok \d+(\s|$)`)
	f.Fuzz(func(t *testing.T, input string) {
		got, err := read(strings.NewReader(input))
		again, errAgain := read(iotest.OneByteReader(strings.NewReader(input)))
		require.Equal(t, got, again)
		require.Equal(t, err, errAgain)
		if errors.Is(err, ktap.ErrBailOut) {
			return
		}
		want := 0
		for _, line := range strings.Split(input, "\n") {
			if outermost.MatchString(strings.TrimRight(line, "\r")) {
				want++
			}
		}
		require.Len(t, got, want)
	})
}
