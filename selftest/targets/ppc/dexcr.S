/* Aspects of the dynamic execution control register, which prctl sets. */
#include "cr.inc"

#define PR_PPC_GET_DEXCR 72
#define PR_PPC_SET_DEXCR 73
#define IBRTPD 1
#define SRAPD 2

	.macro aspect n, control
	arg	0, PR_PPC_SET_DEXCR
	arg	1, \n
	argint	2, \control
	arg	3, 0
	arg	4, 0
	call	__NR_prctl
	cmpwi	3, 0
	blt	lacking
	.endm

	.macro load set
	aspect	IBRTPD, ibrtpd_\set
	aspect	SRAPD, srapd_\set
	.endm

	.macro store
	sys	__NR_prctl, PR_PPC_GET_DEXCR, IBRTPD
	need
	stw	3, DUMP(1)
	sys	__NR_prctl, PR_PPC_GET_DEXCR, SRAPD
	need
	stw	3, DUMP+4(1)
	.endm

	target	8

	/* PR_PPC_DEXCR_CTRL_SET and _SET_ONEXEC, _CLEAR and _CLEAR_ONEXEC */
	value32	ibrtpd, 0x0a, 0x14
	value32	srapd, 0x14, 0x0a
