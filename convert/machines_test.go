package convert_test

import (
	"encoding/binary"

	"cr/image"
	"cr/image/imagetest"
	"cr/ppc"
	"cr/regset"
	"cr/x86"
)

// Machines as their kernels describe them.
var (
	power10 = power(0xdc0065c2, 0xaee60000, "power10", 2)
	power9  = power(0xdc0065c2, 0xaef00000, "power9", 0)
	power8  = power(0xdc0065c2, 0xef000000, "power8", 1)
	novsx   = power(0xdc006142, 0xef000000, "power8", 1) // with cap-vsx=off,cap-dfp=off
	g5      = power(0xdc080000, 0, "ppc970", 1)
	g4      = mac(0x9c000001)
	g3      = mac(0x8c000001)

	server = pc("x86_64", level4|rest, 0xe7, []regset.XComponent{{Number: 2, Offset: 576, Size: 256},
		{Number: 5, Offset: 1088, Size: 64}, {Number: 6, Offset: 1152, Size: 512}, {Number: 7, Offset: 1664, Size: 1024}})
	laptop  = pc("x86_64", x86.Levels["x86-64-v3"]|rest, 7, []regset.XComponent{{Number: 2, Offset: 576, Size: 256}})
	nehalem = pc("x86_64", x86.Levels["x86-64-v2"]|rest, 0, nil)
	pentium = pc("i386", x86.Levels["i686"]|x86.MMX|x86.FXSR|x86.SSE|x86.SSE2|rest&^x86.LM, 0, nil)
)

const rest = x86.DEBUG | x86.LDT | x86.TLS | x86.FSGSBASE

var level4 = x86.Levels["x86-64-v4"]

func power(hwcap, hwcap2 uint64, platform string, breakpoints int) *regset.Machine {
	info := ppc.Info{DataBreakpoints: breakpoints, DebugFeatures: ppc.DebugDataRange | ppc.DebugDAWR, Sets: []regset.Note{regset.PPC_PMU}}
	return &regset.Machine{
		Arch: "ppc64", Release: "6.12.95", PageSize: 4096, ABIs: []string{"ppc64", "ppc"}, HWCAP: hwcap, HWCAP2: hwcap2,
		Platform: platform, BasePlatform: platform, Has: ppc.FromHWCAP(regset.PPC64, hwcap, hwcap2, info),
		DataBreakpoints: breakpoints, TaskSizes: map[string]uint64{"ppc64": 1 << 46, "ppc": 1<<32 - 4096},
	}
}

func mac(hwcap uint64) *regset.Machine {
	return &regset.Machine{
		Arch: "ppc", Release: "6.12.95", PageSize: 4096, ABIs: []string{"ppc"}, HWCAP: hwcap,
		Has: ppc.FromHWCAP(regset.PPC, hwcap, 0, ppc.Info{DataBreakpoints: 1}), DataBreakpoints: 1,
	}
}

func pc(arch string, has regset.Mask, xfeatures uint64, components []regset.XComponent) *regset.Machine {
	m := &regset.Machine{Arch: arch, Release: "6.12.95", PageSize: 4096, ABIs: []string{arch}, Has: has,
		XFeatures: xfeatures, XComponents: components, MXCSRMask: 0xffff}
	m.HWCAP, _ = x86.MaskHWCAP(has, 0xffffffff, 0)
	if arch == "x86_64" {
		m.ABIs = append(m.ABIs, "i386")
	}
	return m
}

// words lays out words of an ABI.
func words(abi regset.ABI, list ...uint64) []byte {
	b := make([]byte, len(list)*abi.WordSize())
	for i, v := range list {
		if abi.WordSize() == 8 {
			abi.Order().PutUint64(b[8*i:], v)
		} else {
			abi.Order().PutUint32(b[4*i:], uint32(v))
		}
	}
	return b
}

// prstatus is the general registers of a program that has just begun.
func prstatus(m *regset.Machine, abi regset.ABI) []byte {
	var w [48]uint64
	const pc, sp = 0x10000100, 0x7ffe1000
	switch abi {
	case regset.X86_64: // orig_rax, rip, cs, eflags, rsp, ss
		w[15], w[16], w[17], w[18], w[19], w[20] = ^uint64(0), pc, 0x33, 0x202, sp, 0x2b
		return words(abi, w[:27]...)
	case regset.I386: // orig_eax, eip, cs, eflags, esp, ss
		w[11], w[12], w[13], w[14], w[15], w[16] = ^uint64(0), pc, 0x73, 0x202, sp, 0x7b
		if m.Arch == "x86_64" {
			w[13], w[16] = 0x23, 0x2b
		}
		return words(abi, w[:17]...)
	}
	const msrSF, msrPR, msrLE = 1 << 63, 1 << 14, 1
	w[1], w[32], w[33] = sp, pc, msrPR
	if abi.WordSize() == 8 {
		w[33] |= msrSF
	}
	if !abi.BigEndian {
		w[33] |= msrLE
	}
	return words(abi, w[:]...)
}

// made is an image that a machine made of tasks of an ABI, with more register
// sets of the root's thread.
func made(m *regset.Machine, abi regset.ABI, sets ...regset.Set) *image.Image {
	img := imagetest.Image(abi)
	img.Header.HWCAP, img.Header.HWCAP2 = m.HWCAP, m.HWCAP2
	img.Header.Machine, img.Header.Features = m.Arch, 0
	if abi.WordSize() == 4 && m.Arch != abi.String() {
		img.Header.ABI.Machine = map[string]uint16{"ppc64": regset.EMPPC64, "x86_64": regset.EMX86_64}[m.Arch]
	}
	for _, c := range img.CPUs {
		c.State = regset.State{ABI: abi, Sets: []regset.Set{{Note: regset.PRSTATUS, Data: prstatus(m, abi)}}}
		if c.TID == imagetest.Thread {
			c.State.Sets = append(c.State.Sets, sets...)
		}
		arch := ppc.Arch
		if !abi.IsPPC() {
			arch = x86.Arch
		}
		c.State.Used = arch.Used(&c.State)
		img.Header.Features |= c.State.Used
	}
	for _, mm := range img.MMs {
		mm.Auxv = words(abi, 6, 4096, 16, m.HWCAP, 26, m.HWCAP2, 0, 0)
	}
	return img
}

// set is a register set of zeros but for one byte.
func set(note regset.Note, size, at int, value byte) regset.Set {
	data := make([]byte, size)
	data[at] = value
	return regset.Set{Note: note, Data: data}
}

// vmx is vector registers with one in use, or none.
func vmx(used byte) regset.Set {
	s := set(regset.PPC_VMX, 544, 0, used)
	binary.BigEndian.PutUint32(s.Data[32*16+12:], 1<<16) // VSCR: NJ
	return s
}

// xstate is an NT_X86_XSTATE set of a machine that has all that is in xcr0, and
// of which a task has used what is in bv: AVX, or AVX-512.
func xstate(xcr0, bv uint64) regset.Set {
	size := 832
	if xcr0>>7&1 != 0 {
		size = 2688
	}
	s := set(regset.X86_XSTATE, size, 0, 0)
	x := s.Data
	binary.LittleEndian.PutUint16(x, 0x37f)
	binary.LittleEndian.PutUint32(x[24:], 0x1f80)
	binary.LittleEndian.PutUint64(x[464:], xcr0)
	binary.LittleEndian.PutUint64(x[512:], bv)
	if bv>>2&1 != 0 {
		x[600] = 1
	}
	if bv>>7&1 != 0 {
		x[2000] = 1
	}
	return s
}
