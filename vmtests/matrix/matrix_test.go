package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// events is what go test -json says of tests: NAME OUTCOME [WHAT IT LOGS].
func events(lines ...string) *bytes.Buffer {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	for _, line := range lines {
		part := strings.SplitN(line, " ", 3)
		put := func(action, output string) { _ = e.Encode(event{action, part[0], output}) }
		put("run", "")
		put("output", "=== RUN   "+part[0]+"\n")
		if len(part) > 2 {
			put("output", "    move_test.go:9: "+part[2]+"\n")
		}
		put(part[1], "")
	}
	return &b
}

func tables(t *testing.T, in *bytes.Buffer) string {
	all, err := read(in)
	require.NoError(t, err)
	var b bytes.Buffer
	writeAll(&b, all)
	return b.String()
}

func TestTables(t *testing.T) {
	got := tables(t, events(
		"TestGuest/ppc64-power9/vmx-32/self pass",
		"TestGuest/ppc64-power9/vmx-32/external pass",
		"TestGuest/ppc64-power9/vmx/self pass",
		"TestGuest/ppc64-power9/vmx/external fail it is bad",
		"TestGuest/ppc64-power9/spe-32/self skip no SPE",
		"TestGuest/ppc64-power9/spe-32/external skip no SPE",
		"TestGuest/ppc64-power9/errors/checkpoint-fd pass",
		"TestMove/i386-max_to_i386-qemu32/avx-i386/self pass refused: no avx",
		"TestMove/i386-max_to_i386-qemu32/avx-i386/external pass refused: [stack] is at 0x1-0x2, no",
		"TestMove/i386-max_to_i386-qemu32/gpr-i386/self fail",
		"TestMove/i386-max_to_i386-qemu32/gpr-i386/self pass",
		"TestMoveBack/i386-max_to_x86_64-max_and_back/gpr-i386/external pass",
		"TestClock/a_to_b,_ppc pass",
	))
	for _, line := range []string{
		"| | vmx | spe |",
		"| ppc64-power9, ppc | yes | (1) |",
		"| ppc64-power9, ppc64 | self: yes, external: **fails** |  |",
		"1. no SPE",
		"| | avx | gpr |",
		"| i386-max to i386-qemu32, i386 | self: no (1), external: no (2) | yes |",
		"| i386-max to x86_64-max and back, i386 |  | yes |",
		"1. no avx",
		"2. [stack] is too high, no",
		"| TestClock/a to b, ppc | yes |",
	} {
		require.Contains(t, got, line+"\n")
	}
}

func TestReplace(t *testing.T) {
	all, err := read(events("TestGuest/ppc32-750/vmx/self skip no AltiVec", "TestMove/ppc32-7447_to_ppc32-750/gpr-ppc/self pass"))
	require.NoError(t, err)
	for _, m := range marks {
		got, err := replace([]byte("a\n"+m.begin+"old\n"+end+"b\n"), all)
		require.NoError(t, err)
		var tables bytes.Buffer
		m.write(&tables, all)
		require.Equal(t, "a\n"+m.begin+tables.String()+end+"b\n", string(got))
		require.Contains(t, tables.String(), "no AltiVec")
		require.Equal(t, m.begin == "<!-- matrix -->\n", strings.Contains(tables.String(), " to "))
	}
	_, err = replace([]byte("a\n"+marks[0].begin), all)
	require.ErrorContains(t, err, "no marks")
}

func TestReadOther(t *testing.T) {
	_, err := read(bytes.NewBufferString("--- PASS: TestMove\n"))
	require.ErrorContains(t, err, "go test -json")
}
