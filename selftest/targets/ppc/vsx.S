/* All 128 bits of the VSX registers, 0 to 31 of which overlay the floating point ones, 32 to 63 the AltiVec ones. */
#include "cr.inc"

	.machine power7

#define LOW 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
#define HIGH 32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50,51,52,53,54,55,56,57,58,59,60,61,62,63

	.macro load set
	addr	3, vsx_\set
	.irp	i, LOW,HIGH
	lxvd2x	\i, 0, 3
	addi	3, 3, 16
	.endr
	.endm

	.macro store
	addi	3, 1, DUMP
	.irp	i, LOW,HIGH
	stxvd2x	\i, 0, 3
	addi	3, 3, 16
	.endr
	.endm

	target	64*16

	patterns vsx, 64*4
