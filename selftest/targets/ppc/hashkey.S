/*
 * The key of the hash instructions, which exec chooses at random: a hash of the
 * same word at the same place must be the same. CPUs without the instructions do
 * nothing.
 */
#include "cr.inc"

	.machine power10

	.macro hash to
	addr	4, hashed + 8
	addr	5, 0x12345678
	li	6, 0
	std	6, -8(4)
	hashst	5, -8(4)
	ld	6, -8(4)
	std	6, OFF(\to)(1)
	.endm

	.macro load set
	.ifc	\set, p
	hash	first
	.endif
	.endm

	/* store stores the difference of the hashes, and 1 if the key is of no effect. */
	.macro store
	hash	again
	ld	5, OFF(first)(1)
	ld	6, OFF(again)(1)
	cntlzd	7, 5
	srdi	7, 7, 6
	std	7, DUMP+8(1)
	cmpdi	6, 0
	beq	2f
	xor	6, 5, 6
2:	std	6, DUMP(1)
	.endm

	target	16

	.balign	8
hashed:
	.quad	0
first:
	.quad	0
again:
	.quad	0
