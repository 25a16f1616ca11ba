package x86

import "cr/regset"

// gdt is the part of a kernel's global descriptor table that user programs may
// select from (arch/x86/include/asm/segment.h). The 32-bit and the 64-bit
// kernel have the same segments at other places.
type gdt struct {
	code   uint16 // selector of 32-bit code
	code64 uint16 // selector of 64-bit code, 0 if there is none
	data   uint16
	tls    uint16 // entry number of the first of tlsEntries
}

var (
	gdtI386   = gdt{code: 0x73, data: 0x7b, tls: 6}
	gdtX86_64 = gdt{code: 0x23, code64: 0x33, data: 0x2b, tls: 12}
)

// segment is what a selector selects.
type segment int

const (
	segNone segment = iota // nothing that a program may select
	segNull
	segLDT
	segCode
	segCode64
	segData
	segTLS // and the two that follow
)

const (
	rplUser = 3
	ldtBit  = 4 // table indicator of a selector
)

func gdtOf(m *regset.Machine) gdt {
	if kernel64(m) {
		return gdtX86_64
	}
	return gdtI386
}

// gdtOfTask tells the kernel that a 32-bit task ran on by its code segment, or
// by its stack segment where the code lies in an LDT.
func gdtOfTask(g gprs) (gdt, bool) {
	cs, ss := g.get(g.cs), g.get(g.ss)
	for _, t := range []gdt{gdtI386, gdtX86_64} {
		if cs == uint64(t.code) || cs&ldtBit != 0 && ss == uint64(t.data) {
			return t, true
		}
	}
	return gdt{}, false
}

func (t gdt) segment(sel uint64) segment {
	switch {
	case sel > 0xffff:
		return segNone
	case sel == 0 || sel == rplUser:
		return segNull
	case sel&rplUser != rplUser:
		return segNone
	case sel&ldtBit != 0:
		return segLDT
	case sel == uint64(t.code):
		return segCode
	case sel == uint64(t.code64):
		return segCode64
	case sel == uint64(t.data):
		return segData
	}
	if n := sel>>3 - uint64(t.tls); n < tlsEntries {
		return segTLS + segment(n)
	}
	return segNone
}

// selector is the inverse of segment, for the segments of the GDT.
func (t gdt) selector(s segment) uint16 {
	switch s {
	case segCode:
		return t.code
	case segCode64:
		return t.code64
	case segData:
		return t.data
	}
	return (t.tls+uint16(s-segTLS))<<3 | rplUser
}

// taskGDT is the GDT that a task's selectors refer to. A task of which neither
// code nor stack tells is taken for one of the machine's own.
func taskGDT(m *regset.Machine, abi regset.ABI, g gprs) gdt {
	if abi == regset.X86_64 {
		return gdtX86_64
	}
	if t, ok := gdtOfTask(g); ok {
		return t
	}
	return gdtOf(m)
}

func checkSelectors(m *regset.Machine, abi regset.ABI, g gprs, out *regset.Problems) {
	t := taskGDT(m, abi, g)
	switch s := t.segment(g.get(g.cs)); {
	case s == segCode || s == segLDT:
	case s == segCode64 && abi == regset.X86_64:
	default:
		problem(out, namePRSTATUS, "cs", "%#x selects no code segment of a user program", g.get(g.cs))
	}
	for _, i := range append([]int{g.ss}, g.data...) {
		s := t.segment(g.get(i))
		switch {
		case s == segNone, s == segNull && i == g.ss, s == segCode64 && abi != regset.X86_64:
			problem(out, namePRSTATUS, g.names[i], "%#x selects no data segment of a user program", g.get(i))
		case s >= segTLS && abi == regset.X86_64:
			problem(out, namePRSTATUS, g.names[i], "%#x selects a TLS descriptor, which 64-bit tasks have none of", g.get(i))
		}
	}
}

// fitSelectors translates the selectors of the kernel that the task ran on to
// those of the machine's.
func fitSelectors(m *regset.Machine, abi regset.ABI, g gprs) {
	from, to := taskGDT(m, abi, g), gdtOf(m)
	for _, i := range append([]int{g.cs, g.ss}, g.data...) {
		if s := from.segment(g.get(i)); s >= segCode {
			g.set(i, uint64(to.selector(s)))
		}
	}
}

// usesLDT names the first segment register that selects from the LDT, if any.
func usesLDT(g gprs) string {
	for _, i := range append([]int{g.cs, g.ss}, g.data...) {
		if v := g.get(i); v&ldtBit != 0 {
			return g.names[i]
		}
	}
	return ""
}
