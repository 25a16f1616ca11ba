package vmtests

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/convert"
	"cr/image"
	"cr/regset"
	cases "cr/selftest"
)

// moves are pairs of guests. Refused matches the tests, as vsx-ppc64/self, whose
// images the second guest cannot take; it takes all others. Those that dies
// matches then use an instruction that it lacks, of which nothing in the image
// tells.
var moves = []struct{ from, to, refused, dies string }{
	{"ppc64-power9", "ppc64-power8", "", ""},
	{"ppc64-power8", "ppc64-power9", "", ""},
	{"ppc64-power10", "ppc64-power9", "^dexcr-", ""},
	{"ppc64-power8", "ppc64-970fx", "^(vsx|tar|dscr|dfp)-|^ppr-.*/external", "^ppr-.*/self"}, // system calls reset PPR,
	{"ppc64-power8", "ppc64-power8-novsx", "^(vsx|dfp)-", ""},
	{"ppc64-970fx", "ppc64-power8", "", ""},
	{"ppc32-7447", "ppc32-750", "^vmx-", ""},
	{"ppc32-750", "ppc32-7447", "", ""},
	{"ppc32-7447", "ppc64-power8", "", ""},
	{"ppc64-power8", "ppc32-7447", ".", ""}, // 64 bit, or in the fourth gigabyte
	{"ppc64le-power8", "ppc64le-power9", "", ""},
	{"ppc64le-power9", "ppc64le-power8", "", ""},
	{"ppc64le-power9", "ppc64le-power10", "", ""},
	{"ppc64le-power10", "ppc64le-power8", "^dexcr-", ""},
	{"ppc64le-power9", "ppc64-power9", ".", ""},
	{"x86_64-max", "x86_64-nehalem", "^(avx|avx512|pkru|pkey)-", ""},
	{"x86_64-max", "x86_64-qemu64", "^(avx|avx512|pkru|pkey)-", ""},
	{"x86_64-qemu64", "x86_64-max", "", ""},
	{"i386-max", "x86_64-max", "", ""},
	{"i386-max", "i386-qemu32", "^(avx|avx512|pkru|pkey)-", ""},
	{"i386-qemu32", "i386-max", "", ""},
	{"x86_64-max", "i386-max", ".", ""}, // 64 bit, or in the fourth gigabyte
}

// TestMove takes images from one guest to another: every register set, saved by
// a call of the program and from outside. Each must be restarted there, or be
// refused, as cr verify on this host says that it is.
func TestMove(t *testing.T) {
	t.Parallel()
	for _, m := range moves {
		t.Run(m.from+" to "+m.to, func(t *testing.T) {
			t.Parallel()
			from, to := guests.get(t, m.from), guests.get(t, m.to)
			saved, dir := from.save(t)
			from.lend(t, to, dir)
			from.leave(t)
			got := to.load(t, dir)
			images, err := cases.Images(filepath.Join(to.dir, dir))
			require.NoError(t, err)
			refused, dies := regexp.MustCompile(m.refused), regexp.MustCompile(m.dies)
			for _, name := range sorted(saved) {
				t.Run(name, func(t *testing.T) {
					if s := saved[name]; s.Directive == "SKIP" {
						t.Skip(s.Reason)
					}
					require.True(t, saved[name].OK, "%v", saved[name].Diagnostics)
					no := m.refused != "" && refused.MatchString(name)
					reasons := verify(t, to.machine, images[name])
					require.Equal(t, no, len(reasons) > 0, "the verdict of the host: %v", reasons)
					ok, said := got[name].OK, strings.Join(got[name].Diagnostics, "\n")
					if got[name].Name == "" {
						// The guest has no programs of this ABI.
						out, complaint, status := to.try(t, "cr", "restart", to.see(t, images[name]))
						ok, said = status == 0, out+complaint
					}
					if m.dies != "" && dies.MatchString(name) {
						require.Contains(t, said, "signal: illegal instruction")
						t.Log("refused: the program uses an instruction that the machine lacks, and is killed by SIGILL")
						return
					}
					require.Equal(t, !no, ok, said)
					var why []string
					for _, r := range reasons {
						require.Contains(t, said, r.Error(), "the guest gives the reasons that the host gives")
						why = append(why, r.Err.Error())
					}
					if no {
						t.Log("refused: " + strings.Join(why, "; ")) // for the matrix
					}
				})
			}
		})
	}
}

func sorted[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// verify is the verdict of this host on an image and a machine.
func verify(t *testing.T, m *regset.Machine, path string) convert.Reasons {
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	img, rd, err := image.Read(f)
	for err == nil {
		_, err = rd.Next()
	}
	require.ErrorIs(t, err, io.EOF)
	return convert.Check(m, img)
}
