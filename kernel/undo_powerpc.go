package kernel

import (
	"cr/ppc"
	"cr/regset"
)

// ppcWay is how a task of powerpc comes back to where it was. A jump to any
// address goes through a register, and the program's must not change. So it is
// one that a program cannot have anything in, or else the kernel jumps, at the
// end of a signal frame.
type ppcWay struct {
	jump  ppcJump
	frame []byte // the context of a signal frame, for a jump by the kernel
}

// ppcJump is a special purpose register to jump through, by number; 0 is none.
type ppcJump uint32

const (
	// CTR is lost in every system call
	// (Documentation/arch/powerpc/syscall64-abi.rst).
	throughCTR ppcJump = 9
	// TAR is reserved for the system (OpenPOWER ELF V2 ABI, 2.2.1.1).
	throughTAR ppcJump = 815
)

// ppcWay finds out how a noted task of powerpc comes back; nil if there is no
// way, and on other machines.
func (t *task) ppcWay() (*ppcWay, error) {
	if !t.abi.IsPPC() {
		return nil, nil
	}
	if _, _, in := t.arch.Syscall(t.abi, t.entry); in {
		return &ppcWay{jump: throughCTR}, nil
	}
	m, err := Features()
	if err != nil {
		return nil, err
	}
	if m.Has.Has(ppc.FeatureTAR) {
		return &ppcWay{jump: throughTAR}, nil
	}
	return t.frameWay(m.Has)
}

// Words of NT_PRSTATUS (struct pt_regs).
const (
	ppcNIP = 32
	ppcCTR = 35
	ppcXER = 37
	ppcCR  = 38
)

// ppcAssembler puts instructions together.
type ppcAssembler struct{ assembler }

func (a *ppcAssembler) insn(list ...uint32) {
	for _, i := range list {
		a.imm32(uint64(i))
	}
}

func (a *ppcAssembler) li(reg uint32, v uint16) { a.insn(14<<26 | reg<<21 | uint32(v)) }

// address loads any number of the size of a word.
func (a *ppcAssembler) address(reg uint32, v uint64) {
	const lis, ori, oris = 15 << 26, 24 << 26, 25 << 26
	both := reg<<21 | reg<<16
	if a.word == 8 {
		a.insn(lis|reg<<21|uint32(v>>48), ori|both|uint32(v>>32&0xffff), 0x780007c6|both, // sldi reg, reg, 32
			oris|both|uint32(v>>16&0xffff), ori|both|uint32(v&0xffff))
		return
	}
	// Not by lis: a 64-bit kernel would see a stack pointer that is negative.
	a.li(reg, 0)
	a.insn(oris|both|uint32(v>>16&0xffff), ori|both|uint32(v&0xffff))
}

// load loads a word from an offset to a register.
func (a *ppcAssembler) load(reg, from, offset uint32) {
	const lwz, ld = 32 << 26, 58 << 26
	a.access(lwz, ld, reg, from, offset)
}

// store stores a word at an offset from a register.
func (a *ppcAssembler) store(reg, at, offset uint32) {
	const stw, std = 36 << 26, 62 << 26
	a.access(stw, std, reg, at, offset)
}

// access adds the one of two instructions that is for words of the task's size.
func (a *ppcAssembler) access(word, doubleword, reg, base, offset uint32) {
	op := word
	if a.word == 8 {
		op = doubleword
	}
	a.insn(op | reg<<21 | base<<16 | offset)
}

// callCode is that of a list of calls, whose address is in r8. r31 has it
// meanwhile, so that it is for tasks whose registers are all set afterwards.
func (a *ppcAssembler) callCode() (end uint64) {
	const list = 31
	word := uint32(a.word)
	a.insn(0x7d1f4378) // mr r31, r8
	again := a.here()
	a.load(0, list, 0)
	a.insn(0x2c000000 | (word/8)<<21) // cmpwi r0, 0, or cmpdi
	out := a.here()
	a.insn(0) // beq out
	a.loadCall(list)
	end = a.syscall(-1) + 4
	a.insn(0x40830008, 0x7c6300d0) // bns .+8; neg r3, r3
	a.store(3, list, entryResult*word)
	a.insn(0x3bff0000 | entryLongs*word)               // addi r31, r31, size of an entry
	a.insn(18<<26 | uint32(again-a.here())&0x03fffffc) // b again
	a.order.PutUint32(a.b[out:], 0x41820000|uint32(a.here()-out))
	return end
}

// loadCall loads the number and the arguments of an entry, whose address is in a
// register and whose first long is in r0.
func (a *ppcAssembler) loadCall(entry uint32) {
	a.insn(0x3000ffff) // addic r0, r0, -1: addi would take r0 for 0
	for i := uint32(0); i < 6; i++ {
		a.load(3+i, entry, (1+i)*uint32(a.word))
	}
}

// toSPR moves a register to a special purpose register (mtspr).
func (a *ppcAssembler) toSPR(spr, reg uint32) {
	a.insn(31<<26 | reg<<21 | spr&31<<16 | spr>>5<<11 | 467<<1)
}

// jump adds a branch whose target is set by land.
func (a *ppcAssembler) jump() (from uint64) {
	a.insn(0)
	return a.here() - 4
}

func (a *ppcAssembler) land(from uint64) {
	a.order.PutUint32(a.b[from:], 18<<26|uint32(a.here()-from))
}

// syscall adds the instruction, behind the number of the call if there is one.
func (a *ppcAssembler) syscall(number int) uint64 {
	if number >= 0 {
		a.li(0, uint16(number))
	}
	a.insn(0x44000002) // sc
	return a.here() - 4
}

// undoPPC is the code of powerpc.
func undoPPC(abi regset.ABI, way *ppcWay, at uint64, regs []byte, mask uint64, scratch span) *undoCode {
	const none = -1
	nr := func(s sysno) int { return s.number(abi) }
	u := new(undoCode)
	a := &ppcAssembler{assembler{layout: layoutOf(abi)}}
	a.data(mask, a.long(regs, ppcNIP))
	stack := uint64(0) // the stack pointer at rt_sigreturn
	if way.frame != nil {
		stack = a.signalFrame(at, way.frame, mask)
	}
	saved := uint32(a.here())
	kept := []int{0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, ppcNIP, ppcCTR, ppcXER, ppcCR}
	offset := func(reg int) uint32 {
		for i, r := range kept {
			if r == reg {
				return saved + uint32(i*a.word)
			}
		}
		return 0
	}
	if way.frame == nil {
		for i, r := range kept {
			a.b = append(a.b, make([]byte, a.word)...)
			a.putLong(a.b[saved:], i, a.long(regs, r))
		}
	}
	u.plain = a.syscall(none)
	toUndo := a.jump()
	u.descriptor = a.syscall(none) // its result, in r3, is what is closed
	a.insn(0x4183000c)             // bso .+12: that is a positive errno if it failed
	a.syscall(nr(sysClose))
	toUnmap := a.jump()
	u.mapping = a.syscall(none) // its result is what is unmapped: no errno is an address of a page
	toSize := a.jump()
	u.mapped = a.syscall(none)
	a.land(toUnmap)
	u.unmap = a.here()
	a.address(3, scratch.start)
	a.land(toSize)
	a.address(4, scratch.end-scratch.start)
	a.syscall(nr(sysMunmap))
	a.land(toUndo)
	u.undo = a.here()
	if way.frame != nil {
		a.address(1, stack)
		a.syscall(nr(sysRtSigreturn))
		u.text = a.b
		return u
	}
	a.li(3, sigSetmask)
	a.address(4, at+undoMaskAt)
	a.li(5, 0)
	a.li(6, sigsetSize)
	a.syscall(nr(sysRtSigprocmask))
	const base, spare = 12, 11
	a.address(base, at)
	move := func(reg int, spr uint32) {
		a.load(spare, base, offset(reg))
		a.toSPR(spr, spare)
	}
	const xer = 1
	move(ppcXER, xer)
	move(ppcCTR, uint32(throughCTR))
	move(ppcNIP, uint32(way.jump))
	a.load(spare, base, offset(ppcCR))
	a.insn(0x7c0ff120 | spare<<21) // mtcrf 0xff, spare
	for _, r := range kept[:11] {
		a.load(uint32(r), base, offset(r))
	}
	if way.jump == throughTAR {
		a.insn(0x4e800460) // bctar
	} else {
		a.insn(0x4e800420) // bctr
	}
	u.text = a.b
	return u
}
