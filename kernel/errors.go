package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// A RefusedError says that a task cannot be checkpointed or restarted, and
// which of its descriptors, mappings or features is in the way.
type RefusedError struct {
	PID    int
	Kind   string // "descriptor", "mapping", "task", ...
	Object string // its number or address, and path
	Reason string
	Hint   string     // what the user can do
	Errno  unix.Errno // what the call returns
}

// Error is one line: pid, kind, object, reason, and what to do.
func (e *RefusedError) Error() string {
	s := fmt.Sprintf("pid %d: ", e.PID)
	if e.Kind != "" {
		s += e.Kind + " "
	}
	if e.Object != "" {
		s += e.Object + " "
	}
	if e.Kind != "" || e.Object != "" {
		s = s[:len(s)-1] + ": "
	}
	s += e.Reason
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Is makes errors.Is(err, errno) work.
func (e *RefusedError) Is(target error) bool {
	errno, ok := target.(unix.Errno)
	return ok && errno == e.Errno
}

// RefusedErrors are all the reasons for which a tree cannot be checkpointed.
type RefusedErrors []*RefusedError

// Error gives one reason a line.
func (l RefusedErrors) Error() string {
	s := ""
	for i, e := range l {
		if i > 0 {
			s += "\n"
		}
		s += e.Error()
	}
	return s
}

// Unwrap returns the first reason, whose errno the call returns.
func (l RefusedErrors) Unwrap() error { return l[0] }
