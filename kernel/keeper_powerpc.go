//go:build ppc || ppc64 || ppc64le

package kernel

// CPUIDFaults is about a thing of x86.
func CPUIDFaults() bool { return false }

func (t *task) faultCPUID() error { return nil }

func (k *keeper) answer(int, *keptTask) bool { return false }
