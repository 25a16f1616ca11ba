/* Modes that prctl sets: of floating point exceptions, and of unaligned accesses. */
#include "cr.inc"

#define PR_GET_UNALIGN 5
#define PR_SET_UNALIGN 6
#define PR_GET_FPEXC 11
#define PR_SET_FPEXC 12

	.macro mode request, value
	arg	0, \request
	argint	1, \value
	call	__NR_prctl
	need
	.endm

	.macro load set
	mode	PR_SET_FPEXC, fpexc_\set
	mode	PR_SET_UNALIGN, unalign_\set
	.endm

	.macro store
	sys	__NR_prctl, PR_GET_FPEXC, dump
	need
	sys	__NR_prctl, PR_GET_UNALIGN, dump+4
	need
	.endm

	target	8

	/* PR_FP_EXC_NONRECOV and _ASYNC, PR_UNALIGN_NOPRINT and _SIGBUS */
	value32	fpexc, 1, 2
	value32	unalign, 1, 2
