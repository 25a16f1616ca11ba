/*
 * Segments of the thread's own: two of the GDT's entries, by set_thread_area,
 * loaded into FS and GS. Which entries they are depends on the kernel, so
 * selectors are stored as what is unexpected of them.
 */
#include "cr.inc"

	.macro entry seg, area, set
	mov	M(\area\()_\set), %eax	/* base */
	mov	%eax, M(\area + 4)
	mov	M(\area\()_\set + 4), %eax	/* limit */
	mov	%eax, M(\area + 8)
	mov	M(\area\()_\set + 8), %eax	/* flags */
	mov	%eax, M(\area + 12)
	sys	__NR_set_thread_area, \area
	need
	selector \area
	mov	%eax, %\seg
	.endm

	/* selector computes the selector of an entry. */
	.macro selector area
	mov	M(\area), %eax
	lea	3(,%eax,8), %eax
	.endm

	.macro load set
	entry	fs, one, \set
	entry	gs, two, \set
	.endm

	/* stored stores the selector's error, what is read through it, and the entry.
	 * Another kernel has the entry at another number, which the selector tells. */
	.macro stored_entry seg, area, to
	mov	%\seg, %ebx
	movzwl	%bx, %eax
	shr	$3, %eax
	mov	%eax, M(\area)
	selector \area
	sub	%eax, %ebx
	mov	%ebx, M(\to)
	mov	%\seg:0, %eax
	mov	%eax, M(\to + 4)
	mov	M(\area), %eax
	mov	%eax, M(read)
	sys	__NR_get_thread_area, read
	need
	.irp	i, 4,8,12
	mov	M(read + \i), %eax
	mov	%eax, M(\to + 4 + \i)
	.endr
	.endm

	.macro store
	stored_entry fs, one, dump
	stored_entry gs, two, dump+20
	.endm

	target	40

one:
	.long	-1, 0, 0, 0
two:
	.long	-1, 0, 0, 0
read:
	.long	0, 0, 0, 0
	.globl	block_a, block_b, block_c, block_d
block_a:
	.long	0xa1a2a3a4
block_b:
	.long	0xb1b2b3b4
block_c:
	.long	0xc1c2c3c4
block_d:
	.long	0xd1d2d3d4
/* base, limit, and flags of struct user_desc: 32 bits, limit in pages, useable */
one_p:
	.long	block_a, 0xfffff, 0x51
two_p:
	.long	block_b, 0x12345, 0x41
one_q:
	.long	block_c, 0x23456, 0x41
two_q:
	.long	block_d, 0xedcba, 0x51
