package kernel

import "sync"

// turns makes those who are busy with the same task wait for each other.
type turns struct {
	mu   sync.Mutex
	busy map[int]chan struct{} // by tid; closed when its turn ends
}

// take waits until nobody else is busy with a task. The turn ends with a call of
// done.
func (t *turns) take(tid int) (done func()) {
	t.mu.Lock()
	for {
		other, taken := t.busy[tid]
		if !taken {
			break
		}
		t.mu.Unlock()
		<-other
		t.mu.Lock()
	}
	if t.busy == nil {
		t.busy = make(map[int]chan struct{})
	}
	own := make(chan struct{})
	t.busy[tid] = own
	t.mu.Unlock()
	return func() {
		t.mu.Lock()
		delete(t.busy, tid)
		t.mu.Unlock()
		close(own)
	}
}
