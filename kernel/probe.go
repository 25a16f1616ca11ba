package kernel

import "golang.org/x/sys/unix"

// A restart call with this id and these flags, and no descriptor, only asks
// whether the caller has the calls: the kernel side answers it with
// probeAnswer.
const (
	probeID     = 0x63722d70
	probeFlags  = 1 << 30
	probeAnswer = 0x6372
)

// isProbe reports whether a notification of a restart call is such a question.
func isProbe(n *notification) bool {
	return n.args[0] == probeID && int32(n.args[1]) == -1 && n.args[2] == probeFlags
}

// probe asks. The result is a negated errno unless there is a kernel side.
func (t *task) probe() (int64, error) {
	for _, c := range hostCalls {
		if c.ABI == t.abi {
			return t.callNumber(int(c.Restart.Number), probeID, ^uint64(0), probeFlags)
		}
	}
	return 0, nil
}

// hasCalls reports whether a kernel side answers a task's calls.
func (t *task) hasCalls() (bool, error) {
	result, err := t.probe()
	return result == probeAnswer, err
}

// underEmulation reports whether a task's one seccomp filter is the one that
// gives it the calls. Neither the old owners of restart's number nor a filter
// whose kernel side has ended answers as the kernel side does.
func (t *task) underEmulation() (bool, error) {
	result, err := t.probe()
	// ENOSYS: a filter of ours whose kernel side is gone.
	return result == probeAnswer || result == -int64(unix.ENOSYS), err
}
