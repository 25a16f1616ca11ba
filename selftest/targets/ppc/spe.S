/*
 * The 64-bit registers of the signal processing engine, whose low halves are
 * the general registers, the accumulator and SPEFSCR.
 */
#include "cr.inc"

	.machine e500

#define ACC 32*8

	.macro load set
	lwz	3, OFF(spefscr_\set)(1)
	mtspr	512, 3
	addr	4, spe_\set
	addi	5, 4, ACC
	evldd	3, 0(5)
	evmra	3, 3
	evldd	3, 8(4)
	evmergehi 3, 3, 3
	evmergelo 1, 3, 1
	.irp	i, 0,2,3,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,4
	evldd	\i, \i*8(4)
	.endr
	.endm

	/* The accumulator is read by adding nothing to it. */
	.macro store
	.irp	i, 0,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29
	evstdd	\i, DUMP+\i*8(1)
	.endr
	evstdd	1, DUMP+8(1)
	addi	3, 1, DUMP
	evstdd	30, 240(3)
	evstdd	31, 248(3)
	evxor	4, 4, 4
	evmwumiaa 4, 4, 4
	addi	3, 3, ACC
	evstdd	4, 0(3)
	mfspr	4, 512
	stw	4, 8(3)
	.endm

	target	33*8+4

	patterns spe, 33*2
/* SPEFSCR: every status bit in one of the two, rounding modes 1 and 2, no exception enabled */
	value32	spefscr, 0xc0328c01, 0x3f0c7302
