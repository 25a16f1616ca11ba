package ppc

import (
	"testing"

	"github.com/stretchr/testify/require"

	"cr/regset"
)

// TestUnsaved is that a task in a transaction cannot be checkpointed until it
// is out of it, and that nothing else stands in the way.
func TestUnsaved(t *testing.T) {
	refused := 0
	for _, d := range Arch.Table(regset.PPC64) {
		if checkpointed(d.Note) {
			require.Contains(t, d.Unsaved(regset.PPC64, nil), "transaction", d.Name)
			require.True(t, d.Passing, d.Name)
			refused++
			continue
		}
		require.Empty(t, d.Unsaved(regset.PPC64, nil), d.Name)
	}
	require.Equal(t, 7, refused)
}
