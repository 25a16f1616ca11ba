/* The protection key rights. Key 0, which all of this program's pages have, stays open. */
#include "cr.inc"

	.macro load set
	mov	M(pkru_\set), %eax
	xor	%ecx, %ecx
	xor	%edx, %edx
	wrpkru
	.endm

	.macro store
	xor	%ecx, %ecx
	rdpkru
	mov	%eax, M(dump)
	.endm

	target	4

	value32	pkru, 0x9e3779b0, 0x61c8864c
