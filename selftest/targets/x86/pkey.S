/*
 * Memory with a protection key, and one with another key that stays open. The
 * key's rights forbid writing in P and allow it in Q, so a system call that
 * writes there says which key the memory has. The keys are 1 and 2: the lowest
 * that are free.
 */
#include <linux/mman.h>
#include "cr.inc"

#define LOCKED 0x100000
#define OPEN 0x200000

	.macro rights value
	mov	$\value, %eax
	xor	%ecx, %ecx
	xor	%edx, %edx
	wrpkru
	.endm

	.macro keyed at, key
	sys	__NR_MMAP, \at, 0x1000, PROT_READ|PROT_WRITE, MAP_ANONYMOUS|MAP_FIXED|MAP_PRIVATE, -1
	need
	sys	__NR_pkey_alloc
	need_call
	sys	__NR_pkey_mprotect, \at, 0x1000, PROT_READ|PROT_WRITE, \key
	need
	.endm

	.macro load_p
	keyed	LOCKED, 1
	keyed	OPEN, 2
	rights	0x08
	.endm

	.macro load_q
	rights	0
	.endm

	.macro load set
	load_\set
	.endm

	.macro store
	sys	__NR_uname, LOCKED
	keep	dump
	sys	__NR_uname, OPEN
	keep	dump+WORD
	.endm

	target	2*WORD
