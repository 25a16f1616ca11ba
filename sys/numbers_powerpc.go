//go:build ppc || ppc64 || ppc64le

package sys

// Numbers are the numbers of the calls on powerpc, 32 and 64 bit. A program for
// a kernel that has the calls under other numbers sets them before its first
// call.
var Numbers = Pair{319, 320}
