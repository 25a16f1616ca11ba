/*
 * The local descriptor table: entries 0 and 2, loaded into ES and FS, and entry
 * 5, which is only there. The dump has selectors, what is read through them,
 * and rights and limits of all three.
 */
#include "cr.inc"

	.macro load set
	.irp	i, 0,1,2
	sys	__NR_modify_ldt, 0x11, ldt_\set+\i*16, 16
	need_call
	.endr
	mov	$0x07, %eax
	mov	%eax, %es
	mov	$0x17, %eax
	mov	%eax, %fs
	.endm

	.macro rights selector, to
	mov	$\selector, %eax
	lar	%eax, %ebx
	mov	%ebx, M(\to)
	lsl	%eax, %ebx
	mov	%ebx, M(\to + 4)
	.endm

	.macro store
	xor	%eax, %eax
	mov	%es, %ax
	mov	%eax, M(dump)
	mov	%es:0, %eax
	mov	%eax, M(dump + 4)
	xor	%eax, %eax
	mov	%fs, %ax
	mov	%eax, M(dump + 8)
	mov	%fs:0, %eax
	mov	%eax, M(dump + 12)
	rights	0x07, dump+16
	rights	0x17, dump+24
	rights	0x2f, dump+32
	.endm

	target	40

block_a:
	.long	0xa1a2a3a4
block_b:
	.long	0xb1b2b3b4
block_c:
	.long	0xc1c2c3c4
block_d:
	.long	0xd1d2d3d4
/* struct user_desc: entry, base, limit, and flags: 32 bits, read-only, limit in pages, useable */
ldt_p:
	.long	0, block_a, 0xfffff, 0x51
	.long	2, block_b, 0x00345, 0x41
	.long	5, 0x12345678, 0x00567, 0x49
ldt_q:
	.long	0, block_c, 0x00456, 0x41
	.long	2, block_d, 0xedcba, 0x51
	.long	5, 0x6dcba987, 0x0edcb, 0x51
