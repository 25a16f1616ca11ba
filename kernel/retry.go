package kernel

import (
	"golang.org/x/sys/unix"

	"cr/regset"
)

// Some calls end with EINTR when a task is stopped in them, even if no handler
// runs (signal(7)). A program that is looked at need not know what to do then: so
// those that wait without limit are made again, as the kernel does with others.

// retried lists these calls. The argument of some says for how long they wait.
var retried = []struct {
	nr    sysno
	limit int  // which argument; -1 if the call has none
	count bool // it is a number, of which a negative one is no limit; else an address
}{
	{sysSemop, -1, false},
	{sysSemtimedop, 3, false},
	{sysSemtimedopTime64, 3, false},
	{sysRtSigtimedwait, 2, false},
	{sysRtSigtimedwaitTime64, 2, false},
	{sysEpollWait, 3, true},
	{sysEpollPwait, 3, true},
	{sysEpollPwait2, 3, false},
}

// retries reports whether a call, as arch.Syscall tells of it, waits without
// limit and would be made again by no one.
func retries(abi regset.ABI, number int, args [6]uint64) bool {
	endless := func(value uint64, count bool) bool {
		if count {
			return int32(value) < 0
		}
		return value == 0
	}
	const semop, semtimedop = 1, 4
	if number == sysIpc.number(abi) {
		return args[0]&0xffff == semop || args[0]&0xffff == semtimedop && args[5] == 0
	}
	for _, c := range retried {
		if number == c.nr.number(abi) {
			return c.limit < 0 || endless(args[c.limit], c.count)
		}
	}
	return false
}

// retry has the kernel make the call of a stopped task again that the stop has
// ended. regs are changed too.
func (t *task) retry(regs []byte) error {
	number, args, in := t.arch.Syscall(t.abi, regs)
	if !in || t.arch.Result(t.abi, regs) != -int64(unix.EINTR) || !retries(t.abi, number, args) {
		return nil
	}
	t.arch.Retry(t.abi, regs)
	return t.setRegset(regset.PRSTATUS, regs)
}
