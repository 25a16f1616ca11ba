package kconfig

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const reduced = `#
# Linux/powerpc 6.12 Kernel Configuration
CONFIG_VSX=y
CONFIG_9P_FS=m
# CONFIG_ALTIVEC is not set
CONFIG_LOCALVERSION="-cr"
`

func TestParse(t *testing.T) {
	c, err := Parse(strings.NewReader(reduced))
	require.NoError(t, err)
	require.Equal(t, Config{"VSX": "y", "9P_FS": "m", "LOCALVERSION": `"-cr"`}, c)
}

func TestMissing(t *testing.T) {
	c, err := Parse(strings.NewReader(reduced))
	require.NoError(t, err)
	noKCMP := errors.New("kcmp: function not implemented")
	probes := map[string]func() error{
		"KCMP": func() error { return noKCMP },
		// What works is there, whatever the configuration calls it.
		"UNIX": func() error { return nil },
	}
	known, unknown := &Kernel{c, probes}, &Kernel{nil, probes}
	const kcmp = "CONFIG_KCMP is not set (kcmp: function not implemented)"
	require.Equal(t, kcmp+", CONFIG_ALTIVEC is not set (so says /proc/config.gz)", known.Missing("VSX", "KCMP", "UNIX", "ALTIVEC"))
	require.Equal(t, kcmp, unknown.Missing("VSX", "KCMP", "UNIX", "ALTIVEC"))
	require.ErrorIs(t, known.Lacks("KCMP"), noKCMP)
	require.True(t, known.Known("VSX"))
	require.True(t, unknown.Known("KCMP"))
	require.False(t, unknown.Known("VSX"))
}

// TestProbes compares the probes with what this machine's kernel says of its
// configuration.
func TestProbes(t *testing.T) {
	k := Running()
	if k.config == nil {
		t.Skip("this kernel has no /proc/config.gz")
	}
	for symbol, probe := range probes {
		// Modules may be loaded or not, and containers may hide /sys.
		if v := k.config[symbol]; v != "m" && !strings.Contains(symbol, "VIRTIO") && symbol != "PCI" {
			require.Equal(t, v == "y", probe() == nil, "CONFIG_%s=%s: %v", symbol, v, probe())
		}
	}
}

func TestFileProbes(t *testing.T) {
	path := t.TempDir() + "/file"
	require.EqualError(t, file(path)(), "there is no "+path)
	require.NoError(t, os.WriteFile(path, []byte("nodev\tproc\n\text4\n"), 0o600))
	require.NoError(t, file(path)())
	require.NoError(t, listed(path, "ext4")())
	require.EqualError(t, listed(path, "9p")(), path+" has no 9p")
	require.ErrorContains(t, implemented("no such call", 100000)(), "no such call: function not implemented")
}
