package vmtests

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/initramfs/agent"
)

// TestSysV moves a program with a message queue and semaphores to a guest that
// has none, between kernels and word sizes whose structures differ. The first
// queue of every kernel has number 0, and keeps it, so that two programs with one
// do not go to a guest at the same time.
func TestSysV(t *testing.T) {
	t.Parallel()
	type move struct{ from, abi string }
	for to, moves := range map[string][]move{
		"ppc64-power9":   {{"ppc64-power8", "ppc64"}, {"ppc64-power8", "ppc"}},
		"ppc64le-power9": {{"ppc64le-power8", "ppc64le"}},
		"x86_64-max":     {{"i386-max", "i386"}, {"x86_64-qemu64", "x86_64"}},
	} {
		t.Run("to "+to, func(t *testing.T) {
			t.Parallel()
			for i, m := range moves {
				t.Run("from "+m.from+", "+m.abi, func(t *testing.T) {
					from, to := guests.get(t, m.from), guests.get(t, to)
					dir := "sysv-" + m.from + "-" + m.abi
					require.NoError(t, os.MkdirAll(filepath.Join(from.dir, dir), 0o755))
					program := compile(t, filepath.Join(from.dir, dir), m.abi, "sysv")
					j := startJob(t, from, dir, from.see(t, program), path.Join(agent.Dir, dir, "stop"), fmt.Sprint(7001+i))
					image, _ := j.save()
					from.lend(t, to, dir)
					from.leave(t)
					startJob(t, to, dir, "cr", "restart", image).finish()
				})
			}
		})
	}
}
