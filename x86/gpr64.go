package x86

// gpr64 is struct user_regs_struct of arch/x86/include/asm/user_64.h.
var gpr64 = gprLayout{
	word: 8,
	names: []string{
		"r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8",
		"rax", "rcx", "rdx", "rsi", "rdi", "orig_rax", "rip", "cs", "eflags",
		"rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs",
	},
	ax:     10,
	bx:     5,
	cx:     11,
	dx:     12,
	origAX: 15,
	ip:     16,
	cs:     17,
	flags:  18,
	sp:     19,
	ss:     20,
	data:   []int{23, 24, 25, 26},
	args:   [6]int{14, 13, 12, 7, 9, 8}, // rdi, rsi, rdx, r10, r8, r9
}

// Words of the FS and GS base, which only 64-bit tasks have.
const (
	fsBase = 21
	gsBase = 22
)
