package kernel

import (
	"cr/image"
	"cr/regset"
)

// Options of prctl(2) that golang.org/x/sys lacks on some machines.
const (
	prSetMM    = 35
	prSetMMMap = 14
)

// mmMap lays out struct prctl_mm_map (include/uapi/linux/prctl.h), which has the
// layout of the kernel itself whatever the task is: where things lie in an
// address space, with an auxiliary vector of size bytes at an address of the
// task, and the program file open in the task, or -1 to leave that as it is.
func mmMap(m *image.MM, auxv uint64, size int, exe int) ([]byte, error) {
	machine, err := Features()
	if err != nil {
		return nil, err
	}
	l := layoutOf(namedABI(machine.Arch))
	addresses := []uint64{m.StartCode, m.EndCode, m.StartData, m.EndData, m.StartBrk, m.Brk, m.StartStack,
		m.ArgStart, m.ArgEnd, m.EnvStart, m.EnvEnd}
	n := 8 * len(addresses)
	b := make([]byte, n+l.word+8, n+16)
	if l.word == 4 && machine.Arch != regset.I386.String() {
		b = b[:n+16] // a multiple of the largest member's size
	}
	for i, v := range addresses {
		l.order.PutUint64(b[8*i:], v)
	}
	l.putLong(b[n:], 0, auxv)
	l.order.PutUint32(b[n+l.word:], uint32(size))
	l.order.PutUint32(b[n+l.word+4:], uint32(exe))
	return b, nil
}
