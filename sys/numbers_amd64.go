package sys

// Numbers are the numbers of the calls on x86_64. A program for a kernel that has
// the calls under other numbers sets them before its first call.
var Numbers = Pair{313, 314}
