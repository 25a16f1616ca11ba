package x86

import (
	"cr/regset"
)

const (
	bitsAVX    = xcr0AVX
	bitsAVX512 = xcr0AVX512
	bitPKRU    = 1 << xPKRU
)

const (
	isaBase = FPU | CX8 | CMOV | MMX | DEBUG | LDT | TLS
	isaFX   = isaBase | FXSR | SSE | SSE2
	isaMax  = isaFX | LM | XSAVE | AVX | AVX2 | MPX | AVX512F | PKU | AMX | APX | SHSTK
)

// machine makes a Machine whose components lie as l has them.
func machine(arch string, has regset.Mask, l xlayout, xcr0 uint64) *regset.Machine {
	m := &regset.Machine{Arch: arch, ABIs: []string{"i386"}, Has: has, XFeatures: xcr0, MXCSRMask: 0x2ffff}
	if arch == archX86_64 {
		m.ABIs = append(m.ABIs, "x86_64")
	}
	for n := xAVX; n < xMax; n++ {
		if p, ok := l[n]; ok && xcr0>>uint(n)&1 != 0 {
			m.XComponents = append(m.XComponents, regset.XComponent{Number: n, Offset: p.offset, Size: p.size})
		}
	}
	if xcr0 != 0 {
		m.Sizes = map[string]int{nameXSTATE: xstateLen(m)}
	}
	return m
}

var (
	server  = machine("x86_64", isaMax&^(MPX|APX), layoutIntel, bitsAVX512|bitPKRU|xcr0AMX)
	zen4    = machine("x86_64", isaMax&^(MPX|APX|AMX), layoutAMD, bitsAVX512|bitPKRU)
	laptop  = machine("x86_64", isaMax&^(MPX|APX|AMX|AVX512F|PKU), layoutIntel, bitsAVX)
	apx     = machine("x86_64", isaMax&^MPX, layoutIntel, bitsAVX512|bitPKRU|xcr0AMX|1<<xAPX)
	qemu64  = machine("x86_64", isaFX|LM, nil, 0)
	pc      = machine("i386", isaFX|XSAVE|AVX, layoutIntel, bitsAVX)
	qemu32  = machine("i386", isaFX, nil, 0)
	pentium = machine("i386", isaBase, nil, 0)

	machines = []*regset.Machine{server, zen4, laptop, apx, qemu64, pc, qemu32, pentium}
)

// gprSet makes a PRSTATUS set of registers by name.
func gprSet(abi regset.ABI, values map[string]uint64) []byte {
	l := gprLayoutOf(abi)
	g := gprs{l, make([]byte, l.size())}
	for i, n := range l.names {
		if v, ok := values[n]; ok {
			g.set(i, v)
		}
	}
	return g.bytes
}

func gprValues(abi regset.ABI, data []byte) map[string]uint64 {
	l := gprLayoutOf(abi)
	values := map[string]uint64{}
	for i, n := range l.names {
		values[n] = gprs{l, data}.get(i)
	}
	return values
}

func values64() map[string]uint64 {
	return map[string]uint64{
		"rip": 0x401000, "rsp": 0x7ffc0000, "cs": 0x33, "ss": 0x2b, "eflags": 0x246,
		"orig_rax": noCall, "fs_base": 0x7f0000001740,
	}
}

func values32(m *regset.Machine) map[string]uint64 {
	t := gdtOf(m)
	return map[string]uint64{
		"eip": 0x8049000, "esp": 0xbff00000, "cs": uint64(t.code), "ss": uint64(t.data),
		"ds": uint64(t.data), "es": uint64(t.data), "gs": uint64(t.selector(segTLS)),
		"eflags": 0x246, "orig_eax": noCall,
	}
}

// xset makes the NT_X86_XSTATE set of a task of m with components filled with
// a byte.
func xset(m *regset.Machine, components map[int]byte) []byte {
	f := fpState{fx: initFX(), bv: xLegacy, room: m.XFeatures, components: map[int][]byte{}}
	for n, v := range components {
		f.components[n] = fill(machineLayout(m)[n].size, v)
		if n == xPKRU {
			copy(f.components[n][4:], make([]byte, 4))
		}
	}
	return f.xstate(m, regset.X86_64)
}

func fill(n int, v byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = v
	}
	return b
}

func words64(v ...uint64) []byte {
	b := make([]byte, 8*len(v))
	for i := range v {
		le.PutUint64(b[8*i:], v[i])
	}
	return b
}

func descs(list ...userDesc) []byte {
	b := make([]byte, userDescSize*len(list))
	for i := range list {
		list[i].put(b[i*userDescSize:])
	}
	return b
}

// tlsSet is what a kernel gives of a task with one descriptor.
func tlsSet(m *regset.Machine) []byte {
	n := uint32(gdtOf(m).tls)
	return descs(
		userDesc{n, 0xb7f00a00, descMaxLimit, descSeg32 | descPages | descUseable},
		userDesc{n + 1, 0, 0, descReadExec | descNotPresent},
		userDesc{n + 2, 0, 0, descReadExec | descNotPresent},
	)
}

// task64 and task32 are tasks of m, with the sets that its kernel gives.
func task64(m *regset.Machine) *regset.State {
	s := &regset.State{ABI: regset.X86_64}
	s.Put(regset.PRSTATUS, gprSet(regset.X86_64, values64()))
	s.Put(regset.PRFPREG, initFX())
	if hasXState(m) {
		s.Put(regset.NoteX86XLayout, Layout(m.XComponents))
		s.Put(regset.X86_XSTATE, xset(m, nil))
		s.Put(regset.NoteX86Permits, words64(m.XFeatures&^xPermit))
	}
	s.Put(regset.NoteDebugreg, words64(0, 0, 0, 0, 0xffff0ff0, 0))
	return s
}

func task32(m *regset.Machine) *regset.State {
	s := &regset.State{ABI: regset.I386}
	s.Put(regset.PRSTATUS, gprSet(regset.I386, values32(m)))
	s.Put(regset.PRFPREG, fsaveOfFX(initFX()))
	if m.Has.Has(FXSR) {
		s.Put(regset.PRXFPREG, initFX())
	}
	if hasXState(m) {
		s.Put(regset.NoteX86XLayout, Layout(m.XComponents))
		s.Put(regset.X86_XSTATE, xset(m, nil))
	}
	s.Put(regset.I386_TLS, tlsSet(m))
	s.Put(regset.NoteDebugreg, words64(0, 0, 0, 0, 0xffff0ff0, 0))
	return s
}
