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
