/* The AltiVec registers, VSCR with both its bits, and VRSAVE. */
#include "cr.inc"

	.machine altivec

#define REGS 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31

	.macro load set
	addr	3, vscr_\set
	lvx	0, 0, 3
	mtvscr	0
	lwz	3, OFF(vrsave_\set)(1)
	mtspr	256, 3
	addr	3, vmx_\set
	.irp	i, REGS
	lvx	\i, 0, 3
	addi	3, 3, 16
	.endr
	.endm

	.macro store
	addi	3, 1, DUMP
	.irp	i, REGS
	stvx	\i, 0, 3
	addi	3, 3, 16
	.endr
	mfvscr	0
	stvx	0, 0, 3
	mfspr	4, 256
	stw	4, 16(3)
	.endm

	/* vscr makes a vector whose least significant word is \value. */
	.macro vscr value
#ifdef __LITTLE_ENDIAN__
	.long	\value, 0, 0, 0
#else
	.long	0, 0, 0, \value
#endif
	.endm

	target	33*16+4

	patterns vmx, 32*4
vscr_p:
	vscr	0x00000001	/* SAT */
vscr_q:
	vscr	0x00010000	/* NJ */
	patterns vrsave, 1, 32*4
