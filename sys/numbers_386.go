package sys

// Numbers are the numbers of the calls on i386. A program for a kernel that has
// the calls under other numbers sets them before its first call.
var Numbers = Pair{333, 334}
