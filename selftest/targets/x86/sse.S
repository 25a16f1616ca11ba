/* The SSE registers and MXCSR, without DAZ, which the first CPUs lack. */
#include "cr.inc"

#ifdef __x86_64__
#define REGS 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
#define NREGS 16
#else
#define REGS 0,1,2,3,4,5,6,7
#define NREGS 8
#endif

	.macro load set
	ldmxcsr	M(mxcsr_\set)
	.irp	i, REGS
	movups	M(xmm_\set + \i * 16), %xmm\i
	.endr
	.endm

	.macro store
	.irp	i, REGS
	movups	%xmm\i, M(dump + \i * 16)
	.endr
	stmxcsr	M(dump + NREGS * 16)
	.endm

	target	NREGS*16+4

	patterns xmm, NREGS*4
	value32	mxcsr, 0xd52a, 0x2a95
