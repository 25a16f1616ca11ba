package x86

// gpr32 is struct user_regs_struct of arch/x86/include/asm/user_32.h.
var gpr32 = gprLayout{
	word: 4,
	names: []string{
		"ebx", "ecx", "edx", "esi", "edi", "ebp", "eax", "ds", "es", "fs",
		"gs", "orig_eax", "eip", "cs", "eflags", "esp", "ss",
	},
	ax:     6,
	bx:     0,
	cx:     1,
	dx:     2,
	origAX: 11,
	ip:     12,
	cs:     13,
	flags:  14,
	sp:     15,
	ss:     16,
	data:   []int{7, 8, 9, 10},
	args:   [6]int{0, 1, 2, 3, 4, 5}, // ebx, ecx, edx, esi, edi, ebp
}
