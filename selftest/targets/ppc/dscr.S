/* The data stream control register, by its number for problem state. It has 25 bits. */
#include "cr.inc"

	.macro load set
	lwz	3, OFF(dscr_\set)(1)
	mtspr	3, 3
	.endm

	.macro store
	mfspr	3, 3
	STW	3, DUMP(1)
	.endm

	target	WORD

	value32	dscr, 0x01a55ac3, 0x005aa53c
