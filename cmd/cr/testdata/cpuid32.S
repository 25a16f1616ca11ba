# A 32-bit program that exits with 2 if cpuid tells of AVX2, else with 1.
	.globl _start
_start:
	movl $7, %eax
	xorl %ecx, %ecx
	cpuid
	shrl $5, %ebx
	andl $1, %ebx
	incl %ebx
	movl $1, %eax
	int $0x80
	.section .note.GNU-stack,"",@progbits
