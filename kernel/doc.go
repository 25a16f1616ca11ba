// Package kernel stands in for the kernel side of checkpoint and restart: it
// freezes tasks, collects their state into an image, and makes tasks from an
// image, with ptrace, /proc, pidfds, namespaces and seccomp user notification.
//
// It has no authority of its own. What restart opens, maps and changes is done
// by system calls that the restarted task itself is made to make, so that the
// kernel's checks apply to that task.
package kernel

import _ "cr/internal/libgo" // what gccgo lacks for golang.org/x/sys
