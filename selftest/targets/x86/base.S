/*
 * The FS and GS base of a 64-bit task, and the data segment selectors. A base
 * need not point to memory.
 */
#include <asm/prctl.h>
#include "cr.inc"

	.macro load set
	mov	M(seg_\set), %ds
	mov	M(seg_\set + 4), %es
	mov	M(base_\set), %rsi
	mov	$ARCH_SET_FS, %edi
	mov	$__NR_arch_prctl, %eax
	syscall
	mov	M(base_\set + 8), %rsi
	mov	$ARCH_SET_GS, %edi
	mov	$__NR_arch_prctl, %eax
	syscall
	.endm

	.macro store
	sys	__NR_arch_prctl, ARCH_GET_FS, dump
	sys	__NR_arch_prctl, ARCH_GET_GS, dump + 8
	movl	$0, M(dump + 16)
	movl	$0, M(dump + 20)
	mov	%ds, M(dump + 16)
	mov	%es, M(dump + 20)
	.endm

	target	24

base_p:
	.quad	0x00001e3779b13c60, 0x00005aa66d2b78d0
base_q:
	.quad	0x000061c8864ec390, 0x0000255992d48720
seg_p:
	.long	0x2b, 0
seg_q:
	.long	0, 0x2b
