package kernel

import "os/exec"

// AskMemPolicies lets checkpoints ask for policies on machines with one node of
// memory too.
func AskMemPolicies() { manyNodes = func() bool { return true } }

// StartLow starts a program of which a 32-bit one lies below 3 GiB, from a thread
// that is its own.
func StartLow(c *exec.Cmd) error {
	flags, err := lowLayout()
	if err != nil {
		return err
	}
	return withLayout(flags, c.Start)
}
