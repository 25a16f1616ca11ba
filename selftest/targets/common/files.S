/*
 * Descriptors: 10 and 11 share an offset in the file argv[2], 12 has another
 * one, 20 and 21 are a pipe with something in it. And what paths depend on:
 * umask and working directory.
 */
#include "cr.inc"

#define AT_FDCWD -100
#define O_RDONLY 0
#define O_RDWR 2
#define O_APPEND 0x400
#define O_NONBLOCK 0x800
#define O_CLOEXEC 0x80000
#define F_GETFD 1
#define F_SETFD 2
#define F_GETFL 3
#define FD_CLOEXEC 1
#define SEEK_CUR 1

	/* moved moves the descriptor in an int to one that is known. */
	.macro moved from, to, flags
	argint	0, \from
	arg	1, \to
	arg	2, \flags
	call	__NR_dup3
	need
	argint	0, \from
	call	__NR_close
	.endm

	/* opened opens argv[2] as descriptor fd. */
	.macro opened fd, mode, flags
	arg	0, AT_FDCWD
	argvar	1, path
	arg	2, \mode
	call	__NR_openat
	need
	keepint	pair
	moved	pair, \fd, \flags
	.endm

	.macro load_p
	opened	10, O_RDONLY, O_CLOEXEC
	sys	__NR_dup3, 10, 11
	need
	opened	12, O_RDWR|O_APPEND, 0
	sys	__NR_pipe2, pair, O_NONBLOCK
	need
	moved	pair, 20, 0
	moved	pair+4, 21, O_CLOEXEC
	sys	__NR_lseek, 10, 5
	sys	__NR_lseek, 12, 33
	sys	__NR_write, 21, text_p, 24
	need
	sys	__NR_umask, 0x17
	sys	__NR_chdir, dir_p
	need
	.endm

	.macro load_q
	sys	__NR_fcntl, 10, F_SETFD, 0
	sys	__NR_fcntl, 11, F_SETFD, FD_CLOEXEC
	sys	__NR_lseek, 10, 40
	sys	__NR_lseek, 12, 1
	sys	__NR_write, 21, text_q, 30
	need
	sys	__NR_umask, 0x68
	sys	__NR_chdir, dir_q
	need
	.endm

	.macro load set
	load_\set
	.endm

	/* result makes a system call and stores its result as word n of the dump. */
	.macro result n, nr, a=0, b=0, c=0
	sys	\nr, \a, \b, \c
	keep	dump+\n*WORD
	.endm

#define BYTES dump+16*WORD

	.macro store
	result	0, __NR_lseek, 11, 0, SEEK_CUR
	result	1, __NR_fcntl, 10, F_GETFD
	result	2, __NR_fcntl, 11, F_GETFD
	result	3, __NR_fcntl, 12, F_GETFD
	result	4, __NR_fcntl, 10, F_GETFL
	result	5, __NR_fcntl, 12, F_GETFL
	result	6, __NR_read, 10, BYTES, 8
	result	7, __NR_lseek, 11, 0, SEEK_CUR
	result	8, __NR_lseek, 12, 0, SEEK_CUR
	result	9, __NR_fcntl, 20, F_GETFD
	result	10, __NR_fcntl, 21, F_GETFD
	result	11, __NR_fcntl, 20, F_GETFL
	result	12, __NR_read, 20, BYTES+8, 32
	result	13, __NR_read, 20, BYTES+8, 32
	result	14, __NR_umask, 0
	result	15, __NR_getcwd, BYTES+40, 16
	.endm

	target	16*WORD+56

pair:
	.long	0, 0
text_p:
	.ascii	"what the pipe holds in P"
text_q:
	.ascii	"something else is in it in Q.."
dir_p:
	.asciz	"/proc/sys/vm"
dir_q:
	.asciz	"/proc/sys/fs"
