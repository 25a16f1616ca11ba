/* low STOP [exec] goes on to use memory of all kinds, and checks that all of it
 * lies below 3 GiB, as a 32-bit kernel has it, and that its start is as it should
 * be. It ends when the file STOP is there. With exec it executes itself first. */
#include <elf.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void fail(const char *what, const void *at)
{
	printf("%s: %p\n", what, at);
	exit(1);
}

static void low(const char *what, const volatile void *at)
{
	if ((uintptr_t)at >= 0xc0000000)
		fail(what, (const void *)at);
}

/* deep takes some MiB of the stack. */
static int deep(int n)
{
	volatile char frame[16384];

	memset((char *)frame, n, sizeof frame);
	low("stack", frame);
	return n ? deep(n - 1) + frame[n] : 0;
}

/* all looks at every mapping. */
static void all(void)
{
	unsigned long long start, end;
	char line[512];
	int stack = 0;
	FILE *f = fopen("/proc/self/maps", "r");

	while (fgets(line, sizeof line, f)) {
		if (sscanf(line, "%llx-%llx", &start, &end) != 2 || end > 0xc0000000)
			fail(line, NULL);
		if (strstr(line, "[stack]"))
			stack = start <= (uintptr_t)&line && (uintptr_t)&line < end;
	}
	fclose(f);
	if (!stack)
		fail("the kernel does not know the stack", &line);
}

/* told looks at what the program was given at its start. */
static void told(char **argv)
{
	static const int strings[] = {AT_EXECFN, AT_PLATFORM, AT_BASE_PLATFORM};
	char b[4096];
	unsigned i, n, at = 0;
	int fd;

	for (i = 0; i < sizeof strings / sizeof *strings; i++) {
		const char *s = (const char *)getauxval(strings[i]);

		low("auxiliary vector", s);
		if (s && !strlen(s))
			fail("an empty string in the auxiliary vector", s);
	}
	low("AT_RANDOM", (void *)getauxval(AT_RANDOM));
	if (!strstr((const char *)getauxval(AT_EXECFN), "low"))
		fail("AT_EXECFN", (void *)getauxval(AT_EXECFN));
	for (i = 0; environ[i]; i++)
		if (!strchr(environ[i], '='))
			fail("environment", environ[i]);
	fd = open("/proc/self/cmdline", O_RDONLY);
	n = read(fd, b, sizeof b);
	close(fd);
	for (i = 0; argv[i]; at += strlen(argv[i++]) + 1) {
		low("argument", argv[i]);
		if (at >= n || strcmp(b + at, argv[i]))
			fail("cmdline", argv[i]);
	}
	fd = open("/proc/self/auxv", O_RDONLY);
	n = read(fd, b, sizeof b) / sizeof(long);
	close(fd);
	for (i = 0; i + 1 < n; i += 2)
		if (((unsigned long *)b)[i] == AT_RANDOM && ((unsigned long *)b)[i + 1] != getauxval(AT_RANDOM))
			fail("auxv of /proc", (void *)((unsigned long *)b)[i + 1]);
}

int main(int argc, char **argv)
{
	static char *kept[16];
	struct timespec t;
	unsigned n;

	if (argc > 2) {
		argv[2] = NULL;
		execv(argv[0], argv);
		fail("execv", NULL);
	}
	printf("%d\n", getpid());
	fflush(stdout);
	for (n = 0; n == 0 || access(argv[1], F_OK); n++) {
		char **k = &kept[n % 16];
		int large = n & 1;
		size_t size = large ? 1 << 20 : 1000;

		if (*k && large)
			munmap(*k, size);
		else
			free(*k);
		*k = large ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : malloc(size);
		if (*k == MAP_FAILED || !*k)
			fail("no memory", *k);
		low(large ? "mapping" : "heap", *k);
		memset(*k, 0, size);
		if (clock_gettime(CLOCK_MONOTONIC, &t) || t.tv_sec < 0)
			fail("clock", NULL);
		deep(200);
		told(argv);
		all();
		usleep(10000);
	}
	printf("done\n");
	return 0;
}
