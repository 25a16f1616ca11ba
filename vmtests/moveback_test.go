package vmtests

import (
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/initramfs/agent"
)

// TestMoveBack takes all registers of 32-bit tasks from a 32-bit kernel to a
// 64-bit one, where they are saved once more, and back. What is in the second image
// besides is the first kernel's vdso, changed to lead to the second's.
func TestMoveBack(t *testing.T) {
	t.Parallel()
	for _, m := range []struct{ home, away, abi string }{
		{"ppc32-7447", "ppc64-power8", "ppc"},
		{"i386-max", "x86_64-max", "i386"},
	} {
		t.Run(m.home+" to "+m.away+" and back", func(t *testing.T) {
			t.Parallel()
			home, away := guests.get(t, m.home), guests.get(t, m.away)
			there, back := "there-"+m.abi, "return-"+m.abi
			pick := "--run=-" + m.abi + "/external"
			saved := home.selftest(t, pick, "--save="+path.Join(agent.Dir, there))
			require.NotEmpty(t, saved)
			home.lend(t, away, there)
			home.leave(t)
			passed := away.selftest(t, pick, "--load="+path.Join(agent.Dir, there), "--save="+path.Join(agent.Dir, back))
			away.lend(t, home, back)
			away.leave(t)
			home.enter(t)
			got := home.selftest(t, pick, "--load="+path.Join(agent.Dir, back))
			for _, name := range sorted(saved) {
				t.Run(name, func(t *testing.T) {
					if s := saved[name]; s.Directive == "SKIP" {
						t.Skip(s.Reason)
					}
					require.True(t, saved[name].OK, "%v", saved[name].Diagnostics)
					require.True(t, passed[name].OK, "%v", passed[name].Diagnostics)
					class, _, _ := strings.Cut(name, "-")
					image := filepath.Join(home.dir, back, m.abi, class+".external", "image")
					require.Empty(t, verify(t, home.machine, image), "the verdict of the host")
					require.True(t, got[name].OK, "%v", got[name].Diagnostics)
					require.NotEqual(t, "SKIP", got[name].Directive, got[name].Reason)
				})
			}
		})
	}
}
