// The modules of what runs in guests whose programs gccgo builds (ppc32, and
// ppc64 without VSX). These are the newest that gccgo 12 compiles.
module cr

go 1.23.0

require (
	github.com/spf13/pflag v1.0.5
	golang.org/x/net v0.35.0
	golang.org/x/sys v0.31.0
)
