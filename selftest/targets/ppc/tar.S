/* The target address register. */
#include "cr.inc"

	.macro load set
	LW	3, OFF(tar_\set)(1)
	mtspr	815, 3
	.endm

	.macro store
	mfspr	3, 815
	STW	3, DUMP(1)
	.endm

	target	WORD

	patterns tar, WORD/4
