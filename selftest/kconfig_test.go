package selftest

import (
	"bytes"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/internal/kconfig"
	"cr/regset"
)

// reduced is a kernel of which only a few symbols are set.
func reduced(set ...string) *kconfig.Kernel {
	c := kconfig.Config{}
	for _, s := range set {
		c[s] = "y"
	}
	return kconfig.New(c)
}

// TestRunSaysWhatIsMissing: cases that need more than the kernel is configured
// with are skipped and name the symbols.
func TestRunSaysWhatIsMissing(t *testing.T) {
	if _, _, _, err := abis(t.TempDir()); err != nil {
		t.Skip(err)
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	t.Setenv(fakeEnv, "well")
	for _, test := range []struct {
		kernel *kconfig.Kernel
		want   string
	}{
		{reduced(append(symbols("checkpoint"), "UNIX")...), `KTAP version 1
1..1
  KTAP version 1
  1..2
  ok 1 self # SKIP CONFIG_SECCOMP_FILTER is not set (so says /proc/config.gz)
  ok 2 external
ok 1 gpr
# Totals: pass:1 fail:0 xfail:0 xpass:0 skip:1 error:0
`},
		{reduced(append(symbols("checkpoint")[2:], "CHECKPOINT_RESTORE")...), `KTAP version 1
1..1
  KTAP version 1
  1..2
  ok 1 self # SKIP CONFIG_SECCOMP_FILTER is not set (so says /proc/config.gz), CONFIG_UNIX is not set (so says /proc/config.gz)
  ok 2 external # SKIP CONFIG_CROSS_MEMORY_ATTACH is not set (so says /proc/config.gz)
ok 1 gpr # SKIP CONFIG_SECCOMP_FILTER is not set (so says /proc/config.gz), CONFIG_UNIX is not set (so says /proc/config.gz)
# Totals: pass:0 fail:0 xfail:0 xpass:0 skip:2 error:0
`},
	} {
		var out bytes.Buffer
		_, err = Run(Config{Out: &out, Executable: exe, Match: regexp.MustCompile("^gpr/"), TempDir: t.TempDir(), Kernel: test.kernel})
		require.NoError(t, err)
		require.Equal(t, test.want, out.String())
	}
}

func TestExplain(t *testing.T) {
	const why = "AT_HWCAP 0x0 has no PPC_FEATURE_HAS_VSX"
	require.Equal(t, why, explain(reduced("VSX"), why, "VSX"))
	require.Equal(t, "CONFIG_VSX is not set (so says /proc/config.gz): "+why, explain(reduced(), why, "VSX"))
	require.Equal(t, why+", or the kernel no CONFIG_VSX", explain(kconfig.New(nil), why, "VSX"))
	require.Empty(t, explain(reduced(), "", "VSX"))
	require.Equal(t, why, explain(reduced(), why, ""))
}

func TestCompatCases(t *testing.T) {
	for _, test := range []struct {
		runs, refused []regset.ABI
		want          string
	}{
		{[]regset.ABI{regset.X86_64}, []regset.ABI{regset.I386}, "CONFIG_IA32_EMULATION is not set (so says /proc/config.gz): the kernel does not execute programs of i386"},
		{[]regset.ABI{regset.PPC64}, []regset.ABI{regset.PPC64LE, regset.PPC}, "CONFIG_COMPAT is not set (so says /proc/config.gz): the kernel does not execute programs of ppc"},
		{[]regset.ABI{regset.PPC64LE}, []regset.ABI{regset.PPC64, regset.PPC}, ""},
		{[]regset.ABI{regset.PPC}, []regset.ABI{regset.PPC64, regset.PPC64LE}, ""},
	} {
		r := &run{kernel: reduced(), abis: test.runs}
		cases := r.compatCases(test.refused)
		if test.want == "" {
			require.Empty(t, cases)
			continue
		}
		require.Len(t, cases, 1)
		got := &T{run: r}
		got.do(cases[0].Tests[0].run)
		require.Equal(t, test.want, got.reason)
	}
}
