package kernel

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/cpu"
	"cr/regset"
)

func setOf(signals ...unix.Signal) (set uint64) {
	for _, sig := range signals {
		set |= 1 << (uint(sig) - 1)
	}
	return set
}

func TestMarkerOf(t *testing.T) {
	usual := []unix.Signal{unix.SIGURG, unix.SIGWINCH, unix.SIGCHLD}
	for _, c := range []struct {
		what                     string
		caught, ignored, blocked uint64
		seccomp                  int
		stopped                  bool
		abi                      regset.ABI
		want                     unix.Signal
	}{
		{what: "a program that has set nothing", want: unix.SIGURG},
		{what: "one that catches a signal", caught: setOf(unix.SIGURG), want: unix.SIGWINCH},
		{what: "one that blocks it, and may wait for it", blocked: setOf(unix.SIGURG, unix.SIGWINCH), want: unix.SIGCHLD},
		{what: "one that ignores another", caught: setOf(usual...), ignored: setOf(unix.SIGPIPE), want: unix.SIGPIPE},
		{what: "one that ignores signals for job control", caught: setOf(usual...),
			ignored: setOf(unix.SIGCONT, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU)},
		{what: "one that blocks what it ignores", caught: setOf(usual...), ignored: setOf(unix.SIGPIPE), blocked: setOf(unix.SIGPIPE)},
		{what: "one that would die of all others", caught: setOf(usual...)},
		{what: "filters, which may be against tgkill", seccomp: seccompFilter},
		{what: "a stopped one", stopped: true},
		{what: "a machine whose way back has no room", abi: regset.PPC64LE},
	} {
		if c.abi == (regset.ABI{}) {
			c.abi = regset.X86_64
		}
		p := &process{status: &status{sigCgt: c.caught, sigIgn: c.ignored, nstgid: []int{900, 7}}}
		m := p.markerOf(&task{abi: c.abi, mask: c.blocked, jobStop: c.stopped, status: &status{seccomp: c.seccomp, nspid: []int{901, 8}}})
		if c.want == 0 {
			require.Zero(t, m, c.what)
			continue
		}
		require.Equal(t, marker{c.want, 7, 8}, m, c.what)
		require.Zero(t, (&task{marker: m}).callMask()&setOf(c.want), c.what)
	}
}

// The code of a list ends in jumps whose targets are counted by hand.
func TestCallCode(t *testing.T) {
	for _, abi := range []regset.ABI{regset.X86_64, regset.I386} {
		a := &assembler{layout: layoutOf(abi)}
		start, end := a.callCode(abi)
		require.Zero(t, start)
		require.Equal(t, cpu.For(abi).SyscallInsn(abi), a.b[end-2:end], "%s", abi)
		require.Equal(t, byte(0xeb), a.b[len(a.b)-2])
		loop := len(a.b) + int(int8(a.b[len(a.b)-1]))
		out := 0
		for i := loop; i < int(end); i++ {
			if a.b[i] == 0xe3 && out == 0 { // jrcxz
				out = i + 2 + int(a.b[i+1])
			}
		}
		require.Equal(t, len(a.b), out, "%s: where the end of a list leads", abi)
		load := map[regset.ABI][]byte{regset.X86_64: {0x48, 0x8b, 0x0b}, regset.I386: {0x8b, 0x4d, 0x00}}[abi]
		require.Equal(t, load, a.b[loop:loop+3], "%s: where the loop begins again", abi)
	}
}
