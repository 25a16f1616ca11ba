package x86

import (
	"fmt"

	"cr/regset"
)

// Sizes of the areas of FXSAVE (user_fxsr_struct) and FSAVE
// (user_i387_ia32_struct).
const (
	fxSize    = 512
	fsaveSize = 108
)

// Offsets in the FXSAVE area (Intel SDM volume 1, 10.5.1). From fxEnd on it
// holds no registers.
const (
	fxFCW       = 0
	fxFSW       = 2
	fxFTW       = 4
	fxFOP       = 6
	fxFIP       = 8
	fxFCS       = 12
	fxFDP       = 16
	fxFDS       = 20
	fxMXCSR     = 24
	fxMXCSRMask = 28
	fxST        = 32
	fxXMM       = 160
	fxEnd       = 416
)

// Offsets in the FSAVE area (Intel SDM volume 1, 8.1.10).
const (
	fsFCW = 0
	fsFSW = 4
	fsFTW = 8
	fsFIP = 12
	fsFCS = 16 // and FOP above it
	fsFDP = 20
	fsFDS = 24
	fsST  = 28
)

// Initial values.
const (
	initFCW   = 0x37f
	initMXCSR = 0x1f80
	// defaultMXCSRMask holds where the CPU says nothing (fpu__init_system_mxcsr).
	defaultMXCSRMask = 0xffbf

	stSize    = 10
	fxSTSpace = 16
	xmmSize   = 16
	fsTagAll  = 0xffff // all registers empty
	fsPadding = 0xffff0000
)

// initFX is the FXSAVE area of a task that has computed nothing.
func initFX() []byte {
	fx := make([]byte, fxSize)
	le.PutUint16(fx[fxFCW:], initFCW)
	le.PutUint32(fx[fxMXCSR:], initMXCSR)
	return fx
}

// usedX87 and usedSSE tell whether an FXSAVE area holds anything but the
// initial state.
func usedX87(fx []byte) bool {
	return le.Uint16(fx[fxFCW:]) != initFCW || !zero(fx[fxFSW:fxMXCSR]) || !zero(fx[fxST:fxXMM])
}

func usedSSE(fx []byte) bool {
	return le.Uint32(fx[fxMXCSR:]) != initMXCSR || !zero(fx[fxXMM:fxEnd])
}

func fxFeatures(fx []byte) regset.Mask {
	var m regset.Mask
	if usedX87(fx) {
		m |= FPU
	}
	if usedSSE(fx) {
		m |= SSE
	}
	return m
}

// usedFSAVE leaves out FCS and FDS: a 64-bit kernel puts the task's own
// selectors there (convert_from_fxsr).
func usedFSAVE(fs []byte) bool {
	return le.Uint16(fs[fsFCW:]) != initFCW || le.Uint16(fs[fsFSW:]) != 0 ||
		le.Uint16(fs[fsFTW:]) != fsTagAll || le.Uint32(fs[fsFIP:]) != 0 ||
		le.Uint32(fs[fsFDP:]) != 0 || !zero(fs[fsST:fsaveSize])
}

// fpIsFX: PRFPREG is the FXSAVE area for 64-bit tasks, FSAVE for 32-bit ones.
func fpIsFX(abi regset.ABI) bool { return abi == regset.X86_64 }

func fpRegs(abi regset.ABI, data []byte) []regset.Reg {
	if fpIsFX(abi) {
		return fxRegs(abi, data)
	}
	if len(data) != fsaveSize {
		return nil
	}
	regs := []regset.Reg{
		reg("fcw", data[fsFCW:fsFCW+2]), reg("fsw", data[fsFSW:fsFSW+2]), reg("ftw", data[fsFTW:fsFTW+2]),
		reg("fip", data[fsFIP:fsFCS]), reg("fcs", data[fsFCS:fsFCS+2]), reg("fop", data[fsFCS+2:fsFDP]),
		reg("fdp", data[fsFDP:fsFDS]), reg("fds", data[fsFDS:fsFDS+2]),
	}
	for i := 0; i < 8; i++ {
		o := fsST + i*stSize
		regs = append(regs, reg(fmt.Sprintf("st%d", i), data[o:o+stSize]))
	}
	return regs
}

// fxRegs lists what any area has that begins as FXSAVE's does.
func fxRegs(abi regset.ABI, data []byte) []regset.Reg {
	if len(data) < fxSize {
		return nil
	}
	regs := []regset.Reg{
		reg("fcw", data[fxFCW:fxFSW]), reg("fsw", data[fxFSW:fxFTW]), reg("ftw", data[fxFTW:fxFTW+1]),
		reg("fop", data[fxFOP:fxFIP]),
	}
	n := 8
	if abi == regset.X86_64 {
		n = 16
		regs = append(regs, reg("fip", data[fxFIP:fxFDP]), reg("fdp", data[fxFDP:fxMXCSR]))
	} else {
		regs = append(regs, reg("fip", data[fxFIP:fxFCS]), reg("fcs", data[fxFCS:fxFCS+2]),
			reg("fdp", data[fxFDP:fxFDS]), reg("fds", data[fxFDS:fxFDS+2]))
	}
	regs = append(regs, reg("mxcsr", data[fxMXCSR:fxMXCSRMask]))
	for i := 0; i < 8; i++ {
		o := fxST + i*fxSTSpace
		regs = append(regs, reg(fmt.Sprintf("st%d", i), data[o:o+stSize]))
	}
	for i := 0; i < n; i++ {
		o := fxXMM + i*xmmSize
		regs = append(regs, reg(fmt.Sprintf("xmm%d", i), data[o:o+xmmSize]))
	}
	return regs
}

func fpUsed(abi regset.ABI, data []byte) bool { return fpFeatures(abi, data) != 0 }

func fpFeatures(abi regset.ABI, data []byte) regset.Mask {
	switch {
	case fpIsFX(abi) && len(data) == fxSize:
		return fxFeatures(data)
	case !fpIsFX(abi) && len(data) == fsaveSize && usedFSAVE(data):
		return FPU
	}
	return 0
}

func fxUsed(_ regset.ABI, data []byte) bool {
	return len(data) == fxSize && fxFeatures(data) != 0
}

func fpCheck(m *regset.Machine, abi regset.ABI, data []byte, out *regset.Problems) {
	if !fpIsFX(abi) {
		checkSize(namePRFPREG, data, fsaveSize, out)
		return
	}
	if checkSize(namePRFPREG, data, fxSize, out) {
		checkMXCSR(m, namePRFPREG, data, out)
	}
}

func xfpCheck(m *regset.Machine, _ regset.ABI, data []byte, out *regset.Problems) {
	if checkSize(namePRXFPREG, data, fxSize, out) {
		checkMXCSR(m, namePRXFPREG, data, out)
	}
}

// checkMXCSR refuses bits that the CPU would fault on.
func checkMXCSR(m *regset.Machine, set string, fx []byte, out *regset.Problems) {
	mask := m.MXCSRMask
	if mask == 0 {
		mask = defaultMXCSRMask
	}
	if v := le.Uint32(fx[fxMXCSR:]); v&^mask != 0 {
		problem(out, set, "mxcsr", "%#x has bits beyond this machine's mask %#x", v, mask)
	}
}

func fpFit(m *regset.Machine, abi regset.ABI, data []byte) []byte {
	if fpIsFX(abi) {
		return fxFit(m, abi, data)
	}
	return clone(data)
}

// fxFit clears what holds no registers. For 32-bit tasks it clears the
// selectors beside FIP and FDP too where the kernel's 64-bit FXRSTOR would
// take them for the upper half of an address.
func fxFit(m *regset.Machine, abi regset.ABI, data []byte) []byte {
	fx := make([]byte, fxSize)
	copy(fx[:fxEnd], data)
	if abi == regset.I386 && kernel64(m) {
		le.PutUint32(fx[fxFCS:], 0)
		le.PutUint32(fx[fxFDS:], 0)
	}
	return fx
}

// fxOfFSAVE converts as convert_to_fxsr does (arch/x86/kernel/fpu/regset.c).
func fxOfFSAVE(fs []byte) []byte {
	fx := initFX()
	copy(fx[fxFCW:fxFCW+2], fs[fsFCW:])
	copy(fx[fxFSW:fxFSW+2], fs[fsFSW:])
	copy(fx[fxFOP:fxFOP+2], fs[fsFCS+2:])
	copy(fx[fxFIP:fxFIP+4], fs[fsFIP:])
	copy(fx[fxFCS:fxFCS+2], fs[fsFCS:])
	copy(fx[fxFDP:fxFDP+4], fs[fsFDP:])
	copy(fx[fxFDS:fxFDS+2], fs[fsFDS:])
	tags := le.Uint16(fs[fsFTW:])
	for i := uint(0); i < 8; i++ {
		if tags>>(2*i)&tagEmpty != tagEmpty {
			fx[fxFTW] |= 1 << i
		}
		st := fxST + int(i)*fxSTSpace
		copy(fx[st:st+stSize], fs[fsST+int(i)*stSize:])
	}
	return fx
}

// Tags of x87 registers, two bits each.
const (
	tagValid   = 0
	tagZero    = 1
	tagSpecial = 2
	tagEmpty   = 3
)

// fsaveOfFX is the inverse (convert_from_fxsr).
func fsaveOfFX(fx []byte) []byte {
	fs := make([]byte, fsaveSize)
	fsw := le.Uint16(fx[fxFSW:])
	le.PutUint32(fs[fsFCW:], fsPadding|uint32(le.Uint16(fx[fxFCW:])))
	le.PutUint32(fs[fsFSW:], fsPadding|uint32(fsw))
	copy(fs[fsFIP:fsFCS], fx[fxFIP:])
	copy(fs[fsFCS:fsFCS+2], fx[fxFCS:])
	copy(fs[fsFCS+2:fsFDP], fx[fxFOP:])
	copy(fs[fsFDP:fsFDS], fx[fxFDP:])
	copy(fs[fsFDS:fsFDS+2], fx[fxFDS:])
	tags := uint32(fsPadding)
	top := uint(fsw >> 11 & 7)
	for i := uint(0); i < 8; i++ {
		st := fx[fxST+int(i)*fxSTSpace:][:stSize]
		copy(fs[fsST+int(i)*stSize:], st)
		// Tags belong to physical registers, the areas hold them from the top
		// of the stack on.
		phys := (i + top) & 7
		tag := uint32(tagEmpty)
		if fx[fxFTW]>>phys&1 != 0 {
			tag = stTag(st)
		}
		tags |= tag << (2 * phys)
	}
	le.PutUint32(fs[fsFTW:], tags)
	return fs
}

// stTag classifies the value of a register that is not empty.
func stTag(st []byte) uint32 {
	significand, exponent := le.Uint64(st), le.Uint16(st[8:])&0x7fff
	switch {
	case exponent == 0 && significand == 0:
		return tagZero
	case exponent == 0 || exponent == 0x7fff || significand>>63 == 0:
		return tagSpecial
	}
	return tagValid
}
