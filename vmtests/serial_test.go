package vmtests

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/vmtests/ktap"
)

// TestNoPort boots a guest that finds no port to its host: it says so at once,
// and runs a command all the same if it is booted for that.
func TestNoPort(t *testing.T) {
	t.Parallel()
	g, err := Find("ppc64le")
	require.NoError(t, err)
	guest := prepare(t, g, t.TempDir())

	c := guest.config
	c.port = true
	var out bytes.Buffer
	_, err = guest.RunOnConsole(t.Context(), guest.files, c, "", &out)
	require.ErrorIs(t, err, ErrGone)
	require.Contains(t, out.String(), "uinit: no port to the host: virtio port cr")

	out.Reset()
	status, err := guest.RunOnConsole(t.Context(), guest.files, guest.config, "cr selftest '--run=^gpr/(self|external)$'", &out)
	require.NoError(t, err, out.String())
	require.Zero(t, status, out.String())
	res, err := ktap.NewReader(&out).Next()
	require.NoError(t, err)
	require.True(t, res.OK)
	require.Len(t, res.Subtests, 2)
}

func TestDiagnose(t *testing.T) {
	for console, want := range map[string]string{
		" \n":                     ": it printed nothing (is its console set: CONFIG_HVC_CONSOLE on pseries, CONFIG_SERIAL_PMACZILOG_CONSOLE on Macs, CONFIG_SERIAL_8250_CONSOLE elsewhere?)",
		"booting\nall well\n":     "",
		"x\nKernel panic - y\r\n": ": Kernel panic - y",
		"Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n": ": Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0) (is CONFIG_BLK_DEV_INITRD set?)",
	} {
		require.Equal(t, want, diagnose(console))
	}
}
