package selftest

import (
	"strconv"

	"cr/regset"
)

var x86Classes = []*Class{
	{Name: "gpr", Regs: x86GPR},
	{Name: "x87", Regs: x87Regs, Needs: need{flag: "fpu"}},
	{Name: "sse", Regs: sseRegs, Needs: need{flag: "sse"}},
	{Name: "avx", Regs: avxRegs, Needs: need{flag: "avx"}},
	{Name: "avx512", Regs: avx512Regs, Needs: need{flag: "avx512bw"}},
	{Name: "pkru", Regs: pkruRegs, Needs: need{flag: "ospke", symbol: "X86_INTEL_MEMORY_PROTECTION_KEYS"}},
	{Name: "pkey", Regs: pkeyRegs, Needs: need{flag: "ospke", symbol: "X86_INTEL_MEMORY_PROTECTION_KEYS"}},
	{Name: "base", Regs: baseRegs},
	{Name: "tls", Regs: tlsRegs},
	{Name: "ldt", Regs: ldtRegs, Lacks: "the kernel has no modify_ldt: CONFIG_MODIFY_LDT_SYSCALL is not set"},
}

func x86GPR(abi regset.ABI, _ func(string) uint64) []Reg {
	names := []string{"eax", "ebx", "ecx", "edx", "esi", "edi", "ebp", "esp"}
	// The system call's number and result, its arguments, and what SYSCALL
	// itself changes.
	call := map[string]bool{"eax": true, "ebx": true, "ecx": true, "edx": true}
	flags := "eflags"
	if abi == regset.X86_64 {
		names = []string{"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
			"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"}
		call = map[string]bool{"rax": true, "rdi": true, "rsi": true, "rdx": true, "rcx": true, "r11": true}
		flags = "rflags"
	}
	l := &layout{abi: abi}
	w := abi.WordSize()
	for _, n := range names {
		r := l.filled(n, w)
		if n == "esp" || n == "rsp" {
			r.P = number(abi.Order(), w, 0x000029b14540215f)
			r.Q = number(abi.Order(), w, 0x0000564ebabfdea0)
		}
		if call[n] {
			r.clobbered()
		}
	}
	// bit 1 and IF besides what the program sets
	l.fixed(flags, w, 0x00491|0x202, 0x40844|0x202)
	return l.regs
}

func x87Regs(abi regset.ABI, _ func(string) uint64) []Reg {
	l := &layout{abi: abi}
	half := number(abi.Order(), 4, 0xffff)
	l.fixed("fcw", 4, 0x0b6a, 0x0455).Mask = half
	l.fixed("fsw", 4, 0x6a2a, 0x1555).Mask = half
	l.fixed("ftw", 4, 0x9332, 0x2dc8).Mask = half
	// The last instruction's addresses: AMD's CPUs save them only while an
	// exception is pending.
	for _, n := range []string{"fip", "fcs", "fdp", "fds"} {
		l.fixed(n, 4, 0, 0).Mask = make([]byte, 4)
	}
	for i, st := range []struct {
		pexp  uint16
		pmant uint64
		qexp  uint16
		qmant uint64
	}{
		{0x4001, 0x9e3779b13c6ef362, 0xbffe, 0xe1c8864ec3910c9d},
		{0x8000, 0, 0x7fff, 0xffffffffffffffff},
		{0x7fff, 0x8000000000000000, 0x0000, 0},
		{0x0000, 0x0123456789abcdef, 0x7fff, 0x8edcba9876543210},
		{0xbf02, 0xdaa66d2b78dde6c4, 0x40fd, 0x255992d487221931},
		{0x3f03, 0x9715609d5384d9a6, 0xc0fc, 0xe8ea9f62ac7b2659},
		{0xc104, 0xb54cda562e1b4c07, 0x3efb, 0xcab325a9d1e4b3f8},
		{0x3a05, 0xf29c3c6fb1a2d3e5, 0xffff, 0x8d63c3904e5d2c1a},
	} {
		l.regs = append(l.regs, Reg{
			Name: "st" + strconv.Itoa(i),
			P:    append(number(abi.Order(), 8, st.pmant), number(abi.Order(), 2, uint64(st.pexp))...),
			Q:    append(number(abi.Order(), 8, st.qmant), number(abi.Order(), 2, uint64(st.qexp))...),
		})
	}
	return l.regs
}

// vectors lists the vector registers that the ABI has.
func (l *layout) vectors(name string, size int) {
	n := 8
	if l.abi == regset.X86_64 {
		n = 16
		if size == 64 {
			n = 32
		}
	}
	for i := 0; i < n; i++ {
		l.filled(name+strconv.Itoa(i), size)
	}
}

func sseRegs(abi regset.ABI, _ func(string) uint64) []Reg {
	l := &layout{abi: abi}
	l.vectors("xmm", 16)
	l.fixed("mxcsr", 4, 0xd52a, 0x2a95)
	return l.regs
}

func avxRegs(abi regset.ABI, _ func(string) uint64) []Reg {
	l := &layout{abi: abi}
	l.vectors("ymm", 32)
	l.fixed("mxcsr", 4, 0xd52a, 0x2ad5)
	return l.regs
}

func avx512Regs(abi regset.ABI, _ func(string) uint64) []Reg {
	l := &layout{abi: abi}
	l.vectors("zmm", 64)
	for i := 0; i < 8; i++ {
		l.filled("k"+strconv.Itoa(i), 8)
	}
	return l.regs
}

func pkruRegs(abi regset.ABI, _ func(string) uint64) []Reg {
	l := &layout{abi: abi}
	l.fixed("pkru", 4, 0x9e3779b0, 0x61c8864c)
	return l.regs
}

// pkeyRegs lists what targets/x86/pkey.S stores: results of system calls.
func pkeyRegs(abi regset.ABI, _ func(string) uint64) []Reg {
	const ok, efault, einval, enomem = 0, -14, -22, -12
	w := abi.WordSize()
	l := &layout{abi: abi}
	result := func(name string, p, q int64) { l.fixed(name, w, uint64(p), uint64(q)) }
	result("write to memory with key 1", efault, ok)
	result("write to memory with key 3", ok, efault)
	result("read of memory that can be executed only", efault, efault)
	result("write to memory with key 4, which is free", efault, efault)
	for k := 1; k < 16; k++ {
		p, q := int64(einval), int64(einval) // not allocated
		switch k {
		case 1:
			p, q = enomem, enomem
		case 3:
			p = enomem
		}
		result("use of key "+strconv.Itoa(k), p, q)
	}
	l.fixed("checksum of memory with key 1", 4,
		uint64(checksum(abi.Order(), pattern(abi.Order(), 0, 1024, 0))),
		uint64(checksum(abi.Order(), pattern(abi.Order(), 0, 1024, 0xffffffff))))
	return l.regs
}

func baseRegs(abi regset.ABI, _ func(string) uint64) []Reg {
	if abi != regset.X86_64 {
		return nil
	}
	l := &layout{abi: abi}
	l.fixed("fs_base", 8, 0x00001e3779b13c60, 0x000061c8864ec390)
	l.fixed("gs_base", 8, 0x00005aa66d2b78d0, 0x0000255992d48720)
	l.fixed("ds", 4, 0x2b, 0)
	l.fixed("es", 4, 0, 0x2b)
	return l.regs
}

// Flags of struct user_desc (arch/x86/include/uapi/asm/ldt.h): 32 bits, and
// useable, without and with the limit in pages.
const (
	segUsed  = 0x41
	segPages = 0x51
)

func tlsRegs(abi regset.ABI, symbol func(string) uint64) []Reg {
	if abi != regset.I386 {
		return nil
	}
	l := &layout{abi: abi}
	for _, s := range []struct {
		name           string
		pRead, qRead   uint64
		p, q           string
		pLimit, qLimit uint64
		pFlags, qFlags uint64
	}{
		{"fs", 0xa1a2a3a4, 0xc1c2c3c4, "block_a", "block_c", 0xfffff, 0x23456, segPages, segUsed},
		{"gs", 0xb1b2b3b4, 0xd1d2d3d4, "block_b", "block_d", 0x12345, 0xedcba, segUsed, segPages},
	} {
		l.fixed(s.name+" selector, less what it should be", 4, 0, 0)
		l.fixed("word at "+s.name+":0", 4, s.pRead, s.qRead)
		l.fixed(s.name+" base", 4, symbol(s.p), symbol(s.q))
		l.fixed(s.name+" limit", 4, s.pLimit, s.qLimit)
		l.fixed(s.name+" flags", 4, s.pFlags, s.qFlags)
	}
	return l.regs
}

func ldtRegs(abi regset.ABI, _ func(string) uint64) []Reg {
	if abi != regset.I386 {
		return nil
	}
	// LAR gives type and privilege in bits 8 to 15, AVL, D and G in 20 to 23.
	// Bit 8 says that the segment was accessed, which emulators do not set.
	const larBits = 0x00f0fe00
	l := &layout{abi: abi}
	l.fixed("es", 4, 0x07, 0x07)
	l.fixed("word at es:0", 4, 0xa1a2a3a4, 0xc1c2c3c4)
	l.fixed("fs", 4, 0x17, 0x17)
	l.fixed("word at fs:0", 4, 0xb1b2b3b4, 0xd1d2d3d4)
	for _, e := range []struct {
		name             string
		pRights, qRights uint64
		pLimit, qLimit   uint64
	}{
		{"entry 0", 0x00d0f300, 0x0050f300, 0xffffffff, 0x00000456},
		{"entry 2", 0x0050f300, 0x00d0f300, 0x00000345, 0xedcbafff},
		{"entry 5", 0x0050f100, 0x00d0f300, 0x00000567, 0x0edcbfff},
	} {
		l.fixed(e.name+" rights", 4, e.pRights, e.qRights).Mask = number(abi.Order(), 4, larBits)
		l.fixed(e.name+" limit", 4, e.pLimit, e.qLimit)
	}
	return l.regs
}
