package kernel

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTurns(t *testing.T) {
	var turn turns
	var wait sync.WaitGroup
	counts := [3]int{} // each is touched only by who has its turn
	for i := 0; i < 60; i++ {
		tid := i % 3
		wait.Add(1)
		go func() {
			defer wait.Done()
			defer turn.take(tid)()
			n := counts[tid]
			other := turn.take(10 + tid) // another task is no obstacle
			other()
			counts[tid] = n + 1
		}()
	}
	wait.Wait()
	require.Equal(t, [3]int{20, 20, 20}, counts)
	require.Empty(t, turn.busy)
}
