package kernel

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"cr/regset"
)

// The fields of siginfo_t lie at other places for 32-bit tasks than for 64-bit
// ones. ptrace gives this program its own layout, the task must be given its
// own (include/uapi/asm-generic/siginfo.h, kernel/signal.c
// copy_siginfo_to_external32).

// siginfoField is a member of the union: its offset and size for 32 and for 64
// bit tasks, in bytes.
type siginfoField struct{ off32, size32, off64, size64 int }

// Of a sigval a 32-bit task gets si_int, which is at its beginning in either
// byte order.
var siginfoLayouts = struct{ kill, timer, rt, child, fault, poll []siginfoField }{
	kill:  []siginfoField{{12, 4, 16, 4}, {16, 4, 20, 4}},
	timer: []siginfoField{{12, 4, 16, 4}, {16, 4, 20, 4}, {20, 4, 24, 4}},
	rt:    []siginfoField{{12, 4, 16, 4}, {16, 4, 20, 4}, {20, 4, 24, 4}},
	child: []siginfoField{{12, 4, 16, 4}, {16, 4, 20, 4}, {20, 4, 24, 4}, {24, 4, 32, 8}, {28, 4, 40, 8}},
	fault: []siginfoField{{12, 4, 16, 8}},
	poll:  []siginfoField{{12, 4, 16, 8}, {16, 4, 24, 4}},
}

// Codes that say which member of the union is used.
const (
	siUser   = 0
	siKernel = 0x80
	siQueue  = -1
	siTimer  = -2
	siTkill  = -6
	siSigIO  = -5
)

func siginfoFields(signal, code int32) []siginfoField {
	l := siginfoLayouts
	switch code {
	case siUser, siTkill, siKernel:
		return l.kill
	case siTimer:
		return l.timer
	case siSigIO:
		return l.poll
	}
	if code < 0 {
		return l.rt
	}
	switch unix.Signal(signal) {
	case unix.SIGCHLD:
		return l.child
	case unix.SIGPOLL:
		return l.poll
	case unix.SIGILL, unix.SIGFPE, unix.SIGSEGV, unix.SIGBUS, unix.SIGTRAP:
		return l.fault
	}
	return l.kill
}

// siginfoToTask turns a siginfo_t as this program has it into that of a task.
func siginfoToTask(abi regset.ABI, info []byte) []byte {
	if abi.WordSize() == int(unsafe.Sizeof(uintptr(0))) {
		return info
	}
	order := abi.Order()
	out := make([]byte, siginfoSize)
	copy(out[:12], info[:12])
	fields := siginfoFields(int32(order.Uint32(info)), int32(order.Uint32(info[8:])))
	for _, f := range fields {
		v := order.Uint32(info[f.off64:])
		if f.size64 == 8 {
			v = uint32(order.Uint64(info[f.off64:]))
		}
		order.PutUint32(out[f.off32:], v)
	}
	return out
}
