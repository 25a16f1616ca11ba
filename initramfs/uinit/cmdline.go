package main

import (
	"os"
	"strings"
)

// readCmdline returns the parameters of the kernel's command line.
func readCmdline() map[string]string {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		warn(err)
	}
	return parseCmdline(string(line))
}

// parseCmdline splits a command line as the kernel does: at spaces that are
// not inside double quotes.
func parseCmdline(line string) map[string]string {
	quoted := false
	params := map[string]string{}
	for _, word := range strings.FieldsFunc(strings.TrimSpace(line), func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ' ' && !quoted
	}) {
		name, value, _ := strings.Cut(word, "=")
		params[strings.Trim(name, `"`)] = strings.Trim(value, `"`)
	}
	return params
}
