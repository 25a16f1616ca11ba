/*
 * Makes the system calls that it is told to make: each 8 words from standard
 * input are a number, six arguments and one that is not used. It prints the
 * result and the registers after the call, which had pattern P before, and a
 * checksum of memory that no call may change.
 */
#include "cr.inc"
#include "gpr.inc"

	.macro request
	sys	__NR_read, 0, words, 8*WORD
	is_zero	done
	need
	load	p
	call_words
	store
	signed
	sums	kept_at, 1, dump+GPRSIZE
	print	GPRSIZE+4
	.endm

	.section .note.GNU-stack, "", %progbits
	.text
	.globl	_start
_start:
	begin
	fill	kept_at, 0x400, 0, 0
next:
	request
	jump	next
	ending

	.data
	area	GPRSIZE+4
	gpr_data
	.globl	words, memory
	.balign	64
words:
	.skip	8*WORD
	variable kept_at, kept
	.balign	4096
kept:
	.skip	4096
/* what the calls may be given the address of, zero at first */
memory:
	.skip	4096
