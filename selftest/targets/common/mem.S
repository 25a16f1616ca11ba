/*
 * Memory of every kind, filled with the pattern: .data, .bss, stack, heap, and
 * mappings that are private, shared, read-only, and partly never touched. The
 * dump has checksums of it, then what a system call says that would write to
 * the read-only mapping.
 */
#include <linux/mman.h>
#include "cr.inc"

/* Below the program, where no heap comes, wherever it begins. */
#define MAPPED 0x100000
#define SHARED 0x200000
#define RDONLY 0x300000

	.macro map at, size, flags
	sys	__NR_MMAP, \at, \size, PROT_READ|PROT_WRITE, MAP_ANONYMOUS|MAP_FIXED|\flags, -1
	need
	.endm

	.macro load_p
	map	MAPPED, 0x40000, MAP_PRIVATE
	map	SHARED, 0x18000, MAP_SHARED
	map	RDONLY, 0x10000, MAP_PRIVATE
	copy	stack, start
	add_to	stack, -0x4000
	sys	__NR_brk
	keep	heap
	keep	heap_end
	add_to	heap_end, 0x10000
	argvar	0, heap_end
	call	__NR_brk
	fill_all 0
	sys	__NR_mprotect, RDONLY, 0x10000, PROT_READ
	need
	.endm

	.macro load_q
	sys	__NR_mprotect, RDONLY, 0x10000, PROT_READ|PROT_WRITE
	need
	fill_all 0xffffffff
	sys	__NR_mprotect, RDONLY, 0x10000, PROT_READ
	need
	.endm

	.macro load set
	load_\set
	.endm

	.macro fill_all flip
	fill	data, 0x400, 0x0, \flip
	fill	bss, 0x400, 0x400, \flip
	fill	stack, 0x400, 0x800, \flip
	fill	heap, 0x4000, 0xc00, \flip
	fill	mapped, 0x4000, 0x4c00, \flip
	fill	shared, 0x4000, 0x8c00, \flip
	fill	rdonly, 0x4000, 0xcc00, \flip
	.endm

	.macro store
	sums	data, 1, dump
	sums	bss, 1, dump+4
	sums	stack, 1, dump+8
	sums	heap, 16, dump+12
	sums	mapped, 64, dump+76
	sums	shared, 16, dump+332
	sums	rdonly, 16, dump+396
	sys	__NR_getcwd, RDONLY, 0x1000
	keep	dump+464
	.endm

	target	464+WORD

	variable data, in_data
	variable bss, in_bss
	variable stack
	variable heap
	variable heap_end
	variable mapped, MAPPED
	variable shared, SHARED+0x8000	/* with a hole before it */
	variable rdonly, RDONLY
	.balign	4096
in_data:
	.skip	4096
	.bss
	.balign	4096
in_bss:
	.skip	4096
