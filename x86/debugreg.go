package x86

import "cr/regset"

// NoteDebugreg of x86 is DR0 to DR3, DR6 and DR7 as 64-bit words, as PEEKUSER
// of u_debugreg gives them.
const (
	debugRegsSize = 6 * 8
	breakpoints   = 4
	dr6           = 4 // word of the set
	dr7           = 5
)

var debugNames = []string{"dr0", "dr1", "dr2", "dr3", "dr6", "dr7"}

// Bits of DR6 and DR7 (include/uapi/asm/debugreg.h).
const (
	dr7Enable   = 3 // L0 and G0, which mean the same to the kernel
	dr7Control  = 16
	dr7GD       = 1 << 13
	dr7Reserved = 0xd800 // what reads as zero, of DR_CONTROL_RESERVED

	rwExecute = 0
	rwIO      = 2
)

// dr7Lengths translates the LEN field of DR7 to bytes.
var dr7Lengths = [4]uint64{1, 2, 8, 4}

// breakpoint is what the registers say of one of them.
type breakpoint struct {
	addr    uint64
	enabled bool
	rw      uint64
	length  uint64
}

func debugWord(data []byte, i int) uint64 { return le.Uint64(data[8*i:]) }

func breakpointAt(data []byte, i int) breakpoint {
	c := debugWord(data, dr7)
	f := c >> uint(dr7Control+4*i)
	return breakpoint{
		addr:    debugWord(data, i),
		enabled: c>>uint(2*i)&dr7Enable != 0,
		rw:      f & 3,
		length:  dr7Lengths[f>>2&3],
	}
}

// set reports whether the kernel keeps a breakpoint for it. For those it minds
// the fields of DR7 even while they are disabled.
func (b breakpoint) set() bool { return b.enabled || b.addr != 0 }

func debugRegs(_ regset.ABI, data []byte) []regset.Reg {
	if len(data) != debugRegsSize {
		return nil
	}
	var regs []regset.Reg
	for i, n := range debugNames {
		regs = append(regs, reg(n, data[8*i:8*i+8]))
	}
	return regs
}

func debugUsed(_ regset.ABI, data []byte) bool {
	if len(data) != debugRegsSize {
		return false
	}
	for i := 0; i < breakpoints; i++ {
		if breakpointAt(data, i).set() {
			return true
		}
	}
	return false
}

// debugCheck has the rules of ptrace_write_dr7 (arch/x86/kernel/ptrace.c) and
// arch_build_bp_info (arch/x86/kernel/hw_breakpoint.c).
func debugCheck(m *regset.Machine, abi regset.ABI, data []byte, out *regset.Problems) {
	if !checkSize(nameDebugreg, data, debugRegsSize, out) {
		return
	}
	switch c := debugWord(data, dr7); {
	case c>>32 != 0:
		problem(out, nameDebugreg, "dr7", "%#x has more than 32 bits", c)
	case c&dr7GD != 0:
		problem(out, nameDebugreg, "dr7", "GD, general detection, is set")
	}
	limit := userLimit(m, abi)
	for i := 0; i < breakpoints; i++ {
		b := breakpointAt(data, i)
		if !b.set() {
			continue
		}
		r := debugNames[i]
		if b.addr >= limit || b.addr+b.length > limit {
			problem(out, nameDebugreg, r, "%#x is no address of a user program, which ends at %#x", b.addr, limit)
		}
		switch {
		case b.rw == rwIO:
			problem(out, nameDebugreg, r, "is set to break on I/O")
		case b.rw == rwExecute && b.length != 1:
			problem(out, nameDebugreg, r, "is set to break on execution, and its length to %d", b.length)
		case b.length == 8 && !kernel64(m):
			problem(out, nameDebugreg, r, "length 8 needs a 64-bit kernel")
		case b.addr%b.length != 0:
			problem(out, nameDebugreg, r, "%#x is not aligned to %d bytes", b.addr, b.length)
		}
	}
}

func debugFit(_ *regset.Machine, _ regset.ABI, data []byte) []byte {
	fit := clone(data)
	c := debugWord(data, dr7) &^ dr7Reserved
	for i := 0; i < breakpoints; i++ {
		if !breakpointAt(data, i).set() {
			c &^= 0xf << uint(dr7Control+4*i)
		}
	}
	le.PutUint64(fit[8*dr7:], c)
	le.PutUint64(fit[8*dr6:], debugWord(data, dr6)&0xffffffff)
	return fit
}
