package selftest

import "cr/regset"

// attrRegs lists what targets/common/attr.S stores.
func attrRegs(abi regset.ABI, _ func(string) uint64) []Reg {
	const noRandomize, stickyTimeouts = 0x00040000, 0x08000000 // ADDR_NO_RANDOMIZE, STICKY_TIMEOUTS
	w := abi.WordSize()
	l := &layout{abi: abi}
	l.text("name", 16, "first name", "second name")
	l.fixed("timer slack", w, 12345, 54321)
	// The system call returns 20 less the nice value.
	l.fixed("priority", w, 20-3, 20-5)
	personality := l.fixed("personality", w, noRandomize, stickyTimeouts)
	personality.Mask = number(abi.Order(), w, noRandomize|stickyTimeouts) // not PER_LINUX32 of 32-bit tasks
	return l.regs
}
