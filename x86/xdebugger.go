package x86

import "cr/regset"

// XStateForDebuggers is a state's NT_X86_XSTATE set with its components where
// Intel's processors have them. Debuggers that know of no other layout (gdb before
// 14) look for them there, and those that do know tell the layout by the size.
// The set is as it is if a component has no place in either layout.
func XStateForDebuggers(s *regset.State) []byte {
	data := s.Find(regset.X86_XSTATE)
	if len(data) < xExtended {
		return data
	}
	from, xcr0 := layoutOf(nil, s.Find(regset.NoteX86XLayout), data), le.Uint64(data[xXCR0:])
	end, ok := layoutIntel.end(xcr0)
	if !ok {
		return data
	}
	out := make([]byte, end)
	copy(out, data[:xExtended])
	for n := xAVX; n < xMax; n++ {
		if xcr0>>uint(n)&1 == 0 {
			continue
		}
		p, known := from[n]
		to := layoutIntel[n]
		if !known || p.size != to.size || p.offset+p.size > len(data) {
			return data
		}
		copy(out[to.offset:], data[p.offset:p.offset+p.size])
	}
	return out
}

// FPForDebuggers are the older sets of what NT_X86_XSTATE holds, as they are in
// the kernel's core files beside it: for tools that know nothing else. There are
// none if the state has them itself.
func FPForDebuggers(s *regset.State) []regset.Set {
	data := s.Find(regset.X86_XSTATE)
	if s.ABI.IsPPC() || len(data) < fxSize || s.Find(regset.PRFPREG) != nil {
		return nil
	}
	// What follows the registers in FXSAVE's area is software's; the kernel
	// clears it here (copy_xstate_to_uabi_buf).
	fx := append(append([]byte(nil), data[:fxEnd]...), make([]byte, fxSize-fxEnd)...)
	if s.ABI == regset.X86_64 {
		return []regset.Set{{Note: regset.PRFPREG, Data: fx}}
	}
	return []regset.Set{{Note: regset.PRFPREG, Data: fsaveOfFX(fx)}, {Note: regset.PRXFPREG, Data: fx}}
}
