package kernel

import "cr/regset"

// undoCode is code that a process is given while one of its tasks makes calls
// for the kernel side. It has system call instructions, and behind each of them
// what brings the task back to where it was: should the kernel side be killed,
// the task runs into it. Nothing of it reads or writes memory of the program,
// the stack least of all.
type undoCode struct {
	text []byte

	// Offsets of system call instructions, by what is done after the call: for
	// calls while nothing is mapped; for the mmap that maps the scratch memory,
	// which is unmapped; for calls while it is mapped, the same; for a call that
	// returns a descriptor, which is closed.
	plain, mapping, mapped, descriptor uint64

	// Where a task is when it has sent itself the marker behind plain and mapping,
	// and the code for a list of calls while the scratch memory is mapped; 0 where
	// there are none.
	plainEnd, mappingEnd, list, listEnd uint64

	unmap uint64 // where the scratch memory is unmapped
	undo  uint64 // where the mask and the registers are put back
}

// markEnd is the address of an end in code at an address; 0 if the code has none.
func (u *undoCode) markEnd(at, end uint64) uint64 {
	if end == 0 {
		return 0
	}
	return at + end
}

// undoMagic is what the code begins with.
const undoMagic = "cr-undo\x00"

// newUndoCode makes the code for an address: it leads to regs, NT_PRSTATUS of a
// task in no system call, and a signal mask; scratch is unmapped, or what a mapping call has mapped of its size. way is for
// tasks of powerpc, m for those that have a marker. nil where there is none.
func newUndoCode(abi regset.ABI, way *ppcWay, m marker, at uint64, regs []byte, mask uint64, scratch span) *undoCode {
	switch {
	case abi == regset.X86_64:
		return undoX86_64(m, at, regs, mask, scratch)
	case abi == regset.I386:
		return undoI386(m, at, regs, mask, scratch)
	case way != nil:
		return undoPPC(abi, way, at, regs, mask, scratch)
	}
	return nil
}

// assembler puts machine code together.
type assembler struct {
	layout
	b []byte
}

func (a *assembler) code(b ...byte) { a.b = append(a.b, b...) }

func (a *assembler) imm32(v uint64) {
	a.b = append(a.b, 0, 0, 0, 0)
	a.order.PutUint32(a.b[len(a.b)-4:], uint32(v))
}

func (a *assembler) imm64(v uint64) {
	a.b = append(a.b, 0, 0, 0, 0, 0, 0, 0, 0)
	a.order.PutUint64(a.b[len(a.b)-8:], v)
}

func (a *assembler) here() uint64 { return uint64(len(a.b)) }

// jump adds a jump (jmp rel32) whose target is set by land.
func (a *assembler) jump() (from uint64) {
	a.code(0xe9)
	a.imm32(0)
	return a.here()
}

func (a *assembler) land(from uint64) {
	a.order.PutUint32(a.b[from-4:], uint32(a.here()-from))
}

// Where the data lies that the code begins with: the magic, the mask, and the
// program counter.
const (
	undoMaskAt = 8
	undoPCAt   = 16
	undoData   = 24
)

func (a *assembler) data(mask, pc uint64) {
	a.b = append(a.b, undoMagic...)
	a.b = append(a.b, make([]byte, undoData-undoMaskAt)...)
	a.putSigset(a.b[undoMaskAt:], mask)
	a.putLong(a.b[undoPCAt:], 0, pc)
}

// undoX86_64 changes no flags: the instructions are moves and jumps. Registers
// are numbered as in struct user_regs_struct.
func undoX86_64(m marker, at uint64, regs []byte, mask uint64, scratch span) *undoCode {
	const rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, rip = 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16
	nr := func(s sysno) uint64 { return uint64(s.number(regset.X86_64)) }
	u := new(undoCode)
	a := &assembler{layout: layoutOf(regset.X86_64)}
	a.data(mask, a.long(regs, rip))
	syscall := func() uint64 {
		a.code(0x0f, 0x05)
		return a.here() - 2
	}
	mark := func() uint64 { // the result is in r8 then
		a.code(0x49, 0x89, 0xc0) // mov %rax, %r8
		if m.sig == 0 {
			return 0
		}
		a.code(0xbf) // mov $pid, %edi
		a.imm32(uint64(m.pid))
		a.code(0xbe) // mov $tid, %esi
		a.imm32(uint64(m.tid))
		a.code(0xba) // mov $sig, %edx
		a.imm32(uint64(m.sig))
		a.code(0xb8) // mov $tgkill, %eax
		a.imm32(nr(sysTgkill))
		return syscall() + 2
	}
	u.plain = syscall()
	u.plainEnd = mark()
	toUndo := a.jump()
	u.descriptor = syscall()
	a.code(0x48, 0x89, 0xc7, 0xb8) // mov %rax, %rdi; mov $close, %eax
	a.imm32(nr(sysClose))
	syscall()
	toUnmap := a.jump()
	u.mapping = syscall()
	u.mappingEnd = mark()
	a.code(0x4c, 0x89, 0xc7) // mov %r8, %rdi
	toSize := a.jump()
	if m.sig != 0 {
		u.list, u.listEnd = a.callCode(regset.X86_64)
	}
	toUnmapToo := a.jump()
	u.mapped = syscall()
	a.land(toUnmap)
	a.land(toUnmapToo)
	u.unmap = a.here()
	a.code(0x48, 0xbf) // mov $scratch, %rdi
	a.imm64(scratch.start)
	a.land(toSize)
	a.code(0xbe) // mov $size, %esi
	a.imm32(scratch.end - scratch.start)
	a.code(0xb8) // mov $munmap, %eax
	a.imm32(nr(sysMunmap))
	syscall()
	a.land(toUndo)
	u.undo = a.here()
	a.code(0xb8) // mov $rt_sigprocmask, %eax
	a.imm32(nr(sysRtSigprocmask))
	a.code(0xbf) // mov $SIG_SETMASK, %edi
	a.imm32(sigSetmask)
	a.code(0x48, 0xbe) // mov $mask, %rsi
	a.imm64(at + undoMaskAt)
	a.code(0xba) // mov $0, %edx
	a.imm32(0)
	a.code(0x41, 0xba) // mov $8, %r10d
	a.imm32(sigsetSize)
	syscall()
	for _, r := range []struct {
		op    [2]byte // mov $imm64, %reg
		index int
	}{
		{[2]byte{0x48, 0xbf}, rdi}, {[2]byte{0x48, 0xbe}, rsi}, {[2]byte{0x48, 0xba}, rdx}, {[2]byte{0x49, 0xba}, r10},
		{[2]byte{0x49, 0xb8}, r8}, {[2]byte{0x49, 0xb9}, r9}, {[2]byte{0x48, 0xb8}, rax}, {[2]byte{0x48, 0xb9}, rcx},
		{[2]byte{0x49, 0xbb}, r11}, {[2]byte{0x48, 0xbb}, rbx},
	} {
		a.code(r.op[:]...)
		a.imm64(a.long(regs, r.index))
	}
	a.code(0xff, 0x25) // jmp *pc(%rip)
	a.imm32(undoPCAt - (a.here() + 4))
	u.text = a.b
	return u
}

// sigSetmask is SIG_SETMASK of rt_sigprocmask(2).
const sigSetmask = 2

// undoI386 is the same for 32-bit tasks, registers numbered as in struct
// user_regs_struct32.
func undoI386(m marker, at uint64, regs []byte, mask uint64, scratch span) *undoCode {
	const ebx, ecx, edx, esi, edi, ebp, eax, eip = 0, 1, 2, 3, 4, 5, 6, 12
	nr := func(s sysno) uint64 { return uint64(s.number(regset.I386)) }
	u := new(undoCode)
	a := &assembler{layout: layoutOf(regset.I386)}
	a.data(mask, a.long(regs, eip))
	syscall := func() uint64 {
		a.code(0xcd, 0x80)
		return a.here() - 2
	}
	load := func(op byte, v uint64) { // mov $imm32, %reg
		a.code(op)
		a.imm32(v)
	}
	const toEBX, toECX, toEDX, toESI, toEDI, toEBP, toEAX = 0xbb, 0xb9, 0xba, 0xbe, 0xbf, 0xbd, 0xb8
	mark := func() uint64 { // the result is in esi then
		a.code(0x89, 0xc6) // mov %eax, %esi
		if m.sig == 0 {
			return 0
		}
		load(toEBX, uint64(m.pid))
		load(toECX, uint64(m.tid))
		load(toEDX, uint64(m.sig))
		load(toEAX, nr(sysTgkill))
		return syscall() + 2
	}
	u.plain = syscall()
	u.plainEnd = mark()
	toUndo := a.jump()
	u.descriptor = syscall()
	a.code(0x89, 0xc3) // mov %eax, %ebx
	load(toEAX, nr(sysClose))
	syscall()
	toUnmap := a.jump()
	u.mapping = syscall()
	u.mappingEnd = mark()
	a.code(0x89, 0xf3) // mov %esi, %ebx
	toSize := a.jump()
	if m.sig != 0 {
		u.list, u.listEnd = a.callCode(regset.I386)
	}
	toUnmapToo := a.jump()
	u.mapped = syscall()
	a.land(toUnmap)
	a.land(toUnmapToo)
	u.unmap = a.here()
	load(toEBX, scratch.start)
	a.land(toSize)
	load(toECX, scratch.end-scratch.start)
	load(toEAX, nr(sysMunmap))
	syscall()
	a.land(toUndo)
	u.undo = a.here()
	load(toEAX, nr(sysRtSigprocmask))
	load(toEBX, sigSetmask)
	load(toECX, at+undoMaskAt)
	load(toEDX, 0)
	load(toESI, sigsetSize)
	syscall()
	load(toEBX, a.long(regs, ebx))
	load(toECX, a.long(regs, ecx))
	load(toEDX, a.long(regs, edx))
	load(toESI, a.long(regs, esi))
	load(toEDI, a.long(regs, edi))
	load(toEBP, a.long(regs, ebp))
	load(toEAX, a.long(regs, eax))
	a.code(0xff, 0x25) // jmp *pc
	a.imm32(at + undoPCAt)
	u.text = a.b
	return u
}

// markedResult is the result of a call behind which a task has sent itself the
// marker, from its registers then.
func markedResult(abi regset.ABI, regs []byte) int64 {
	const r8, esi = 9, 3 // as in undoX86_64, undoI386
	l := layoutOf(abi)
	if abi == regset.I386 {
		return l.signed(regs, esi)
	}
	return l.signed(regs, r8)
}
