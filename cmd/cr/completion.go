package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/pflag"
)

var completionCommand = &command{
	name:  "completion",
	args:  "SHELL",
	short: "print what makes a shell complete cr's command lines",
	long:  "SHELL is bash, zsh or fish.",
	examples: []string{
		". <(cr completion bash)",
		"cr completion zsh >\"${fpath[1]}/_cr\"",
		"cr completion fish >~/.config/fish/completions/cr.fish",
	},
	hidden: true,
	setup: func(*pflag.FlagSet) func([]string) (int, error) {
		return func(args []string) (int, error) {
			if len(args) != 1 {
				return 0, usageError("name a shell")
			}
			write := map[string]func(io.Writer){"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}[args[0]]
			if write == nil {
				return 0, usageError(fmt.Sprintf("%q is none of bash, zsh and fish", args[0]))
			}
			var b bytes.Buffer
			write(&b)
			_, err := os.Stdout.Write(b.Bytes())
			return 0, err
		}
	},
}

// kind says what can stand in a place of a command line.
type kind int

const (
	anything kind = iota
	aFile
	aDirectory
	aPID
	aProgram // and its arguments
	aWord    // one of a list
)

// places says what stands where usage lines and options have a word.
var places = map[string]kind{
	"FILE": aFile, "IMAGE": aFile, "OUT": aFile, "DIRECTORY": aDirectory, "PID": aPID, "PROGRAM": aProgram,
	"COMMAND": aWord, "SHELL": aWord,
}

// operand says what the arguments of a command are, and which words they can
// be.
func (c *command) operand() (kind, []string) {
	for _, word := range strings.Fields(c.args) {
		word = strings.Trim(word, "[].")
		k := places[word]
		switch {
		case word == "COMMAND":
			return k, names(listed())
		case word == "SHELL":
			return k, []string{"bash", "zsh", "fish"}
		case k != anything:
			return k, nil
		}
	}
	return anything, nil
}

func names(list []*command) []string {
	var out []string
	for _, c := range list {
		out = append(out, c.name)
	}
	return out
}

// option is an option of a command as completions and manual pages show it.
type option struct {
	long, short string
	value       string // name of its value, "" if it has none
	usage       string // in one line
	kind        kind
	words       []string
}

// options lists the options that are not hidden, with their defaults where these
// are not empty. The words that one can have are those in quotes in its usage.
func (c *command) options() []option {
	var list []option
	quotedWord := regexp.MustCompile(`"([a-z]+)"`)
	c.flags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		o := option{long: f.Name, short: f.Shorthand, value: value, usage: strings.Join(strings.Fields(usage), " ")}
		o.kind = places[value]
		for _, m := range quotedWord.FindAllStringSubmatch(usage, -1) {
			o.kind, o.words = aWord, append(o.words, m[1])
		}
		switch f.DefValue {
		case "", "0", "false":
		default:
			o.usage += " (default " + f.DefValue + ")"
		}
		list = append(list, o)
	})
	return list
}

// flags are the ways to write an option.
func (o *option) flags() []string {
	if o.short == "" {
		return []string{"--" + o.long}
	}
	return []string{"-" + o.short, "--" + o.long}
}

func bashCompletion(w io.Writer) {
	fmt.Fprint(w, `# Completion of cr's command lines for bash, made by: cr completion bash

_cr_words() { COMPREPLY=($(compgen -W "$1" -- "$cur")); }

_cr_files() {
	compopt -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <(compgen "$1" -- "$cur")
}

_cr_pids() { _cr_words "$(cd /proc && echo [0-9]*)"; }

_cr_program() {
	local i=2
	while ((i < COMP_CWORD)) && [[ ${COMP_WORDS[i]} == -* || ${COMP_WORDS[i]} == "=" || ${COMP_WORDS[i - 1]} == "=" ]]; do
		[[ ${COMP_WORDS[i++]} == -- ]] && break
	done
	if ((i == COMP_CWORD)) && [[ $cur == -* ]]; then
		_cr_words "$1"
	elif ((i == COMP_CWORD)); then
		_cr_files -c
	elif declare -F _command_offset >/dev/null; then
		_command_offset $i
	else
		_cr_files -f
	fi
}

_cr() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
`)
	fmt.Fprintf(w, "\t\t_cr_words %s\n\t\treturn\n\tfi\n", quote(strings.Join(names(listed()), " ")))
	fmt.Fprint(w, `	[[ $cur == "=" ]] && cur=
	[[ $prev == "=" ]] && prev=${COMP_WORDS[COMP_CWORD - 2]}
	case ${COMP_WORDS[1]} in
`)
	for _, c := range commands {
		bashCommand(w, c)
	}
	fmt.Fprint(w, "\tesac\n}\n\ncomplete -F _cr cr\n")
}

func bashCommand(w io.Writer, c *command) {
	fmt.Fprintf(w, "\t%s)\n", c.name)
	var all []string
	valued := false
	for _, o := range c.options() {
		all = append(all, o.flags()...)
		valued = valued || o.value != ""
	}
	k, words := c.operand()
	if k == aProgram {
		fmt.Fprintf(w, "\t\t_cr_program %s\n\t\t;;\n", quote(strings.Join(all, " ")))
		return
	}
	if valued {
		fmt.Fprint(w, "\t\tcase $prev in\n")
		for _, o := range c.options() {
			if o.value != "" {
				fmt.Fprintf(w, "\t\t%s)\n\t\t\t%s\n\t\t\treturn\n\t\t\t;;\n", strings.Join(o.flags(), " | "), bashPlace(o.kind, o.words))
			}
		}
		fmt.Fprint(w, "\t\tesac\n")
	}
	if len(all) > 0 {
		fmt.Fprintf(w, "\t\tif [[ $cur == -* ]]; then\n\t\t\t_cr_words %s\n\t\t\treturn\n\t\tfi\n", quote(strings.Join(all, " ")))
	}
	fmt.Fprintf(w, "\t\t%s\n\t\t;;\n", bashPlace(k, words))
}

func bashPlace(k kind, words []string) string {
	switch k {
	case aFile:
		return "_cr_files -f"
	case aDirectory:
		return "_cr_files -d"
	case aPID:
		return "_cr_pids"
	case aWord:
		return "_cr_words " + quote(strings.Join(words, " "))
	}
	return ":"
}

func zshCompletion(w io.Writer) {
	fmt.Fprint(w, "#compdef cr\n# Completion of cr's command lines for zsh, made by: cr completion zsh\n\n"+
		"_cr() {\n\tlocal -a commands\n\tcommands=(\n")
	for _, c := range listed() {
		fmt.Fprintf(w, "\t\t%s\n", quote(c.name+":"+c.short))
	}
	fmt.Fprint(w, "\t)\n\tif ((CURRENT == 2)); then\n\t\t_describe command commands\n\t\treturn\n\tfi\n"+
		"\tshift words\n\t((CURRENT--))\n\tcase $words[1] in\n")
	for _, c := range commands {
		fmt.Fprintf(w, "\t%s)\n\t\t_arguments -s", c.name)
		for _, o := range c.options() {
			fmt.Fprintf(w, " \\\n\t\t\t%s", zshOption(&o))
		}
		k, words := c.operand()
		switch k {
		case anything:
		case aProgram:
			fmt.Fprintf(w, " \\\n\t\t\t'(-)1:program:_command_names -e' \\\n\t\t\t'*::argument:_normal'")
		default:
			fmt.Fprintf(w, " \\\n\t\t\t%s", quote("*:"+zshPlace(k, words)))
		}
		fmt.Fprint(w, "\n\t\t;;\n")
	}
	fmt.Fprint(w, "\tesac\n}\n\nif [[ $funcstack[1] == _cr ]]; then\n\t_cr \"$@\"\nelse\n\tcompdef _cr cr\nfi\n")
}

func zshOption(o *option) string {
	usage := "[" + strings.NewReplacer("[", `\[`, "]", `\]`).Replace(o.usage) + "]"
	short, long := "-"+o.short, "--"+o.long
	if o.value != "" {
		usage += ":" + zshPlace(o.kind, o.words)
		short, long = short+"+", long+"="
	}
	if o.short == "" {
		return quote(long + usage)
	}
	return fmt.Sprintf("'(-%s --%s)'{%s,%s}%s", o.short, o.long, short, long, quote(usage))
}

func zshPlace(k kind, words []string) string {
	switch k {
	case aFile:
		return "file:_files"
	case aDirectory:
		return "directory:_files -/"
	case aPID:
		return "pid:_pids"
	case aWord:
		return "word:(" + strings.Join(words, " ") + ")"
	}
	return "value: "
}

func fishCompletion(w io.Writer) {
	fmt.Fprint(w, "# Completion of cr's command lines for fish, made by: cr completion fish\n\ncomplete -c cr -f\n")
	for _, c := range listed() {
		fmt.Fprintf(w, "complete -c cr -n __fish_use_subcommand -a %s -d %s\n", c.name, fishQuote(c.short))
	}
	for _, c := range commands {
		line := "complete -c cr -n '__fish_seen_subcommand_from " + c.name + "'"
		for _, o := range c.options() {
			fmt.Fprint(w, line)
			if o.short != "" {
				fmt.Fprintf(w, " -s %s", o.short)
			}
			fmt.Fprintf(w, " -l %s -d %s", o.long, fishQuote(o.usage))
			if o.value != "" {
				fmt.Fprintf(w, " -r%s", fishPlace(o.kind, o.words))
			}
			fmt.Fprintln(w)
		}
		if k, words := c.operand(); k != anything {
			fmt.Fprintf(w, "%s%s\n", line, fishPlace(k, words))
		}
	}
}

func fishPlace(k kind, words []string) string {
	switch k {
	case aFile:
		return " -F"
	case aDirectory:
		return " -a '(__fish_complete_directories)'"
	case aPID:
		return " -a '(__fish_complete_pids)'"
	case aProgram:
		return " -a '(__fish_complete_subcommand --fcs-skip=2)'"
	case aWord:
		return " -a " + fishQuote(strings.Join(words, " "))
	}
	return ""
}

// quote makes one word of text for a POSIX shell.
func quote(s string) string { return "'" + strings.Replace(s, "'", `'\''`, -1) + "'" }

// fishQuote makes one word of text for fish.
func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}
