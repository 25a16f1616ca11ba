/*
 * Signals: actions, mask, alternate stack, signals that are pending for the
 * process, for the task and in a queue, and the interval timer.
 */
#include "cr.inc"

#define SIG_BLOCK 0
#define SIG_SETMASK 2
#define SIGUSR1 10
#define SIGUSR2 12
#define SIGRT_P 40
#define SIGRT_Q 34

#define ACTION (3*WORD+8)
#define STACK (3*WORD)
#define INFO 128

/* where things are in the dump, after the actions */
#define AFTER dump+5*ACTION
#define WAITED AFTER+STACK+16+4*WORD

/* the signals whose actions are tried */
	.set	signal_0, 1
	.set	signal_1, 10
	.set	signal_2, 17
	.set	signal_3, 34
	.set	signal_4, 64

	.macro act_all set
	.irp	i, 0,1,2,3,4
	sys	__NR_rt_sigaction, signal_\i, act_\set+\i*ACTION, 0, 8
	need
	.endr
	sys	__NR_rt_sigprocmask, SIG_SETMASK, mask_\set, 0, 8
	need
	sys	__NR_sigaltstack, stack_\set
	need
	sys	__NR_setitimer, 0, timer_\set
	need
	.endm

	/* queue sends this process a signal with a value. */
	.macro queue signal, info
	argvar	0, pid
	arg	1, \signal
	arg	2, \info
	call	__NR_rt_sigqueueinfo
	need
	.endm

	.macro load_p
	act_all p
	sys	__NR_getpid
	keep	pid
	argvar	0, pid
	arg	1, SIGUSR1
	call	__NR_kill
	need
	sys	__NR_gettid
	keep	tid
	argvar	0, pid
	argvar	1, tid
	arg	2, SIGUSR2
	call	__NR_tgkill
	need
	queue	SIGRT_P, info_p
	queue	SIGRT_P, info_q
	.endm

	/* A restart by a kernel of its own gives the process another pid. */
	.macro load_q
	act_all q
	sys	__NR_getpid
	keep	pid
	queue	SIGRT_Q, info_q
	queue	SIGRT_Q, info_p
	.endm

	.macro load set
	load_\set
	.endm

	/* taken takes a pending signal of a set; n is its place in the dump. */
	.macro taken n, set
	sys	__NR_rt_sigtimedwait, \set, WAITED+\n*(INFO+WORD)+WORD, zero, 8
	keep	WAITED+\n*(INFO+WORD)
	.endm

	.macro store
	.irp	i, 0,1,2,3,4
	sys	__NR_rt_sigaction, signal_\i, 0, dump+\i*ACTION, 8
	.endr
	sys	__NR_sigaltstack, 0, AFTER
	sys	__NR_rt_sigprocmask, SIG_BLOCK, 0, AFTER+STACK, 8
	sys	__NR_rt_sigpending, AFTER+STACK+8, 8
	sys	__NR_getitimer, 0, AFTER+STACK+16
	taken	0, set_usr1
	taken	1, set_usr2
	taken	2, set_rt
	taken	3, set_rt
	taken	4, set_rt
	.endm

	target	5*ACTION+STACK+16+4*WORD+5*(INFO+WORD)

	/* action is a struct sigaction as the kernel has it. */
	.macro action handler, flags, restorer, mask
	word	\handler
	word	\flags
	word	\restorer
	sigset	\mask
	.endm

	.balign	8
act_p:
	action	0x10123450, 0x04000004, 0x10987650, 0x9e3779b13c6af262
	action	0x10123460, 0x1c000004, 0x10987660, 0xdaa66d2b78d9e4c4
	action	0x00000001, 0x00000003, 0x00000000, 0x0000000000000000
	action	0x10123470, 0xc4000004, 0x10987670, 0x17156095b548d626
	action	0x00000001, 0x10000000, 0x00000000, 0x538453fffffbbaff
act_q:
	action	0x00000001, 0x10000000, 0x00000000, 0x61c8864ec391089d
	action	0x10123480, 0xc4000000, 0x10987680, 0x255992d487221a3b
	action	0x10123490, 0x04000001, 0x10987690, 0x55555555555154d5
	action	0x00000000, 0x00000000, 0x00000000, 0x0000000000000000
	action	0x101234a0, 0x0c000004, 0x109876a0, 0xaaaaaaaaaaaaaaaa
/* Neither has SIGKILL, SIGSTOP or SIGTRAP; P has USR1, USR2 and RT_P, Q has RT_Q. */
mask_p:
	sigset	0x1e3779b13c6a2a00
mask_q:
	sigset	0x21c8864ec391d4ef
stack_p:
	word	0x20345670
	word	0
	word	0x12340
stack_q:
	word	0x30456780
	word	0
	word	0x45670
timer_p:
	word	1000
	word	123456
	word	100000
	word	0
timer_q:
	word	2000
	word	654320
	word	200000
	word	0

set_usr1:
	sigset	(1<<(SIGUSR1-1))
set_usr2:
	sigset	(1<<(SIGUSR2-1))
set_rt:
	sigset	((1<<(SIGRT_P-1))|(1<<(SIGRT_Q-1)))
zero:
	.quad	0, 0

	/* info is a siginfo of sigqueue: no error, SI_QUEUE, a pid, a uid and a value. */
	.macro info name, a, b, value
	.balign	8
\name:
	.long	0, 0, -1
#if WORD == 8
	.long	0
#endif
	.long	\a, \b
	word	\value
	.skip	128-(.-\name)
	.endm

	info	info_p, 0x1234, 0x5678, 0x3c6ef362
	info	info_q, 0x4321, 0x8765, 0x43910c9d
	variable pid
	variable tid
