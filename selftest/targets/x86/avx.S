/* The AVX registers and MXCSR. */
#include "cr.inc"

#ifdef __x86_64__
#define REGS 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
#define NREGS 16
#else
#define REGS 0,1,2,3,4,5,6,7
#define NREGS 8
#endif

	.macro load set
	vldmxcsr M(mxcsr_\set)
	.irp	i, REGS
	vmovups	M(ymm_\set + \i * 32), %ymm\i
	.endr
	.endm

	.macro store
	.irp	i, REGS
	vmovups	%ymm\i, M(dump + \i * 32)
	.endr
	vstmxcsr M(dump + NREGS * 32)
	.endm

	target	NREGS*32+4

	patterns ymm, NREGS*8
	value32	mxcsr, 0xd52a, 0x2ad5
