/* The AVX-512 registers and its masks, all 64 bits of them. */
#include "cr.inc"

#ifdef __x86_64__
#define REGS 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
#define NREGS 32
#else
#define REGS 0,1,2,3,4,5,6,7
#define NREGS 8
#endif

	.macro load set
	.irp	i, REGS
	vmovups	M(zmm_\set + \i * 64), %zmm\i
	.endr
	.irp	i, 0,1,2,3,4,5,6,7
	kmovq	M(zmm_\set + NREGS * 64 + \i * 8), %k\i
	.endr
	.endm

	.macro store
	.irp	i, REGS
	vmovups	%zmm\i, M(dump + \i * 64)
	.endr
	.irp	i, 0,1,2,3,4,5,6,7
	kmovq	%k\i, M(dump + NREGS * 64 + \i * 8)
	.endr
	.endm

	target	NREGS*64+64

	patterns zmm, NREGS*16+16
