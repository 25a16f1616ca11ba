package kernel

import "cr/regset"

// undoListCode is where things lie in the code of an undo list: what comes behind
// the result of a call, and system call instructions but for the first.
type undoListCode struct{ work, birth, last uint64 }

// code is the code of an undo list for an address. It changes no flags on x86, as
// undoX86_64, and no register on powerpc that system calls keep. A child, which
// gets 0 where its parent gets a pid, exits.
func (u *undoList) code(a *assembler, at, unmap uint64) undoListCode {
	switch {
	case u.abi.IsPPC():
		p := &ppcAssembler{*a}
		c := u.codePPC(p, unmap)
		a.b = p.b
		return c
	case u.abi == regset.I386:
		return u.codeI386(a, at, unmap)
	}
	return u.codeX86_64(a, unmap)
}

// short adds a jump of two bytes, whose target is set by reach.
func (a *assembler) short(op byte) (from uint64) {
	a.code(op, 0)
	return a.here()
}

func (a *assembler) reach(from uint64) { a.b[from-1] = byte(a.here() - from) }

// shortBack adds one to a place before it.
func (a *assembler) shortBack(op byte, to uint64) {
	from := a.short(op)
	a.b[from-1] = byte(to - from)
}

func (u *undoList) codeX86_64(a *assembler, unmap uint64) (c undoListCode) {
	const jrcxz, jmp = 0xe3, 0xeb
	exit := uint64(sysExit.number(u.abi))
	a.code(0x0f, 0x05) // syscall
	back := a.here()
	a.code(0x48, 0xb9) // mov $cells, %rcx
	a.imm64(u.cells)
	a.code(0x48, 0x8b, 0x51, 8) // mov 8(%rcx), %rdx
	a.code(0x48, 0x89, 0x02)    // mov %rax, (%rdx)
	c.work = a.here()
	a.code(0x48, 0xb9) // mov $cells, %rcx
	a.imm64(u.cells)
	a.code(0x48, 0x8b, 0x19) // mov (%rcx), %rbx
	again := a.here()
	a.code(0x48, 0x8b, 0x0b) // mov (%rbx), %rcx
	out := a.short(jrcxz)
	a.loadCallX86_64()
	a.code(0x48, 0x8b, 0x4b, 56) // mov 56(%rbx), %rcx
	direct := a.short(jrcxz)
	a.code(0x48, 0x8d, 0x49, 0xff) // lea -1(%rcx), %rcx
	indirect := a.short(jrcxz)
	a.code(0x8b, 0x49, 0x01) // mov 1(%rcx), %ecx
	is0 := a.short(jrcxz)
	isNot := a.short(jmp)
	a.reach(indirect)
	a.code(0x8b, 0x3f) // mov (%rdi), %edi
	a.reach(direct)
	a.reach(isNot)
	a.code(0x0f, 0x05)           // syscall
	a.code(0x48, 0x8b, 0x4b, 56) // mov 56(%rbx), %rcx
	next := a.short(jrcxz)
	a.code(0x48, 0x8d, 0x49, 0xff) // lea -1(%rcx), %rcx
	nextToo := a.short(jrcxz)
	a.shortBack(jmp, again)
	a.reach(is0)
	a.reach(next)
	a.reach(nextToo)
	a.code(0x48, 0x8d, 0x5b, 0xc0) // lea -64(%rbx), %rbx
	a.shortBack(jmp, again)
	a.reach(out)
	a.code(0x48, 0xb8) // mov $unmap, %rax
	a.imm64(unmap)
	a.code(0xff, 0xe0) // jmp *%rax
	c.birth = a.here()
	a.code(0x0f, 0x05)       // syscall
	a.code(0x48, 0x89, 0xc1) // mov %rax, %rcx
	child := a.short(jrcxz)
	a.shortBack(jmp, back)
	a.reach(child)
	end := a.here()
	a.code(0xb8) // mov $exit, %eax
	a.imm32(exit)
	a.code(0x0f, 0x05) // syscall
	c.last = a.here()
	a.code(0x0f, 0x05) // syscall
	a.shortBack(jmp, end)
	return c
}

func (u *undoList) codeI386(a *assembler, at, unmap uint64) (c undoListCode) {
	const jecxz, jmp = 0xe3, 0xeb
	exit := uint64(sysExit.number(u.abi))
	a.code(0xcd, 0x80) // int $0x80
	back := a.here()
	a.code(0x8b, 0x0d) // mov cells+4, %ecx
	a.imm32(u.cells + 4)
	a.code(0x89, 0x01) // mov %eax, (%ecx)
	c.work = a.here()
	a.code(0x8b, 0x2d) // mov cells, %ebp
	a.imm32(u.cells)
	again := a.here()
	a.code(0x8b, 0x4d, 0x00) // mov (%ebp), %ecx
	out := a.short(jecxz)
	a.code(0x8d, 0x41, 0xff) // lea -1(%ecx), %eax
	a.code(0x8b, 0x5d, 4)    // mov 4(%ebp), %ebx
	a.code(0x8b, 0x4d, 28)   // mov 28(%ebp), %ecx
	direct := a.short(jecxz)
	a.code(0x8d, 0x49, 0xff) // lea -1(%ecx), %ecx
	indirect := a.short(jecxz)
	a.code(0x8b, 0x49, 0x01) // mov 1(%ecx), %ecx
	is0 := a.short(jecxz)
	isNot := a.short(jmp)
	a.reach(indirect)
	a.code(0x8b, 0x1b) // mov (%ebx), %ebx
	a.reach(direct)
	a.reach(isNot)
	a.code(0x8b, 0x4d, 8)  // mov 8(%ebp), %ecx
	a.code(0x8b, 0x55, 12) // mov 12(%ebp), %edx
	a.code(0x8b, 0x75, 16) // mov 16(%ebp), %esi
	a.code(0x8b, 0x7d, 20) // mov 20(%ebp), %edi
	a.code(0xcd, 0x80)     // int $0x80
	a.code(0x8b, 0x4d, 28) // mov 28(%ebp), %ecx
	next := a.short(jecxz)
	a.code(0x8d, 0x49, 0xff) // lea -1(%ecx), %ecx
	nextToo := a.short(jecxz)
	a.shortBack(jmp, again)
	a.reach(is0)
	a.reach(next)
	a.reach(nextToo)
	a.code(0x8d, 0x6d, 0xe0) // lea -32(%ebp), %ebp
	a.shortBack(jmp, again)
	a.reach(out)
	from := a.jump() // to unmap
	a.order.PutUint32(a.b[from-4:], uint32(unmap-(at+from)))
	c.birth = a.here()
	a.code(0xcd, 0x80) // int $0x80
	a.code(0x89, 0xc1) // mov %eax, %ecx
	child := a.short(jecxz)
	a.shortBack(jmp, back)
	a.reach(child)
	end := a.here()
	a.code(0xb8) // mov $exit, %eax
	a.imm32(exit)
	a.code(0xcd, 0x80) // int $0x80
	c.last = a.here()
	a.code(0xcd, 0x80) // int $0x80
	a.shortBack(jmp, end)
	return c
}

// codePPC notes in memory how far it has come, as no register is both free and
// kept by system calls.
func (u *undoList) codePPC(a *ppcAssembler, unmap uint64) (c undoListCode) {
	const cells, entry, spare, ctr = 12, 11, 10, 9
	word := uint32(a.word)
	goTo := func(at uint64) { a.insn(18<<26 | uint32(at-a.here())&0x03fffffc) } // b
	ifEqual := func() (from uint64) {                                           // beq
		a.insn(0x41820000)
		return a.here() - 4
	}
	here := func(from uint64) {
		a.order.PutUint32(a.b[from:], a.order.Uint32(a.b[from:])|uint32(a.here()-from)&0xfffc)
	}
	is := func(reg, v uint32) { a.insn(0x2c000000 | (word/8)<<21 | reg<<16 | v) } // cmpwi, or cmpdi
	advance := func() {
		a.insn(14<<26 | spare<<21 | entry<<16 | -(entryLongs*word)&0xffff) // addi spare, entry, -size of an entry
		a.store(spare, cells, 0)
	}
	a.syscall(-1)
	back := a.here()
	a.insn(0x40830008, 0x7c6300d0) // bns .+8; neg r3, r3
	a.address(cells, u.cells)
	a.load(entry, cells, word)
	a.store(3, entry, 0)
	c.work = a.here()
	a.address(cells, u.cells)
	a.load(entry, cells, 0)
	a.load(0, entry, 0)
	is(0, 0)
	out := ifEqual()
	a.load(spare, entry, entryResult*word)
	is(spare, 0)
	direct := ifEqual()
	is(spare, undoIndirect)
	indirect := ifEqual()
	a.insn(0x814a0000, 0x2c0a0000) // lwz spare, 0(spare); cmpwi spare, 0
	is0 := ifEqual()
	isNot := a.jump()
	here(is0)
	advance()
	goTo(c.work)
	here(direct)
	here(indirect)
	advance()
	a.land(isNot)
	a.loadCall(entry)
	a.load(spare, entry, entryResult*word)
	is(spare, undoIndirect)
	a.insn(0x40820008, 0x80630000) // bne .+8; lwz r3, 0(r3)
	a.syscall(-1)
	goTo(c.work)
	here(out)
	a.address(cells, unmap)
	a.toSPR(ctr, cells)
	a.insn(0x4e800420) // bctr
	c.birth = a.syscall(-1)
	a.insn(0x2c030000) // cmpwi r3, 0
	child := ifEqual()
	goTo(back)
	here(child)
	end := a.here()
	a.syscall(sysExit.number(u.abi))
	c.last = a.syscall(-1)
	goTo(end)
	return c
}
