package x86

import "cr/regset"

// NT_X86_XSTATE is an area of XSAVE's standard format: the FXSAVE area, of
// whose unused bytes the kernel takes some to say which components there is
// room for, a header, and the components (Intel SDM volume 1, 13.4).
const (
	xXCR0     = 464
	xBV       = 512 // the components that are not in their initial state
	xCompBV   = 520
	xReserved = 528
	xExtended = 576

	xLegacy = 1<<xX87 | 1<<xSSE

	maxXStateLen = 1 << 16 // far above all there is, for hostile sizes
)

// hasXState reports whether the machine's kernel has the set.
func hasXState(m *regset.Machine) bool { return m.XFeatures&xLegacy == xLegacy }

// xstateLen is the size of the machine's set.
func xstateLen(m *regset.Machine) int {
	n := xExtended
	for _, p := range machineLayout(m) {
		if e := p.offset + p.size; e > n {
			n = e
		}
	}
	if s := m.Sizes[nameXSTATE]; s > n && s <= maxXStateLen {
		n = s
	}
	return n
}

// fpState is the floating point and extended state of a task, whichever set it
// came in.
type fpState struct {
	fx         []byte         // FXSAVE area
	bv         uint64         // components not in their initial state
	room       uint64         // components that the area has room for
	components map[int][]byte // by number, of those in bv
}

// fpStateOf reads the set that holds the most. It is the initial state if
// there is none.
func fpStateOf(m *regset.Machine, s *regset.State) fpState {
	f := fpState{bv: xLegacy, room: xLegacy}
	if x := s.Find(regset.X86_XSTATE); len(x) >= xExtended {
		return fpStateOfXState(x, layoutOf(m, s.Find(regset.NoteX86XLayout), x))
	}
	fx, fs := s.Find(regset.PRXFPREG), s.Find(regset.PRFPREG)
	if fpIsFX(s.ABI) {
		fx, fs = fs, nil
	}
	switch {
	case len(fx) == fxSize:
		f.fx = fx
	case len(fs) == fsaveSize:
		f.fx = fxOfFSAVE(fs)
	default:
		f.fx = initFX()
	}
	return f
}

func fpStateOfXState(x []byte, l xlayout) fpState {
	f := fpState{
		fx:         clone(x[:fxSize]),
		bv:         le.Uint64(x[xBV:]),
		components: map[int][]byte{},
	}
	f.room = f.bv | le.Uint64(x[xXCR0:])
	initial := initFX()
	if f.bv&(1<<xX87) == 0 {
		copy(f.fx[:fxMXCSR], initial)
		copy(f.fx[fxST:fxXMM], initial[fxST:])
	}
	if f.bv&(1<<xSSE) == 0 {
		copy(f.fx[fxXMM:fxEnd], initial[fxXMM:])
		// AVX alone keeps MXCSR too.
		if f.bv&(1<<xAVX) == 0 {
			copy(f.fx[fxMXCSR:fxST], initial[fxMXCSR:])
		}
	}
	for n := xAVX; n < xMax; n++ {
		p, ok := l[n]
		if f.bv>>uint(n)&1 != 0 && ok && p.offset+p.size <= len(x) {
			f.components[n] = x[p.offset : p.offset+p.size]
		}
	}
	return f
}

// xstate makes the machine's NT_X86_XSTATE set.
func (f fpState) xstate(m *regset.Machine, abi regset.ABI) []byte {
	x := make([]byte, xstateLen(m))
	copy(x, fxFit(m, abi, f.fx))
	bv := f.bv & xLegacy
	if usedSSE(f.fx) {
		// AVX, which may be left out, had kept MXCSR.
		bv |= 1 << xSSE
	}
	for n, p := range machineLayout(m) {
		switch data, ok := f.components[n]; {
		case ok && len(data) == p.size:
			copy(x[p.offset:], data)
			bv |= 1 << uint(n)
		case n == xPKRU && f.room&(1<<xPKRU) == 0:
			// What exec would give the task on a machine with keys.
			le.PutUint32(x[p.offset:], pkruDefault)
			bv |= 1 << xPKRU
		}
	}
	le.PutUint64(x[xXCR0:], m.XFeatures)
	le.PutUint64(x[xBV:], bv)
	return x
}

// features are those whose state is not the initial one. A component whose
// place is not known counts as used.
func (f fpState) features() regset.Mask {
	mask := fxFeatures(f.fx)
	for n := xAVX; n < xMax; n++ {
		if f.bv>>uint(n)&1 == 0 {
			continue
		}
		if data, ok := f.components[n]; !ok || !xinitial(n, data) {
			mask |= xcomponents[n].feature
		}
	}
	return mask
}

func xstateRegs(abi regset.ABI, data []byte) []regset.Reg {
	if len(data) < xExtended {
		return nil
	}
	regs := append(fxRegs(abi, data), reg("xcr0", data[xXCR0:xXCR0+8]), reg("xstate_bv", data[xBV:xCompBV]))
	l, xcr0 := guessLayout(data), le.Uint64(data[xXCR0:])
	for n := xAVX; n < xMax; n++ {
		p, ok := l[n]
		if ok && xcr0>>uint(n)&1 != 0 && p.offset+p.size <= len(data) {
			regs = append(regs, xcomponents[n].list(data[p.offset:p.offset+p.size])...)
		}
	}
	return regs
}

func xstateUsed(_ regset.ABI, data []byte) bool {
	return len(data) >= xExtended && fpStateOfXState(data, guessLayout(data)).features() != 0
}

func xstateCheck(m *regset.Machine, _ regset.ABI, data []byte, out *regset.Problems) {
	checkXState(m, data, layoutOf(m, nil, data), out)
}

// checkXState has the rules of copy_uabi_to_xstate (arch/x86/kernel/fpu/xstate.c),
// and refuses what the machine has no room for.
func checkXState(m *regset.Machine, data []byte, l xlayout, out *regset.Problems) {
	if len(data) < xExtended || len(data) > maxXStateLen {
		problem(out, nameXSTATE, "", "size is %d bytes, not %d to %d", len(data), xExtended, maxXStateLen)
		return
	}
	checkMXCSR(m, nameXSTATE, data, out)
	if v := le.Uint64(data[xCompBV:]); v != 0 {
		problem(out, nameXSTATE, "xcomp_bv", "%#x is not 0", v)
	}
	if !zero(data[xReserved:xExtended]) {
		problem(out, nameXSTATE, "", "reserved bytes of the header are not 0")
	}
	bv, machine := le.Uint64(data[xBV:]), machineLayout(m)
	if bv>>xMax != 0 {
		problem(out, nameXSTATE, "xstate_bv", "bit %d is set", xMax)
	}
	for n := xAVX; n < xMax; n++ {
		if bv>>uint(n)&1 == 0 {
			continue
		}
		name := xname(n)
		p, ok := l[n]
		if !ok {
			problem(out, nameXSTATE, name, "the image does not say where it lies")
			continue
		}
		if p.offset+p.size > len(data) {
			problem(out, nameXSTATE, name, "lies at %d to %d, beyond the end at %d", p.offset, p.offset+p.size, len(data))
			continue
		}
		if xinitial(n, data[p.offset:p.offset+p.size]) {
			continue
		}
		here, ok := machine[n]
		switch c := xcomponents[n]; {
		case !ok && c.feature != 0:
			lacking(out, nameXSTATE, name, c.feature)
		case !ok:
			problem(out, nameXSTATE, name, "is in use, and this machine does not have it")
		case here.size != p.size:
			problem(out, nameXSTATE, name, "is %d bytes, and %d on this machine", p.size, here.size)
		}
	}
}

// xstateFit is nil where the machine has no such set; Arch.Fit finds the one
// to use.
func xstateFit(m *regset.Machine, abi regset.ABI, data []byte) []byte {
	if !hasXState(m) {
		return nil
	}
	return fpStateOfXState(data, layoutOf(m, nil, data)).xstate(m, abi)
}
