/* The floating point registers, bit for bit, and FPSCR. */
#include "cr.inc"

#define REGS 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31

	.macro load set
	lfd	0, OFF(fpscr_\set)(1)
	mtfsf	0xff, 0
	.irp	i, REGS
	lfd	\i, OFF(fpr_\set)+\i*8(1)
	.endr
	.endm

	.macro store
	.irp	i, REGS
	stfd	\i, DUMP+\i*8(1)
	.endr
	mffs	0
	stfd	0, DUMP+32*8(1)
	.endm

	target	33*8

	patterns fpr, 64
/*
 * P: FX OX ZX, VXISI VXZDZ VXVC and so VX, FR, FPRF 10101, VXSQRT, XE, RN 2
 * Q: FX UX XX, VXSNAN VXIDI VXIMZ and so VX, FI, FPRF 01010, VXSOFT VXCVI, OE ZE, RN 1
 * No exception that is flagged is enabled, or the CPU would take it.
 */
fpscr_p:
	.quad	0xb4ad520a
fpscr_q:
	.quad	0xaa52a451
