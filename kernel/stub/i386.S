_start:	mov	$29, %eax		# pause
	int	$0x80
	jmp	_start

init:	mov	$114, %eax		# wait4(-1, &status, WUNTRACED, 0)
	mov	$-1, %ebx
	lea	-12(%esp), %ecx
	mov	$2, %edx
	xor	%esi, %esi
	int	$0x80
	test	%eax, %eax
	js	1f
	mov	%eax, -16(%esp)
	mov	$4, %eax		# write(3, {pid, status}, 8)
	mov	$3, %ebx
	lea	-16(%esp), %ecx
	mov	$8, %edx
	int	$0x80
	jmp	init
1:	mov	$252, %eax		# exit_group(0)
	xor	%ebx, %ebx
	int	$0x80
