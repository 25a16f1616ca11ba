package vmtests

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestVM checks what the other tests rely on: that commands run in a guest,
// and that files go both ways.
func TestVM(t *testing.T) {
	t.Parallel()
	g, err := Find("x86_64")
	require.NoError(t, err)
	vm, dir := start(t, g)

	out, err := vm.Output(t.Context(), "uname", "-s")
	require.NoError(t, err)
	require.Equal(t, "Linux", out)

	_, err = vm.Output(t.Context(), "cat", "/nonexistent")
	var exit *ExitError
	require.ErrorAs(t, err, &exit)
	require.NotZero(t, exit.Status)
	require.Contains(t, exit.Stderr, "nonexistent")

	_, err = vm.Output(t.Context(), "nonexistent")
	require.ErrorContains(t, err, "nonexistent")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "in"), []byte("from the host"), 0o644))
	_, err = vm.Output(t.Context(), "cp", "/host/in", "/host/out")
	require.NoError(t, err)
	got, err := os.ReadFile(filepath.Join(dir, "out"))
	require.NoError(t, err)
	require.Equal(t, "from the host", string(got))

	// The guest leaves when its port is closed, as when the host is gone.
	require.NoError(t, vm.port.Close())
	<-vm.down
	_, err = vm.Output(t.Context(), "uname")
	require.ErrorIs(t, err, ErrGone)
}
