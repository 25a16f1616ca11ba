package convert_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/convert"
	"cr/regset"
)

func TestMachine(t *testing.T) {
	odd := *power8
	odd.Has |= 1 << 30 // of no name
	for _, m := range []*regset.Machine{power10, g3, server, pentium, &odd} {
		var b bytes.Buffer
		require.NoError(t, convert.WriteMachine(&b, m))
		got, err := convert.ReadMachine(&b)
		require.NoError(t, err)
		require.Equal(t, m, got)
	}
}

func TestReadMachine(t *testing.T) {
	const good = `{"arch":"ppc","release":"6.12","page_size":4096,"features":1,"hwcap":0,"hwcap2":0,"abis":["ppc"]`
	m, err := convert.ReadMachine(strings.NewReader(good + "}"))
	require.NoError(t, err)
	require.True(t, m.Runs(regset.PPC))
	require.Equal(t, uint64(0xc0000000), m.TaskSize(regset.PPC))
	for name, s := range map[string]string{
		"empty":              "",
		"no JSON":            "power9",
		"cut":                good,
		"more behind it":     good + "}{}",
		"a field not known":  good + `,"feature":["vsx"]}`,
		"names that differ":  good + `,"feature_names":["fpu","vsx"]}`,
		"no such name":       good + `,"feature_names":["fpu","mmx"]}`,
		"no such arch":       strings.Replace(good, `"arch":"ppc"`, `"arch":"s390"`, 1) + "}",
		"no such ABI":        strings.Replace(good, `["ppc"]`, `["s390"]`, 1) + "}",
		"no ABI":             strings.Replace(good, `["ppc"]`, `[]`, 1) + "}",
		"a page size of 100": strings.Replace(good, "4096", "100", 1) + "}",
		"too long":           good + strings.Repeat(" ", 1<<20) + "}",
	} {
		_, err := convert.ReadMachine(strings.NewReader(s))
		require.ErrorIs(t, err, convert.ErrMachine, name)
	}
}
