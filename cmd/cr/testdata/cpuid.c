// A program that asks the CPU what it has, in many ways, and prints what it is
// told: 0 for neither AVX2 nor AVX-512, or what there is.
#define _GNU_SOURCE
#include <cpuid.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// told is bit 0 for AVX2, bit 1 for AVX-512, bit 2 for an answer that is none.
static int told(void)
{
	unsigned a, b, c, d, max = __get_cpuid_max(0, NULL);
	int bits = 0;

	if (max < 7)
		return 4;
	__cpuid_count(7, 0, a, b, c, d);
	if (b & bit_AVX2)
		bits |= 1;
	if (b & bit_AVX512F)
		bits |= 2;
	__builtin_cpu_init();
	if (!__builtin_cpu_supports("sse2"))
		bits |= 4;
	if (__builtin_cpu_supports("avx2"))
		bits |= 1;
	if (__builtin_cpu_supports("avx512f"))
		bits |= 2;
	return bits;
}

static void say(const char *what)
{
	printf("%s %d\n", what, told());
	fflush(stdout);
}

static void *thread(void *what)
{
	say(what);
	return NULL;
}

static sigjmp_buf back;
static volatile int code, signo;
static void *volatile addr;

static void handler(int sig, siginfo_t *info, void *context)
{
	(void)context;
	signo = sig;
	code = info->si_code;
	addr = info->si_addr;
	siglongjmp(back, 1);
}

// faults checks that the handler is called for what is a fault, and how.
static int faults(void)
{
	char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (sigsetjmp(back, 1) == 0)
		*(volatile char *)page = 1;
	if (signo != SIGSEGV || code != SEGV_ACCERR || addr != page)
		return 0;
	signo = 0;
	if (sigsetjmp(back, 1) == 0)
		*(volatile char *)8 = 1;
	if (signo != SIGSEGV || code != SEGV_MAPERR || addr != (void *)8)
		return 0;
	signo = 0;
	if (sigsetjmp(back, 1) == 0) // a fault with SI_KERNEL that is no cpuid
		__asm__ volatile("hlt");
	if (signo != SIGSEGV || code != SI_KERNEL)
		return 0;
	signo = 0;
	if (sigsetjmp(back, 1) == 0)
		raise(SIGSEGV);
	return signo == SIGSEGV && code == SI_TKILL;
}

static int is_blocked(int sig)
{
	sigset_t now;

	sigprocmask(SIG_BLOCK, NULL, &now);
	return sigismember(&now, sig);
}

static void nothing(int sig)
{
	(void)sig;
}

static void *silent(void *unused)
{
	if (told())
		abort();
	return unused;
}

// ended waits for a child that is to exit with 0.
static void ended(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			abort();
	if (status)
		abort();
}

// storm makes threads, processes and signals, and executes, until its input ends.
static int storm(char **argv)
{
	struct pollfd in = {.fd = 0, .events = POLLIN};
	pthread_t t[3];
	pid_t pid;
	int i;

	signal(SIGALRM, nothing);
	ualarm(1000, 1000);
	puts("storm");
	fflush(stdout);
	while (poll(&in, 1, 0) <= 0) {
		for (i = 0; i < 3; i++)
			pthread_create(&t[i], NULL, silent, NULL);
		for (i = 0; i < 3; i++)
			pthread_join(t[i], NULL);
		pid = fork();
		if (pid == 0) {
			silent(NULL);
			execl(argv[0], argv[0], "silent", NULL);
			_exit(1);
		}
		ended(pid);
		pid = vfork();
		if (pid == 0) {
			execl(argv[0], argv[0], "silent", NULL);
			_exit(1);
		}
		ended(pid);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct sigaction act = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO}, was;
	sigset_t set, before, after;
	pthread_t t[4];
	pid_t pid;
	int status, i;

	if (argc > 1 && !strcmp(argv[1], "silent"))
		return told();
	if (argc > 1 && !strcmp(argv[1], "storm"))
		return storm(argv);
	if (argc > 1 && !strcmp(argv[1], "where")) { // the numbers of all processors
		cpu_set_t all, one;
		unsigned a, b, c, d;

		sched_getaffinity(0, sizeof(all), &all);
		for (i = 0; i < CPU_SETSIZE; i++) {
			if (!CPU_ISSET(i, &all))
				continue;
			CPU_ZERO(&one);
			CPU_SET(i, &one);
			sched_setaffinity(0, sizeof(one), &one);
			__cpuid_count(1, 0, a, b, c, d);
			printf("%d %u", i, b >> 24);
			__cpuid_count(0xb, 0, a, b, c, d);
			printf(" %u\n", d);
		}
		return 0;
	}
	if (argc > 1 && !strcmp(argv[1], "once")) {
		say("once");
		return 5;
	}
	if (argc > 1 && !strcmp(argv[1], "lines")) { // one line in, one line out
		char line[100];

		sigaction(SIGSEGV, &act, NULL);
		say("here");
		while (fgets(line, sizeof(line), stdin)) {
			if (!strncmp(line, "save", 4)) { // to descriptor 3
				long id = syscall(313, 0, 3, 0);

				printf("%s ", id > 0 ? "saved" : id == 0 ? "restarted" : "not saved");
			}
			if (!strncmp(line, "back", 4)) { // from descriptor 4
				syscall(314, 0, 4, 0);
				printf("not back ");
			}
			if (!strncmp(line, "default", 7)) // no handler any more
				signal(SIGSEGV, SIG_DFL);
			if (!strncmp(line, "wait", 4)) { // asks nobody
				printf("waits\n");
				fflush(stdout);
				continue;
			}
			if (!strncmp(line, "exec", 4))
				execl(argv[0], argv[0], "lines", NULL);
			printf("%s", !strncmp(line, "default", 7) || faults() ? "" : "no fault ");
			say("here");
		}
		return 6;
	}
	say("first");
	for (i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, thread, "thread");
	for (i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	pid = fork();
	if (pid == 0) {
		say("child");
		_exit(7);
	}
	waitpid(pid, &status, 0);
	printf("status %d\n", WEXITSTATUS(status));
	pid = vfork();
	if (pid == 0) {
		execl(argv[0], argv[0], "once", NULL);
		_exit(8);
	}
	waitpid(pid, &status, 0);
	printf("status %d\n", WEXITSTATUS(status));

	// SIGSEGV blocked, with all others, and no handler.
	sigfillset(&set);
	sigprocmask(SIG_SETMASK, &set, &before);
	say("blocked");
	sigprocmask(SIG_SETMASK, &before, &after);
	printf("mask %d\n", sigismember(&after, SIGSEGV));
	say("unblocked");
	printf("mask %d\n", is_blocked(SIGSEGV));

	// Ignored.
	signal(SIGSEGV, SIG_IGN);
	say("ignored");
	sigaction(SIGSEGV, NULL, &was);
	printf("action %d\n", was.sa_handler == SIG_IGN);

	// With a handler.
	sigaddset(&act.sa_mask, SIGUSR2);
	sigaction(SIGSEGV, &act, NULL);
	say("handler");
	printf("faults %d\n", faults());

	// With a handler, and blocked alone.
	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	sigprocmask(SIG_BLOCK, &set, NULL);
	say("both");
	printf("mask %d\n", is_blocked(SIGSEGV));
	sigaction(SIGSEGV, NULL, &was);
	printf("action %d\n", was.sa_sigaction == handler && was.sa_flags & SA_SIGINFO && sigismember(&was.sa_mask, SIGUSR2));
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	printf("faults %d\n", faults());

	// In a child, which has inherited the handler, and blocked.
	pid = fork();
	if (pid == 0) {
		sigprocmask(SIG_BLOCK, &set, NULL);
		say("child");
		sigprocmask(SIG_UNBLOCK, &set, NULL);
		_exit(faults());
	}
	waitpid(pid, &status, 0);
	printf("faults %d\n", WEXITSTATUS(status));

	// Killed by a fault of its own.
	pid = fork();
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		say("child");
		*(volatile char *)8 = 1;
	}
	waitpid(pid, &status, 0);
	printf("signal %d\n", WTERMSIG(status));
	return 9;
}
