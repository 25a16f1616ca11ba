package kernel

import "cr/regset"

// abortRseq takes a task that was stopped within a restartable sequence to the
// abort handler of that sequence, as the kernel does with one that is
// interrupted (rseq(2), kernel/rseq.c). The kernel would forget the sequence
// when the task makes calls from elsewhere.
func (p *process) abortRseq(t *task) error {
	ptr, _, _, _, err := t.rseq()
	if err != nil || ptr == 0 {
		return err
	}
	order := t.abi.Order()
	const csOffset = 8 // of rseq_cs in struct rseq, a 64-bit pointer
	b := make([]byte, 32)
	if p.mem.read(ptr+csOffset, b[:8]) != nil {
		return nil // the kernel will kill the task for it
	}
	cs := order.Uint64(b)
	if cs == 0 || p.mem.read(cs, b) != nil {
		return nil
	}
	// struct rseq_cs: version, flags, start_ip, post_commit_offset, abort_ip.
	start, length, abort := order.Uint64(b[8:]), order.Uint64(b[16:]), order.Uint64(b[24:])
	for _, regs := range [][]byte{t.saved, t.live} {
		if pc := t.arch.PC(t.abi, regs); pc-start < length {
			t.arch.SetPC(t.abi, regs, abort)
		}
	}
	if t.cpu != nil {
		t.cpu.Put(regset.PRSTATUS, t.saved)
	}
	return nil
}
