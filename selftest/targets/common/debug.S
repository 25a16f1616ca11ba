/* A variable to watch: every store writes to it. Where P has been stored, `stored` is run. */
#include "cr.inc"

	.macro load set
	copy	next, debug_\set
	.endm

	.macro store
	copy	watched, next
	copy	dump, next
	.endm

	target	WORD

	patterns debug, WORD/4
	variable next
	.globl	watched
	.balign	64
	variable watched
