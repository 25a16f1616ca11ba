package kernel

import (
	"cr/ppc"
	"cr/regset"
)

// frameWay reads what a signal frame of a task of powerpc holds: all that the
// kernel restores from one, and sets to zero if it is not there. has is what the
// machine has.
func (t *task) frameWay(has regset.Mask) (*ppcWay, error) {
	f := ppcFrame{gprs: t.live}
	for _, set := range []struct {
		of   regset.Mask
		note regset.Note
		to   *[]byte
	}{
		{0, regset.PRFPREG, &f.fprs},
		{ppc.FeatureVMX, regset.PPC_VMX, &f.vmx},
		{ppc.FeatureVSX, regset.PPC_VSX, &f.vsx},
		{ppc.FeatureSPE, regset.PPC_SPE, &f.spe},
	} {
		if !has.Has(set.of) {
			continue
		}
		read := func() ([]byte, error) { return t.regset(set.note) }
		if set.note == regset.PPC_VSX && t.abi == regset.PPC {
			read = t.readVSRs // it has no such set
		}
		data, err := read()
		if err != nil {
			return nil, err
		}
		*set.to = data
	}
	if t.abi == regset.PPC {
		return &ppcWay{frame: f.context32()}, nil
	}
	return &ppcWay{frame: f.context64()}, nil
}

// ppcFrame is what a signal frame is made of: register sets of ptrace, nil for
// those that there are not.
type ppcFrame struct{ gprs, fprs, vmx, vsx, spe []byte }

// Bits of the MSR by which a signal frame says what it has.
const (
	msrVMX = 1 << 25 // MSR_VEC
	msrSPE = 1 << 25 // MSR_SPE: no CPU has both
	msrVSX = 1 << 23 // MSR_VSX
	msrAny = msrVMX | msrSPE | msrVSX
)

// Offsets in struct mcontext of a 32-bit task (arch/powerpc/include/uapi/asm/ucontext.h,
// kernel/signal_32.c).
const (
	mcFPRs    = 192
	mcVectors = 464
	mcVRSAVE  = mcVectors + 32*16
	mcVSX     = mcVectors + 33*16
	mcMSR     = 33 * 4
)

// context32 lays out struct mcontext of a 32-bit task: it has AltiVec or SPE.
func (f *ppcFrame) context32() []byte {
	b := make([]byte, mcVSX+len(f.vsx))
	copy(b[:mcFPRs], f.gprs)
	copy(b[mcFPRs:], f.fprs)
	order := layoutOf(regset.PPC).order
	msr := order.Uint32(b[mcMSR:]) &^ msrAny
	switch {
	case f.spe != nil:
		copy(b[mcVectors:], f.spe)
		msr |= msrSPE
	case f.vmx != nil:
		// VSCR is in the last word of the quadword whose first is VRSAVE.
		copy(b[mcVectors:], f.vmx[:33*16])
		copy(b[mcVRSAVE:], f.vmx[33*16:33*16+4])
		msr |= msrVMX
	}
	if f.vsx != nil {
		copy(b[mcVSX:], f.vsx)
		msr |= msrVSX
	}
	order.PutUint32(b[mcMSR:], msr)
	return b
}

// Offsets in struct sigcontext of a 64-bit task (arch/powerpc/include/uapi/asm/sigcontext.h,
// kernel/signal_64.c), and where its vector registers are put behind it.
const (
	scGPRs     = 64
	scMSR      = scGPRs + 33*8
	scFPRs     = scGPRs + 48*8
	scPointer  = scFPRs + 33*8
	scSize     = scPointer + 8
	scVectors  = scSize + 8 // aligned to 16 bytes with what is before
	scVSX      = scVectors + vmxSize
	vmxSize    = 34 * 16
	ucontext64 = 168 // struct ucontext up to there
)

// context64 lays out struct sigcontext of a 64-bit task, and the vector registers
// that its pointer leads to.
func (f *ppcFrame) context64() []byte {
	b := make([]byte, scSize, scVSX+len(f.vsx))
	copy(b[scGPRs:scFPRs], f.gprs)
	copy(b[scFPRs:], f.fprs)
	order := layoutOf(regset.PPC64).order
	msr := order.Uint64(b[scMSR:]) &^ msrAny
	if f.vmx != nil {
		b = append(b[:scVectors], f.vmx[:vmxSize]...)
		msr |= msrVMX
	}
	if f.vsx != nil && f.vmx != nil {
		b = append(b, f.vsx...)
		msr |= msrVSX
	}
	order.PutUint64(b[scMSR:], msr)
	return b
}

// signalFrame adds struct ucontext, as far as the kernel reads it, and the
// context. It returns the stack pointer that rt_sigreturn finds it by.
func (a *ppcAssembler) signalFrame(at uint64, context []byte, mask uint64) (stack uint64) {
	for a.here()%16 != 0 {
		a.b = append(a.b, 0)
	}
	from := at + a.here()
	// Of struct ucontext: uc_stack.ss_flags, uc_regs and uc_sigmask of a 32-bit
	// task, uc_sigmask of a 64-bit one.
	flagsOfStack := 3 * a.word
	const pointer, sigmask32, size32, sigmask64 = 48, 52, 64, 40
	// No mode of sigaltstack(2): the kernel leaves the stack as it is, and ignores
	// the error (restore_altstack).
	const noMode = 7
	if a.word == 8 {
		b := append(make([]byte, ucontext64), context...)
		a.order.PutUint32(b[flagsOfStack:], noMode)
		a.putSigset(b[sigmask64:], mask)
		if len(context) > scVectors {
			a.putLong(b[ucontext64+scPointer:], 0, from+ucontext64+scVectors)
		}
		a.b = append(a.b, b...)
		return from
	}
	b := append(make([]byte, size32), context...)
	a.order.PutUint32(b[flagsOfStack:], noMode)
	a.putSigset(b[sigmask32:], mask)
	a.putLong(b[pointer:], 0, from+size32)
	a.b = append(a.b, b...)
	// It is below a siginfo_t, and __SIGNAL_FRAMESIZE and 16 below that.
	return from - siginfoSize - 16 - 64
}
