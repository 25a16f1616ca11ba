package ppc

import (
	"fmt"

	"cr/regset"
)

// Values of struct ppc_hw_breakpoint (asm/ptrace.h).
const (
	TriggerExecute = 1
	TriggerRead    = 2
	TriggerWrite   = 4

	ModeExact          = 0
	ModeRangeInclusive = 1
	ModeRangeExclusive = 2
	ModeMask           = 3
)

// What a data breakpoint covers at most (asm/hw_breakpoint.h).
const (
	maxDABR = 8
	maxDAWR = 512
)

const sizeHWBreakpoint = 40

// HWBreakpoint is struct ppc_hw_breakpoint of PPC_PTRACE_SETHWDEBUG.
type HWBreakpoint struct {
	Version        uint32 // 1
	TriggerType    uint32
	AddrMode       uint32
	ConditionMode  uint32
	Addr           uint64
	Addr2          uint64 // end of a range, or mask
	ConditionValue uint64
}

// DecodeHWDebug reads the bytes of NoteHWDebug: breakpoints of 40 bytes each
// in the task's byte order. It fails if the last one is cut.
func DecodeHWDebug(abi regset.ABI, data []byte) ([]HWBreakpoint, error) {
	if len(data)%sizeHWBreakpoint != 0 {
		return nil, fmt.Errorf("powerpc breakpoints: %d bytes, not a multiple of %d", len(data), sizeHWBreakpoint)
	}
	return breakpoints(abi, data), nil
}

func breakpoints(abi regset.ABI, data []byte) []HWBreakpoint {
	o := abi.Order()
	var list []HWBreakpoint
	for ; len(data) >= sizeHWBreakpoint; data = data[sizeHWBreakpoint:] {
		list = append(list, HWBreakpoint{
			o.Uint32(data), o.Uint32(data[4:]), o.Uint32(data[8:]), o.Uint32(data[12:]),
			o.Uint64(data[16:]), o.Uint64(data[24:]), o.Uint64(data[32:]),
		})
	}
	return list
}

// EncodeHWDebug gives the bytes of NoteHWDebug.
func EncodeHWDebug(abi regset.ABI, list []HWBreakpoint) []byte {
	o := abi.Order()
	data := make([]byte, len(list)*sizeHWBreakpoint)
	for i, b := range list {
		d := data[i*sizeHWBreakpoint:]
		o.PutUint32(d, b.Version)
		o.PutUint32(d[4:], b.TriggerType)
		o.PutUint32(d[8:], b.AddrMode)
		o.PutUint32(d[12:], b.ConditionMode)
		o.PutUint64(d[16:], b.Addr)
		o.PutUint64(d[24:], b.Addr2)
		o.PutUint64(d[32:], b.ConditionValue)
	}
	return data
}

// hwdebugSet is NoteHWDebug: the breakpoints of PPC_PTRACE_SETHWDEBUG, in the
// order of their slots.
var hwdebugSet = set{
	note: regset.NoteHWDebug, name: "PPC_HWDEBUG", feature: FeatureHWDEBUG, access: regset.HWDebug,
	sized: func(_ regset.ABI, data []byte) bool { return len(data)%sizeHWBreakpoint == 0 },
	used:  func(_ regset.ABI, data []byte) bool { return len(data) != 0 },
	list: func(abi regset.ABI, data []byte) []regset.Reg {
		var regs []regset.Reg
		for i := 0; i*sizeHWBreakpoint < len(data); i++ {
			fields := append(array([]string{"version", "trigger_type", "addr_mode", "condition_mode"}, 0, 4),
				array([]string{"addr", "addr2", "condition_value"}, 16, 8)...)
			for _, f := range fields {
				off := i*sizeHWBreakpoint + f.off
				regs = append(regs, regset.Reg{
					Name:  fmt.Sprintf("bp%d.%s", i, f.name),
					Value: bigEndian(abi, data[off:off+f.size]),
				})
			}
		}
		return regs
	},
	check: func(m *regset.Machine, abi regset.ABI, data []byte, r *report) {
		for i, b := range breakpoints(abi, data) {
			checkHWBreakpoint(m, abi, b, &report{fmt.Sprintf("%s: bp%d", r.set, i), r.out})
		}
	},
}

// checkHWBreakpoint makes the kernel's own checks of ppc_set_hwdebug, and those
// of what the machine's registers can watch.
func checkHWBreakpoint(m *regset.Machine, abi regset.ABI, b HWBreakpoint, r *report) {
	if b.Version != 1 {
		r.add("version", fmt.Sprintf("%d, not 1", b.Version))
	}
	execute := b.TriggerType == TriggerExecute
	if !execute && (b.TriggerType == 0 || b.TriggerType&^(TriggerRead|TriggerWrite) != 0) {
		r.add("trigger_type", fmt.Sprintf("%#x is neither execute nor read or write", b.TriggerType))
	}
	if b.ConditionMode != 0 {
		r.add("condition_mode", "conditions on values are not restored")
	}
	end := taskSize(m, abi)
	if b.Addr >= end {
		r.add("addr", fmt.Sprintf("%#x is not an address of user memory", b.Addr))
	}
	if execute && b.Addr&3 != 0 {
		r.add("addr", fmt.Sprintf("%#x is not aligned to 4 bytes", b.Addr))
	}
	switch b.AddrMode {
	case ModeExact:
	case ModeRangeInclusive, ModeRangeExclusive:
		if b.Addr2 <= b.Addr || b.Addr2 >= end {
			r.add("addr2", fmt.Sprintf("range %#x to %#x is not one of user memory", b.Addr, b.Addr2))
			return
		}
		if !execute {
			checkRange(m, b, r)
		}
	default:
		r.add("addr_mode", fmt.Sprintf("mode %d is not restored", b.AddrMode))
	}
}

// checkRange tells whether the machine can watch a range of data
// (hw_breakpoint_validate_len in arch/powerpc/kernel/hw_breakpoint.c, which
// takes addr2 for the first byte after it; set_dac_range for BookE).
func checkRange(m *regset.Machine, b HWBreakpoint, r *report) {
	if !m.BreakpointRanges {
		r.add("addr2", "the machine watches no ranges")
		return
	}
	if m.Has.Has(FeatureDAC) {
		return
	}
	if b.AddrMode != ModeRangeInclusive {
		r.add("addr_mode", "the machine watches no exclusive ranges")
		return
	}
	limit, what := uint64(maxDABR), "DABR"
	if m.Has.Has(FeatureDAWR) {
		limit, what = maxDAWR, "DAWR"
	}
	first, last := b.Addr&^7, (b.Addr2-1)|7
	if last-first >= limit {
		r.add("addr2", fmt.Sprintf("a range of %d bytes from %#x does not fit a %s", b.Addr2-b.Addr, b.Addr, what))
	} else if limit == maxDAWR && !m.Has.Has(FeatureARCH3_1) && first/maxDAWR != last/maxDAWR {
		r.add("addr2", fmt.Sprintf("the range crosses a boundary of %d bytes, which a DAWR before ISA 3.1 cannot", maxDAWR))
	}
}

// checkBreakpoints tells whether the machine has registers enough for all
// breakpoints together.
func checkBreakpoints(m *regset.Machine, s *regset.State, out *regset.Problems) {
	var data, insn int
	if dabr := s.Find(regset.NoteDebugreg); nonzero(dabr) {
		data++
	}
	list := breakpoints(s.ABI, s.Find(regset.NoteHWDebug))
	for _, b := range list {
		slots := 1
		if b.AddrMode != ModeExact && m.Has.Has(FeatureDAC) {
			slots = 2 // BookE makes a range of two registers
		}
		if b.TriggerType&TriggerExecute != 0 {
			insn += slots
		} else {
			data += slots
		}
	}
	r := &report{hwdebugSet.name, out}
	if len(list) == 0 {
		return // the one of NoteDebugreg is checked as a feature
	}
	if data > m.DataBreakpoints {
		r.add("", fmt.Sprintf("needs %d data breakpoints, the machine has %d", data, m.DataBreakpoints))
	}
	if insn > m.InstructionBreakpoints {
		r.add("", fmt.Sprintf("needs %d instruction breakpoints, the machine has %d", insn, m.InstructionBreakpoints))
	}
}
