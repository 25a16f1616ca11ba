/* A program that verifies itself all the time, and says so in a file that it
 * maps: the beats of its threads, the signals that it got, and the first thing
 * that was wrong. Usage: steady FILE THREADS [IMAGE]: with IMAGE a thread
 * checkpoints the program there until the call is gone (ENOSYS). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined __x86_64__
enum { CHECKPOINT = 313 };
#elif defined __i386__
enum { CHECKPOINT = 333 };
#else
enum { CHECKPOINT = 319 };
#endif
enum { MAX = 2048 };

struct shared {
	volatile uint64_t signals, wrong, threads, pid, refused, go;
	char what[80];
	volatile uint64_t beats[MAX];
} *s;

static void fail(const char *what)
{
	if (__sync_fetch_and_add(&s->wrong, 1) == 0)
		snprintf(s->what, sizeof s->what, "%s: %s", what, strerror(errno));
}

static void count(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)context;
	if (info->si_value.sival_int != (int)s->signals)
		fail("a signal is lost or twice");
	s->signals++;
}

/* Memory that is changed all the time, and whose checksum is known. */
static void *memory(void *arg)
{
	enum { N = 16384 };
	uint64_t *m = malloc(N * sizeof *m), sum = 0, x = 88172645463325252ull;
	for (int i = 0; i < N; i++)
		m[i] = 0;
	for (;;) {
		for (int i = 0; i < N; i++) {
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			sum += x - m[i];
			m[i] = x;
		}
		uint64_t now = 0;
		for (int i = 0; i < N; i++)
			now += m[i];
		if (now != sum)
			fail("memory");
		s->beats[(intptr_t)arg]++;
	}
}

#ifdef __x86_64__
/* Every register has a value of its own, through a loop without system calls
 * and one with. The red zone below the stack pointer is in use too. */
static void *registers(void *arg)
{
	for (uint64_t round = 1;; round++) {
		uint64_t bad = 1, rounds = round & 1 ? 20000 : 0;
		__asm__ volatile(
			"lea -128(%%rsp), %%rsp\n\t" "push %%rbp\n\t" "push %%rbx\n\t" "push %0\n\t"
			"mov %1, %%rcx\n\t"
			"mov $0x1111111111111111, %%rbx\n\t" "mov $0x2222222222222222, %%rdx\n\t"
			"mov $0x3333333333333333, %%rsi\n\t" "mov $0x4444444444444444, %%rdi\n\t"
			"mov $0x5555555555555555, %%rbp\n\t" "mov $0x6666666666666666, %%r8\n\t"
			"mov $0x7777777777777777, %%r9\n\t" "mov $0x8888888888888888, %%r10\n\t"
			"mov $0x9999999999999999, %%r11\n\t" "mov $0xaaaaaaaaaaaaaaaa, %%r12\n\t"
			"mov $0xbbbbbbbbbbbbbbbb, %%r13\n\t" "mov $0xcccccccccccccccc, %%r14\n\t"
			"movq %%rbx, %%xmm0\n\t" "movq %%r14, %%xmm15\n\t" "mov %%r13, -64(%%rsp)\n\t"
			"mov $0xdddddddddddddddd, %%rax\n\t"
			"test %%rcx, %%rcx\n\t" "jnz 2f\n\t"
			"mov $186, %%eax\n\t" "syscall\n\t" /* gettid */
			"mov $0x9999999999999999, %%r11\n\t" "mov $0xdddddddddddddddd, %%rax\n\t" "jmp 3f\n"
			"2:\n\t" "lea -1(%%rcx), %%rcx\n\t" "jrcxz 3f\n\t" "jmp 2b\n"
			"3:\n\t"
			"mov $0xdddddddddddddddd, %%rcx\n\t" "cmp %%rcx, %%rax\n\t" "jne 9f\n\t"
			"mov $0x1111111111111111, %%rcx\n\t" "cmp %%rcx, %%rbx\n\t" "jne 9f\n\t"
			"movq %%xmm0, %%rax\n\t" "cmp %%rcx, %%rax\n\t" "jne 9f\n\t"
			"mov $0x2222222222222222, %%rcx\n\t" "cmp %%rcx, %%rdx\n\t" "jne 9f\n\t"
			"mov $0x3333333333333333, %%rcx\n\t" "cmp %%rcx, %%rsi\n\t" "jne 9f\n\t"
			"mov $0x4444444444444444, %%rcx\n\t" "cmp %%rcx, %%rdi\n\t" "jne 9f\n\t"
			"mov $0x5555555555555555, %%rcx\n\t" "cmp %%rcx, %%rbp\n\t" "jne 9f\n\t"
			"mov $0x6666666666666666, %%rcx\n\t" "cmp %%rcx, %%r8\n\t" "jne 9f\n\t"
			"mov $0x7777777777777777, %%rcx\n\t" "cmp %%rcx, %%r9\n\t" "jne 9f\n\t"
			"mov $0x8888888888888888, %%rcx\n\t" "cmp %%rcx, %%r10\n\t" "jne 9f\n\t"
			"mov $0x9999999999999999, %%rcx\n\t" "cmp %%rcx, %%r11\n\t" "jne 9f\n\t"
			"mov $0xaaaaaaaaaaaaaaaa, %%rcx\n\t" "cmp %%rcx, %%r12\n\t" "jne 9f\n\t"
			"mov $0xbbbbbbbbbbbbbbbb, %%rcx\n\t" "cmp %%rcx, %%r13\n\t" "jne 9f\n\t"
			"cmp %%rcx, -64(%%rsp)\n\t" "jne 9f\n\t"
			"mov $0xcccccccccccccccc, %%rcx\n\t" "cmp %%rcx, %%r14\n\t" "jne 9f\n\t"
			"movq %%xmm15, %%rax\n\t" "cmp %%rcx, %%rax\n\t" "jne 9f\n\t"
			"mov $0, %%eax\n\t" "jmp 8f\n"
			"9:\n\t" "mov $1, %%eax\n"
			"8:\n\t" "pop %%rcx\n\t" "pop %%rbx\n\t" "pop %%rbp\n\t" "lea 128(%%rsp), %%rsp\n\t"
			"mov %%rax, (%%rcx)\n\t"
			: : "r"(&bad), "r"(rounds)
			: "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0", "xmm15", "memory", "cc");
		if (bad)
			fail("registers");
		s->beats[(intptr_t)arg]++;
	}
}
#else
/* Floating point and integers that the compiler keeps in registers. */
static void *registers(void *arg)
{
	for (;;) {
		register uint64_t a = 1, b = 2, c = 3, d = 4;
		double f = 1.5, g = 2.5;
		for (int i = 0; i < 200000; i++)
			a += b, b += c, c += d, d += a, f += 1, g += 2;
		if (f != 200001.5 || g != 400002.5)
			fail("floating point");
		static uint64_t known;
		if (known == 0)
			known = a ^ b ^ c ^ d;
		if (known != (a ^ b ^ c ^ d))
			fail("registers");
		s->beats[(intptr_t)arg]++;
	}
}
#endif

static void *sleeper(void *arg)
{
	for (;;) {
		struct timespec d = { 0, 2000000 }, before, after;
		clock_gettime(CLOCK_MONOTONIC, &before);
		errno = clock_nanosleep(CLOCK_MONOTONIC, 0, &d, NULL);
		if (errno)
			fail("clock_nanosleep");
		clock_gettime(CLOCK_MONOTONIC, &after);
		if ((after.tv_sec - before.tv_sec) * 1000000000ll + after.tv_nsec - before.tv_nsec < d.tv_nsec)
			fail("a short sleep");
		s->beats[(intptr_t)arg]++;
	}
}

static int pipes[2];

/* Calls that nothing interrupts but the checkpoint. */
static void *waiter(void *arg)
{
	for (;;) {
		struct pollfd p = { pipes[0], POLLIN, 0 };
		if (poll(&p, 1, 3) != 0)
			fail("poll");
		s->beats[(intptr_t)arg]++;
	}
}

static void *reader(void *arg)
{
	char c;
	(void)arg;
	for (;;) {
		ssize_t n = read(pipes[0], &c, 1);
		if (n != 1)
			fail("read");
	}
}

static int image;

/* Checkpoints the program itself until there is nobody any more to do it. */
static void *caller(void *arg)
{
	(void)arg;
	while (!s->go)
		usleep(1000);
	for (;;) {
		lseek(image, 0, SEEK_SET);
		long id = syscall(CHECKPOINT, 0, image, 0);
		if (id < 0 && errno == ENOSYS)
			break;
		if (id <= 0)
			fail("checkpoint");
		s->beats[MAX - 1]++;
	}
	s->refused = 1;
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	static void *(*const kinds[])(void *) = { memory, registers, sleeper, waiter };
	int fd = open(argv[1], O_RDWR), threads = argc > 2 ? atoi(argv[2]) : 4;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_PTRACER, -1); /* PR_SET_PTRACER_ANY, where there is Yama */
	if (fd < 0 || threads > MAX - 2)
		return 1;
	s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (s == MAP_FAILED || pipe(pipes))
		return 1;
	sigset_t rt, none;
	sigemptyset(&none);
	sigemptyset(&rt);
	sigaddset(&rt, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &rt, NULL);
	struct sigaction a = { .sa_sigaction = count, .sa_flags = SA_SIGINFO };
	sigaction(SIGRTMIN, &a, NULL);
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	pthread_t t;
	for (int i = 0; i < threads; i++) {
		/* Many threads sleep, few are busy. */
		void *(*run)(void *) = i < 4 ? kinds[i] : sleeper;
		if (pthread_create(&t, &attr, run, (void *)(intptr_t)(i + 1)))
			return 1;
	}
	if (pthread_create(&t, &attr, reader, NULL))
		return 1;
	if (argc > 3) {
		image = open(argv[3], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (image < 0 || pthread_create(&t, &attr, caller, NULL))
			return 1;
	}
	s->pid = getpid();
	s->threads = threads;
	for (;;) {
		/* Only here is the signal not blocked, and every one ends the wait. */
		uint64_t before = s->signals;
		if (sigsuspend(&none) != -1 || errno != EINTR)
			fail("sigsuspend");
		if (s->signals == before)
			fail("sigsuspend without a signal");
		s->beats[0]++;
	}
}
