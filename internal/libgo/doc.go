// Package libgo supplies what golang.org/x/sys/unix links against and the
// run-time library of gccgo 12 lacks, and mends that library's stacks on ppc64.
// Import it for its symbols; with the gc toolchain it is empty.
package libgo
