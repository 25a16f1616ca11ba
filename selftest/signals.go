package selftest

import (
	"fmt"

	"cr/regset"
)

// action is a signal action as rt_sigaction(2) gives it.
type action struct {
	handler, flags, restorer, mask uint64
}

// sigset appends a set of signals, an array of words.
func (l *layout) sigset(name string, p, q uint64) {
	order := l.abi.Order()
	set := func(v uint64) []byte {
		if l.abi.WordSize() == 8 {
			return number(order, 8, v)
		}
		return append(number(order, 4, v), number(order, 4, v>>32)...)
	}
	l.regs = append(l.regs, Reg{Name: name, P: set(p), Q: set(q)})
}

// unchecked appends bytes of the dump that are not compared.
func (l *layout) unchecked(size int) {
	zero := make([]byte, size)
	l.regs = append(l.regs, Reg{Name: "unchecked", P: zero, Q: zero, Mask: zero})
}

// sigRegs lists what targets/common/sig.S stores.
func sigRegs(abi regset.ABI, _ func(string) uint64) []Reg {
	w := abi.WordSize()
	l := &layout{abi: abi}
	for _, s := range []struct {
		signal int
		p, q   action
	}{
		{1, action{0x10123450, 0x04000004, 0x10987650, 0x9e3779b13c6af262}, action{1, 0x10000000, 0, 0x61c8864ec391089d}},
		{10, action{0x10123460, 0x1c000004, 0x10987660, 0xdaa66d2b78d9e4c4},
			action{0x10123480, 0xc4000000, 0x10987680, 0x255992d487221a3b}},
		{17, action{1, 3, 0, 0}, action{0x10123490, 0x04000001, 0x10987690, 0x55555555555154d5}},
		{34, action{0x10123470, 0xc4000004, 0x10987670, 0x17156095b548d626}, action{}},
		{64, action{1, 0x10000000, 0, 0x538453fffffbbaff}, action{0x101234a0, 0x0c000004, 0x109876a0, 0xaaaaaaaaaaaaaaaa}},
	} {
		name := fmt.Sprintf("action of signal %d: ", s.signal)
		l.fixed(name+"handler", w, s.p.handler, s.q.handler)
		l.fixed(name+"flags", w, s.p.flags, s.q.flags)
		l.fixed(name+"restorer", w, s.p.restorer, s.q.restorer)
		l.sigset(name+"mask", s.p.mask, s.q.mask)
	}
	l.fixed("alternate stack", w, 0x20345670, 0x30456780)
	l.fixed("flags of alternate stack", 4, 0, 0)
	if w == 8 {
		l.unchecked(4)
	}
	l.fixed("size of alternate stack", w, 0x12340, 0x45670)
	l.sigset("mask", 0x1e3779b13c6a2a00, 0x21c8864ec391d4ef)
	l.sigset("pending", 1<<9|1<<11|1<<39, 1<<33)
	l.fixed("seconds of timer interval", w, 1000, 2000)
	l.fixed("microseconds of timer interval", w, 123456, 654320)
	l.unchecked(2 * w) // what is left of the timer
	const eagain = -11
	byProcess := info{signo: 10}
	byTask := info{signo: 12, code: -6}
	first, second := queued(40, 1), queued(40, 2)
	l.taken("signal sent to process", 10, eagain, byProcess, byProcess)
	l.taken("signal sent to task", 12, eagain, byTask, byTask)
	l.taken("first signal of queue", 40, 34, first, queued(34, 2))
	l.taken("second signal of queue", 40, 34, second, queued(34, 1))
	l.taken("signal after those of queue", eagain, eagain, info{}, info{})
	return l.regs
}

// info is what is checked of a siginfo_t. Of a signal that another process
// sent, the sender is not.
type info struct {
	signo, code     int
	pid, uid, value uint64
}

// queued is the siginfo that the program queues first or second in P.
func queued(signo, which int) info {
	if which == 1 {
		return info{signo, -1, 0x1234, 0x5678, 0x3c6ef362}
	}
	return info{signo, -1, 0x4321, 0x8765, 0x43910c9d}
}

// taken appends a result of rt_sigtimedwait(2) and the 128 bytes of siginfo_t
// that it stores, which are left as they were if it fails.
func (l *layout) taken(name string, p, q int64, pInfo, qInfo info) {
	const siginfoSize = 128
	w := l.abi.WordSize()
	l.fixed(name, w, uint64(p), uint64(q))
	l.fixed(name+": si_signo", 4, uint64(pInfo.signo), uint64(qInfo.signo))
	l.fixed(name+": si_errno", 4, 0, 0)
	l.fixed(name+": si_code", 4, uint64(pInfo.code), uint64(qInfo.code))
	if w == 8 {
		l.unchecked(4)
	}
	if pInfo.value == 0 {
		l.unchecked(siginfoSize - 12 - (w - 4))
		return
	}
	l.fixed(name+": si_pid", 4, pInfo.pid, qInfo.pid)
	l.fixed(name+": si_uid", 4, pInfo.uid, qInfo.uid)
	l.fixed(name+": si_value", w, pInfo.value, qInfo.value)
	l.unchecked(siginfoSize - 12 - (w - 4) - 8 - w)
}
