package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseCmdline(t *testing.T) {
	for _, test := range []struct {
		line string
		want map[string]string
	}{
		{line: "\n", want: map[string]string{}},
		{line: "quiet console=ttyS0\n", want: map[string]string{"quiet": "", "console": "ttyS0"}},
		{line: `cr.run="cr selftest --run=^gpr$"  cr.off=reboot`, want: map[string]string{
			"cr.run": "cr selftest --run=^gpr$", "cr.off": "reboot",
		}},
		// The kernel puts the quotes around the whole where it prints its line.
		{line: `"cr.run=ls -l"`, want: map[string]string{"cr.run": "ls -l"}},
		{line: `cr.run="A=1 env"`, want: map[string]string{"cr.run": "A=1 env"}},
		{line: `cr.run="unclosed a`, want: map[string]string{"cr.run": "unclosed a"}},
	} {
		require.Equal(t, test.want, parseCmdline(test.line), test.line)
	}
}
