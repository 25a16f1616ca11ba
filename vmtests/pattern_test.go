package vmtests

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPattern(t *testing.T) {
	for _, test := range []struct {
		run     string
		yes, no []string
	}{
		{run: "", yes: []string{"gpr-32/self"}},
		{run: "TestGuest", yes: []string{"gpr-32/self"}},
		{run: "TestGuest/ppc32-7447", yes: []string{"gpr-32/self"}},
		{run: "TestGuest/ppc64/vmx", yes: []string{"vmx-32/self", "vmx-64/external"}, no: []string{"gpr-32/self", "gpr/vmx"}},
		{run: "TestGuest/ppc64/^vmx-32$", yes: []string{"vmx-32/self"}, no: []string{"vmx-320/self", "avmx-32/self"}},
		{run: "TestGuest//vmx/self", yes: []string{"vmx-32/self"}, no: []string{"vmx-32/external"}},
		{run: "TestGuest//^vmx-32$/^self$", yes: []string{"vmx-32/self"}, no: []string{"vmx-32/self2", "vmx-3/self"}},
		{run: "TestGuest/x/^gpr$|^fpr$", yes: []string{"gpr/self", "fpr/self"}},
	} {
		re := regexp.MustCompile(pattern(test.run))
		for _, name := range test.yes {
			require.True(t, re.MatchString(name), "%s selects %s", test.run, name)
		}
		for _, name := range test.no {
			require.False(t, re.MatchString(name), "%s selects %s", test.run, name)
		}
	}
}
