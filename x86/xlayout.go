package x86

import (
	"fmt"

	"cr/regset"
)

// place is where a component lies in an area of XSAVE's standard format.
type place struct{ offset, size int }

// xlayout maps the numbers of components to their places.
type xlayout map[int]place

// Placements of CPU makers, which tell where components lie in an image that
// has no layout. AVX lies at the same place everywhere.
var (
	layoutIntel = xlayout{
		xAVX: {576, 256}, xBndRegs: {960, 64}, xBndCSR: {1024, 64}, xOpmask: {1088, 64},
		xZMMHi256: {1152, 512}, xHi16ZMM: {1664, 1024}, xPKRU: {2688, 8},
		xTileCfg: {2752, 64}, xTileData: {2816, 8192}, xAPX: {960, 128},
	}
	layoutAMD = xlayout{
		xAVX: {576, 256}, xOpmask: {832, 64}, xZMMHi256: {896, 512}, xHi16ZMM: {1408, 1024},
		xPKRU: {2432, 8},
	}
)

const layoutEntry = 12 // bytes of a component in a regset.NoteX86XLayout set

// Layout makes the bytes of a regset.NoteX86XLayout set of a machine's components.
func Layout(components []regset.XComponent) []byte {
	b := make([]byte, layoutEntry*len(components))
	for i, c := range components {
		e := b[i*layoutEntry:]
		le.PutUint32(e, uint32(c.Number))
		le.PutUint32(e[4:], uint32(c.Offset))
		le.PutUint32(e[8:], uint32(c.Size))
	}
	return b
}

// valid reports whether a component lies where one may.
func (p place) valid(n int) bool {
	return n > xSSE && n < xMax && p.offset >= xExtended && p.offset <= maxXStateLen &&
		p.size > 0 && p.size <= maxXStateLen-p.offset
}

// eachPlace calls f for the entries of a set. Numbers that overflow an int of 32
// bits come out negative, which is not valid either.
func eachPlace(data []byte, f func(n int, p place)) {
	for ; len(data) >= layoutEntry; data = data[layoutEntry:] {
		f(int(int32(le.Uint32(data))), place{int(int32(le.Uint32(data[4:]))), int(int32(le.Uint32(data[8:])))})
	}
}

func layoutOfSet(data []byte) xlayout {
	l := xlayout{}
	eachPlace(data, func(n int, p place) {
		if p.valid(n) {
			l[n] = p
		}
	})
	return l
}

// machineLayout has the components that tasks of the machine may use.
func machineLayout(m *regset.Machine) xlayout {
	l := xlayout{}
	for _, c := range m.XComponents {
		p := place{c.Offset, c.Size}
		if p.valid(c.Number) && m.XFeatures>>uint(c.Number)&1 != 0 {
			l[c.Number] = p
		}
	}
	return l
}

// end is the size of an area that has the components of xcr0; ok is false if
// the place of one is not known.
func (l xlayout) end(xcr0 uint64) (end int, ok bool) {
	end = xExtended
	for n := xAVX; n < xMax; n++ {
		if xcr0>>uint(n)&1 == 0 {
			continue
		}
		p, known := l[n]
		if !known {
			return 0, false
		}
		if e := p.offset + p.size; e > end {
			end = e
		}
	}
	return end, true
}

// guessLayout tells the layout of an area from its size and the components it
// says it has room for.
func guessLayout(data []byte) xlayout {
	if len(data) < xExtended {
		return nil
	}
	for _, l := range []xlayout{layoutIntel, layoutAMD} {
		if end, ok := l.end(le.Uint64(data[xXCR0:])); ok && end == len(data) {
			return l
		}
	}
	return xlayout{xAVX: layoutIntel[xAVX]}
}

// layoutOf is the layout of a state's NT_X86_XSTATE set: as the state says, or
// the machine's if the area looks like one of the machine's own, or a guess.
func layoutOf(m *regset.Machine, said, data []byte) xlayout {
	if len(said) != 0 {
		return layoutOfSet(said)
	}
	if m != nil && len(data) >= xExtended && len(data) == xstateLen(m) && le.Uint64(data[xXCR0:]) == m.XFeatures {
		return machineLayout(m)
	}
	return guessLayout(data)
}

func layoutRegs(_ regset.ABI, data []byte) []regset.Reg {
	var regs []regset.Reg
	for i := 0; i+layoutEntry <= len(data); i += layoutEntry {
		regs = append(regs, reg(xname(int(int32(le.Uint32(data[i:])))), data[i+4:i+layoutEntry]))
	}
	return regs
}

func layoutUsed(regset.ABI, []byte) bool { return false }

func layoutCheck(_ *regset.Machine, _ regset.ABI, data []byte, out *regset.Problems) {
	if len(data)%layoutEntry != 0 {
		problem(out, nameXLayout, "", "size %d is no multiple of %d", len(data), layoutEntry)
	}
	seen := map[int]bool{}
	eachPlace(data, func(n int, p place) {
		switch {
		case !p.valid(n):
			problem(out, nameXLayout, fmt.Sprint(n), "%d bytes at %d are no state component", p.size, p.offset)
		case seen[n]:
			problem(out, nameXLayout, fmt.Sprint(n), "component is there twice")
		}
		seen[n] = true
	})
}

func layoutFit(m *regset.Machine, _ regset.ABI, _ []byte) []byte { return Layout(m.XComponents) }
