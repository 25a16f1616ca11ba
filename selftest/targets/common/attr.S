/* Attributes of a task: name, timer slack, nice value and personality. */
#include "cr.inc"

#define PR_SET_NAME 15
#define PR_GET_NAME 16
#define PR_SET_TIMERSLACK 29
#define PR_GET_TIMERSLACK 30

	.macro load_p
	sys	__NR_prctl, PR_SET_NAME, name_p
	need
	sys	__NR_prctl, PR_SET_TIMERSLACK, 12345
	need
	sys	__NR_setpriority, 0, 0, 3
	need
	sys	__NR_personality, 0x00040000
	need
	.endm

	.macro load_q
	sys	__NR_prctl, PR_SET_NAME, name_q
	need
	sys	__NR_prctl, PR_SET_TIMERSLACK, 54321
	need
	sys	__NR_setpriority, 0, 0, 5
	need
	sys	__NR_personality, 0x08000000
	need
	.endm

	.macro load set
	load_\set
	.endm

	.macro store
	sys	__NR_prctl, PR_GET_NAME, dump
	need
	sys	__NR_prctl, PR_GET_TIMERSLACK
	keep	dump+16
	sys	__NR_getpriority, 0, 0
	keep	dump+16+WORD
	sys	__NR_personality, 0xffffffff
	keep	dump+16+2*WORD
	.endm

	target	16+3*WORD

name_p:
	.asciz	"first name"
name_q:
	.asciz	"second name"
