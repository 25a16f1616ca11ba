package vmtests

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"path"
	"strings"
	"testing"
	"time"

	"cr/initramfs/agent"
	"cr/vmtests/ktap"
)

// TestGuest runs the selftest in every guest. Its cases are subtests, as
// TestGuest/ppc64-power9/vmx-32/self.
func TestGuest(t *testing.T) {
	for _, g := range Guests {
		as, _, _ := chosen.of(g)
		t.Run(as.Name, func(t *testing.T) {
			if g.Slow && testing.Short() {
				t.Skip("left out by -short")
			}
			t.Parallel()
			m, err := guests.try(t, as)
			var argv []string
			run := flag.Lookup("test.run").Value.String()
			only := pattern(run)
			if only != "" {
				argv = append(argv, "--run="+only)
			}
			switch {
			case errors.Is(err, ErrNoPort):
				t.Log(err)
				selftest(t, m.guest.selftestOnConsole, argv)
			case err != nil:
				t.Fatal(err)
			default:
				if other := leftTo(as); other != "" && !strings.Contains(run, "/") {
					argv = append(argv, "--skip=^("+strings.Join(once, "|")+")(-32)?/")
					for _, name := range once {
						t.Run(name, func(t *testing.T) { t.Skip("nothing in it depends on the CPU: " + other + " has it") })
					}
				}
				// The other tests take the images.
				results := selftest(t, m.Run, append(argv, "--quick", "--keep="+path.Join(agent.Dir, m.Guest.Name)))
				if only == "" {
					m.keep(results)
				}
			}
		})
	}
}

// once are the cases that are made once for each kernel and compiler of cr: they
// look at what the calls answer, and at the tests themselves.
var once = []string{"call", "errors", "corrupt"}

// leftTo is the guest that makes those cases for another, "" if it does itself: the
// first of those that are booted.
func leftTo(g Guest) string {
	for _, other := range Guests {
		as, _, leftOut := chosen.of(other)
		switch {
		case leftOut != "" || other.Slow && testing.Short() || as.Kernel != g.Kernel || as.Flavour != g.Flavour:
		case as.Name == g.Name:
			return ""
		default:
			return as.Name
		}
	}
	return ""
}

// selftestOnConsole runs a command in a guest that is booted for it, and that
// prints its output on the console.
func (p *prepared) selftestOnConsole(ctx context.Context, c Command) error {
	out := c.Stdout
	if p.w != nil {
		out = io.MultiWriter(out, p.w)
	}
	status, err := p.RunOnConsole(ctx, p.files, p.config, Quote(c.Argv), out)
	if err == nil && status != 0 {
		err = &ExitError{Argv: c.Argv, Status: status}
	}
	return err
}

// selftest runs cr selftest in a guest and reports its results as subtests. It
// returns those of CASE/TEST.
func selftest(t *testing.T, in func(context.Context, Command) error, options []string) map[string]ktap.Result {
	argv := append([]string{"cr", "selftest"}, options...)
	ctx, alive, stop := watchdog(t.Context(), *idleFlag)
	defer stop()

	var stderr bytes.Buffer
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := in(ctx, Command{Argv: argv, Stdout: io.MultiWriter(w, alive), Stderr: io.MultiWriter(&stderr, alive)})
		w.Close()
		ended <- err
	}()
	failed := false
	all := make(map[string]ktap.Result)
	readErr := report(t, ktap.NewReader(r), all, &failed)
	r.Close()
	err := <-ended

	// A failed test fails the selftest as a whole, which is no news. Nor is that
	// all were skipped.
	const allSkipped = 4
	var exit *ExitError
	if errors.As(err, &exit) && readErr == nil && (failed || exit.Status == allSkipped) {
		err = nil
	}
	if err := errors.Join(err, readErr); err != nil {
		t.Errorf("%s: %v\n%s", strings.Join(argv, " "), err, stderr.String())
	}
	return all
}

// report makes each result a subtest, adds it to all, and sets failed if one is
// not ok.
func report(t *testing.T, results *ktap.Reader, all map[string]ktap.Result, failed *bool) error {
	for {
		res, err := results.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !res.OK {
			*failed = true
		}
		for _, test := range res.Subtests {
			all[res.Name+"/"+test.Name] = test
		}
		subtest(t, res)
	}
}

func subtest(t *testing.T, res *ktap.Result) {
	t.Run(res.Name, func(t *testing.T) {
		for i := range res.Subtests {
			subtest(t, &res.Subtests[i])
		}
		notes := strings.Join(res.Diagnostics, "\n")
		switch {
		case res.Directive == "SKIP":
			t.Skip(res.Reason)
		case !res.OK && !t.Failed():
			t.Error(strings.TrimSpace(strings.Join([]string{res.Directive, res.Reason, notes}, " ")))
		case notes != "":
			t.Log(notes)
		}
	})
}

// pattern makes, of the -run pattern of go test, the regular expression that
// selects the same cases of the selftest. It selects more, or all, where that
// is hard to say; go test makes the last choice.
func pattern(run string) string {
	_, run, _ = strings.Cut(run, "/") // the test
	_, run, _ = strings.Cut(run, "/") // the guest
	if run == "" {
		return ""
	}
	var only strings.Builder
	only.WriteString("^")
	for i, part := range strings.Split(run, "/") {
		if i > 0 {
			only.WriteString("/")
		}
		begin, end := "[^/]*", "[^/]*"
		if rest, ok := strings.CutPrefix(part, "^"); ok {
			begin, part = "", rest
		}
		if rest, ok := strings.CutSuffix(part, "$"); ok {
			end, part = "", rest
		}
		if strings.ContainsAny(part, `^$|\[]`) {
			return ""
		}
		only.WriteString(begin + "(?:" + part + ")" + end)
	}
	only.WriteString("(/|$)")
	return only.String()
}

// watchdog returns a context that ends when nothing has been written to alive
// for so long.
func watchdog(parent context.Context, limit time.Duration) (ctx context.Context, alive io.Writer, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	if *gdbFlag {
		limit = forever
	}
	timer := time.AfterFunc(limit, func() { cancel(fmt.Errorf("nothing for %v", limit)) })
	return ctx, touch(func() { timer.Reset(limit) }), func() {
		timer.Stop()
		cancel(nil)
	}
}

// forever is how long a guest may stand still that is debugged.
const forever = 1000 * time.Hour

type touch func()

func (f touch) Write(b []byte) (int, error) {
	f()
	return len(b), nil
}
