package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/pflag"
)

//go:generate go run . man ../../docs/man ../../docs/abi.md

var manCommand = &command{
	name:     "man",
	args:     "DIRECTORY [ABI.md]",
	short:    "write the manual pages of the commands, and from docs/abi.md those of the calls",
	examples: []string{"cr man /usr/local/share/man/man1"},
	hidden:   true,
	setup: func(*pflag.FlagSet) func([]string) (int, error) {
		return func(args []string) (int, error) {
			if len(args) != 1 && len(args) != 2 {
				return 0, usageError("name a directory")
			}
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return 0, err
			}
			for name, text := range manPages() {
				if err := os.WriteFile(filepath.Join(args[0], name), text, 0o644); err != nil {
					return 0, err
				}
			}
			if len(args) == 2 {
				return 0, writeCallPages(args[1], args[0])
			}
			return 0, nil
		}
	},
}

// manPages are the manual pages, in the macros of man(7), by file name.
func manPages() map[string][]byte {
	pages := map[string][]byte{"cr.1": manOverview()}
	for _, c := range listed() {
		pages["cr-"+c.name+".1"] = c.man()
	}
	return pages
}

// manPage writes roff.
type manPage struct{ bytes.Buffer }

func newManPage(name, short string) *manPage {
	p := new(manPage)
	p.line(`.\" Made by: cr man`)
	p.line(`.TH "%s" 1 "" "cr %s" "cr"`, strings.ToUpper(roff(name)), version)
	p.line(".SH NAME\n%s \\- %s", roff(name), roff(short))
	return p
}

func (p *manPage) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

// paragraphs writes text whose paragraphs have an empty line between them.
func (p *manPage) paragraphs(text string) {
	for i, part := range strings.Split(text, "\n\n") {
		if i > 0 {
			p.line(".PP")
		}
		p.line("%s", roffFilled(part))
	}
}

func (p *manPage) examples(list []string) {
	if len(list) == 0 {
		return
	}
	p.line(".SH EXAMPLES\n.EX")
	for _, e := range list {
		p.line("%s", roffLine(e))
	}
	p.line(".EE")
}

// roff makes text of characters that roff would change or obey.
func roff(s string) string {
	return strings.NewReplacer(`\`, `\(rs`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(s)
}

// roffLine is a line of text: not a request, whatever it begins with.
func roffLine(s string) string {
	if s = roff(s); strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}

func roffFilled(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = roffLine(lines[i])
	}
	return strings.Join(lines, "\n")
}

// synopsis is a usage line: what is to be typed as it is in bold, what is to be
// replaced in italics.
func (c *command) synopsis() string {
	optionWord, placeWord := regexp.MustCompile(`(^|[[ |])(\\-[a-z]|\\-\\-[a-z]+)`), regexp.MustCompile(`[A-Z]{2,}`)
	args := optionWord.ReplaceAllString(roff(c.args), `$1\fB$2\fR`)
	args = placeWord.ReplaceAllString(args, `\fI$0\fR`)
	return strings.TrimSpace(`\fBcr ` + c.name + `\fR ` + args)
}

func (c *command) man() []byte {
	p := newManPage("cr-"+c.name, c.short)
	p.line(".SH SYNOPSIS\n%s", c.synopsis())
	if c.long != "" {
		p.line(".SH DESCRIPTION")
		p.paragraphs(c.long)
	}
	if options := c.options(); len(options) > 0 {
		p.line(".SH OPTIONS")
		for _, o := range options {
			p.line(".TP\n%s\n%s", o.roff(), roffFilled(o.usage))
		}
	}
	p.examples(c.examples)
	p.line(".SH SEE ALSO\n.BR cr (1)")
	return p.Bytes()
}

// roff is an option as the head of its description.
func (o *option) roff() string {
	var forms []string
	for _, f := range o.flags() {
		forms = append(forms, `\fB`+roff(f)+`\fR`)
	}
	text := strings.Join(forms, ", ")
	if o.value != "" {
		text += `=\fI` + roff(o.value) + `\fR`
	}
	return text
}

func manOverview() []byte {
	p := newManPage("cr", "checkpoint and restart of running programs")
	p.line(".SH SYNOPSIS\n\\fBcr\\fR \\fICOMMAND\\fR [\\fIARGUMENT\\fR ...]")
	p.line(".SH DESCRIPTION")
	p.paragraphs("cr saves running programs and lets them go on later: after a reboot, on another\n" +
		"machine, as often as one likes. It gives Linux the system calls checkpoint and\n" +
		"restart on kernels that have not got them.")
	p.line(".SH COMMANDS")
	for _, c := range listed() {
		p.line(".TP\n.BR cr\\-%s (1)\n%s", c.name, roffFilled(c.short))
	}
	p.line(".SH EXIT STATUS")
	p.paragraphs("0 for success, 125 if cr itself fails. Commands that run a program exit as it\n" +
		"does, those that compare or check have statuses of their own.")
	p.line(".SH SHELL COMPLETION")
	p.paragraphs("The following prints what a shell has to read; the shells are bash, zsh and fish.")
	p.line(".PP\n.EX\n%s\n.EE", roffLine("cr completion bash"))
	p.line(".SH SEE ALSO\n.BR checkpoint (2),\n.BR restart (2)")
	return p.Bytes()
}
