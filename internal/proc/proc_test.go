package proc

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestChildren(t *testing.T) {
	c := exec.Command("sleep", "1000")
	require.NoError(t, c.Start())
	list, err := Children(os.Getpid())
	require.NoError(t, err)
	require.Contains(t, list, c.Process.Pid)
	none, err := Children(c.Process.Pid)
	require.NoError(t, err)
	require.Empty(t, none)
	require.NoError(t, c.Process.Kill())
	require.Error(t, c.Wait())
	gone, err := Children(c.Process.Pid)
	require.NoError(t, err)
	require.Empty(t, gone)
}
