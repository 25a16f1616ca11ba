/*
 * Protection keys: 1, 3 and 4 are given to mappings, then 4 is freed, 2 is the
 * kernel's for memory that can be executed only. The dump has what system calls
 * say that write to these mappings and read from it, which keys can be used, and
 * a checksum.
 */
#include <linux/mman.h>
#include "cr.inc"

#define ONE 0x100000
#define THREE 0x110000
#define FOUR 0x120000
#define EXEC 0x130000
#define FREE 0x140000
#define RW PROT_READ|PROT_WRITE

#define PR_SET_NAME 15
#define PR_GET_NAME 16

	.macro map at, prot
	sys	__NR_MMAP, \at, 0x1000, \prot, MAP_ANONYMOUS|MAP_FIXED|MAP_PRIVATE, -1
	need
	.endm

	/* alloc makes sure that the kernel allocates this key. */
	.macro alloc key, rights
	sys	__NR_pkey_alloc, 0, \rights
	cmp	$\key, %A
	jne	fail
	.endm

	.macro give at, key
	sys	__NR_pkey_mprotect, \at, 0x1000, RW, \key
	need
	.endm

	.macro free key
	sys	__NR_pkey_free, \key
	need
	.endm

	.macro load_p
	map	ONE, RW
	map	THREE, RW
	map	FOUR, RW
	fill	one, 0x400, 0, 0
	alloc	1, PKEY_DISABLE_WRITE
	alloc	2, 0
	alloc	3, 0
	alloc	4, PKEY_DISABLE_ACCESS
	give	ONE, 1
	give	THREE, 3
	give	FOUR, 4
	free	4
	free	2
	map	EXEC, PROT_EXEC
	.endm

	.macro load_q
	give	ONE, 0
	fill	one, 0x400, 0, 0xffffffff
	give	THREE, 1
	free	3
	.endm

	.macro load set
	load_\set
	.endm

	.macro try key
	sys	__NR_pkey_mprotect, FREE, 0x1000, RW, \key
	keep	dump+(3+\key)*WORD
	.endm

	.macro store
	sums	one, 1, dump+19*WORD
	sys	__NR_prctl, PR_GET_NAME, ONE+0xff0
	keep	dump
	sys	__NR_prctl, PR_GET_NAME, THREE
	keep	dump+WORD
	sys	__NR_prctl, PR_SET_NAME, EXEC
	keep	dump+2*WORD
	sys	__NR_prctl, PR_GET_NAME, FOUR
	keep	dump+3*WORD
	.irp	key, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	try	\key
	.endr
	.endm

	target	19*WORD+4

	variable one, ONE
