/* The decimal rounding mode, in the upper half of FPSCR. */
#include "cr.inc"

	.machine power7

	.macro load set
	lfd	0, OFF(drn_\set)(1)
	mtfsf	0xff, 0, 1, 0
	.endm

	.macro store
	mffs	0
	stfd	0, DUMP(1)
	.endm

	target	8

drn_p:
	.quad	0x0000000500000000
drn_q:
	.quad	0x0000000200000000
