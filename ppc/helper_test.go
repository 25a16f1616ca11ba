package ppc

import (
	"bytes"
	"strings"

	"cr/regset"
)

var abis = []regset.ABI{regset.PPC, regset.PPC64, regset.PPC64LE}

// power10 has everything a server has, e500 everything it has not.
func power10() *regset.Machine {
	return &regset.Machine{
		Arch: "ppc64", ABIs: []string{"ppc", "ppc64", "ppc64le"},
		Has: FromHWCAP(regset.PPC64, 0xdc0065c2|0x80|0x400, 0xaeb60000|0x40000000|0x10000000, Info{
			DataBreakpoints: 2, DebugFeatures: DebugDataRange | DebugDAWR,
			Sets: []regset.Note{regset.PPC_PMU, regset.PPC_DEXCR, regset.PPC_HASHKEYR, regset.PPC_PKEY},
		}),
		DataBreakpoints: 2, BreakpointRanges: true,
	}
}

func power8() *regset.Machine {
	return &regset.Machine{
		Arch: "ppc64", ABIs: []string{"ppc", "ppc64", "ppc64le"},
		Has: FromHWCAP(regset.PPC64, 0xdc0065c2, 0xfe000000, Info{
			DataBreakpoints: 1, DebugFeatures: DebugDataRange | DebugDAWR, Sets: []regset.Note{regset.PPC_PMU},
		}),
		DataBreakpoints: 1, BreakpointRanges: true,
	}
}

func g5() *regset.Machine {
	return &regset.Machine{
		Arch: "ppc64", ABIs: []string{"ppc", "ppc64"},
		Has:             FromHWCAP(regset.PPC64, 0xdc080000, 0, Info{DataBreakpoints: 1, DebugFeatures: DebugDataRange}),
		DataBreakpoints: 1, BreakpointRanges: true,
	}
}

func g4() *regset.Machine {
	return &regset.Machine{
		Arch: "ppc", ABIs: []string{"ppc"},
		Has:             FromHWCAP(regset.PPC, 0x9c000000, 0, Info{DataBreakpoints: 1, DebugFeatures: DebugDataRange}),
		DataBreakpoints: 1, BreakpointRanges: true,
	}
}

func e500v2() *regset.Machine {
	return &regset.Machine{
		Arch: "ppc", ABIs: []string{"ppc"},
		Has: FromHWCAP(regset.PPC, 0x84e08000, 0x08000000, Info{
			DataBreakpoints: 2, InstructionBreakpoints: 2, DebugFeatures: 0xf, FPEmulation: true,
		}),
		DataBreakpoints: 2, InstructionBreakpoints: 2, BreakpointRanges: true,
	}
}

// prstatus is the registers of a task that just started.
func prstatus(abi regset.ABI) []byte {
	data := make([]byte, nGPR*abi.WordSize())
	g := gprs(abi, data)
	msr := uint64(msrPR)
	if abi.WordSize() == 8 {
		msr |= msrSF | 1<<60 // HV, as the kernel shows it
	}
	if !abi.BigEndian {
		msr |= msrLE
	}
	g.set(ptMSR, msr)
	g.set(ptNIP, 0x10000100)
	g.set(1, 0x20000000)
	return data
}

func stateOf(abi regset.ABI, more ...regset.Set) *regset.State {
	return &regset.State{ABI: abi, Sets: append([]regset.Set{{Note: regset.PRSTATUS, Data: prstatus(abi)}}, more...)}
}

// unused is a state with every set that a task can have, none of them used.
func unused(abi regset.ABI) *regset.State {
	s := stateOf(abi)
	for _, d := range sets {
		if !d.has(abi) || checkpointed(d.note) || d.note == regset.PRSTATUS || d.note == regset.NoteHWDebug {
			continue
		}
		switch {
		case d.note == regset.NotePPCPrctl:
			p := noPrctl
			p.FPExc, p.Unalign = fpexcPrecise, 0
			s.Put(d.note, p.Encode(abi))
		case d.note == regset.PPC_DEXCR:
			s.Put(d.note, u64s(abi, dexcrNPHIE, 0))
		case d.note == regset.PPC_PKEY:
			s.Put(d.note, u64s(abi, 0x0fff<<48, 0x0555<<48, 0x0fff<<48))
		case d.initial != nil:
			s.Put(d.note, d.initial(abi))
		default:
			s.Put(d.note, make([]byte, d.size(abi)))
		}
	}
	return s
}

func u64s(abi regset.ABI, vs ...uint64) []byte {
	b := make([]byte, 8*len(vs))
	for i, v := range vs {
		abi.Order().PutUint64(b[8*i:], v)
	}
	return b
}

// with returns a copy of data with a 64-bit value at off.
func with(abi regset.ABI, data []byte, off int, v uint64) []byte {
	data = append([]byte(nil), data...)
	abi.Order().PutUint64(data[off:], v)
	return data
}

func withWord(abi regset.ABI, i int, v uint64) []byte {
	data := prstatus(abi)
	gprs(abi, data).set(i, v)
	return data
}

func table(abi regset.ABI) map[regset.Note]regset.Desc {
	m := make(map[regset.Note]regset.Desc)
	for _, d := range Arch.Table(abi) {
		m[d.Note] = d
	}
	return m
}

func reg(regs []regset.Reg, name string) []byte {
	for _, r := range regs {
		if r.Name == name {
			return r.Value
		}
	}
	return nil
}

// problem reports whether one of the problems names the set and register.
func problem(p regset.Problems, set, reg string) bool {
	for _, e := range p {
		if strings.HasPrefix(e.Set, set) && e.Reg == reg && e.Reason != "" {
			return true
		}
	}
	return false
}

func ones(n int) []byte { return bytes.Repeat([]byte{0xff}, n) }
