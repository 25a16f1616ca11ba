package sys

// Pair holds the numbers of the two calls.
type Pair struct{ Checkpoint, Restart uintptr }
