/* The program that is checkpointed and restarted, and the one whose system
 * calls are timed. It runs on Linux with glibc; see target.go. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* map gives memory filled with bytes that do not compress. */
static char *map(size_t size, int fill)
{
	uint64_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t x = 88172645463325252u + getpid();

	if (p == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	for (size_t i = 0; fill && i < size / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = x;
	}
	return (char *)p;
}

static void *wait_forever(void *unused)
{
	for (;;)
		pause();
}

/* memory MIB THREADS PROCESSES FILL: tell where the memory is, then echo every
 * byte of standard input until it ends. */
static int memory(char **arg)
{
	size_t size = strtoul(arg[0], NULL, 10) << 20;
	int threads = atoi(arg[1]), processes = atoi(arg[2]);
	pid_t child[1000];
	pthread_t t;
	char *p, c;

	for (int i = 0; i < processes - 1; i++) {
		child[i] = fork();
		if (child[i] == 0) {
			map(size, 1);
			close(0);
			write(1, "r", 1);
			wait_forever(NULL);
		}
	}
	p = map(size, atoi(arg[3]));
	for (int i = 0; i < threads - 1; i++)
		if (pthread_create(&t, NULL, wait_forever, NULL) != 0)
			return 1;
	printf("r%lx\n", (unsigned long)p);
	fflush(stdout);
	while (read(0, &c, 1) == 1)
		write(1, &c, 1);
	for (int i = 0; i < processes - 1; i++)
		kill(child[i], SIGKILL);
	return 0;
}

/* calls COUNT: print the nanoseconds that getpid and preadv take, of the
 * processor's time, of which others may take a share. */
static int calls(char **arg)
{
	long count = atol(arg[0]);
	struct timespec from, to;
	char buf[16];
	struct iovec v = { buf, sizeof buf };
	int fd = open("/proc/self/exe", O_RDONLY);

	for (int what = 0; what < 2; what++) {
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
		for (long i = 0; i < count; i++)
			if (what == 0)
				syscall(SYS_getpid);
			else if (preadv(fd, &v, 1, 0) != sizeof buf)
				return 1;
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
		printf("%.2f\n", ((to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec)) / count);
	}
	return 0;
}

#if defined(__x86_64__)
#define NR_CHECKPOINT 313
#elif defined(__i386__)
#define NR_CHECKPOINT 333
#else
#define NR_CHECKPOINT 319
#endif

/* self MIB FILE COUNT: print the nanoseconds that each of some checkpoint calls
 * takes. */
static int self(char **arg)
{
	struct timespec from, to;
	int count = atoi(arg[2]);

	map(strtoul(arg[0], NULL, 10) << 20, 1);
	for (int i = 0; i < count; i++) {
		int fd = open(arg[1], O_WRONLY | O_CREAT | O_TRUNC, 0600);
		clock_gettime(CLOCK_MONOTONIC, &from);
		if (syscall(NR_CHECKPOINT, 0, fd, 0L) <= 0) {
			perror("checkpoint");
			return 1;
		}
		clock_gettime(CLOCK_MONOTONIC, &to);
		printf("%.0f\n", (to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec));
		close(fd);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 6 && strcmp(argv[1], "memory") == 0)
		return memory(argv + 2);
	if (argc == 3 && strcmp(argv[1], "calls") == 0)
		return calls(argv + 2);
	if (argc == 5 && strcmp(argv[1], "self") == 0)
		return self(argv + 2);
	return 2;
}
