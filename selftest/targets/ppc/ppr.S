/* The program priority: low in P, medium low in Q, by PPR32, which 32-bit tasks have too. */
#include "cr.inc"

	.macro load set
	lwz	3, OFF(ppr_\set)(1)
	mtspr	898, 3
	.endm

	.macro store
	mfspr	3, 898
	stw	3, DUMP(1)
	.endm

	target	4

	value32	ppr, 0x00080000, 0x000c0000
