/* caller IMAGE makes the restart call, from its second thread if there is a
 * second argument. It prints the errno of a call that fails. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__powerpc__)
#define NR_restart 320
#elif defined(__x86_64__)
#define NR_restart 314
#else
#define NR_restart 334
#endif

static int fd;

static void *call(void *unused)
{
	syscall(NR_restart, 0L, (long)fd, 0L);
	printf("restart: %s\n", strerror(errno));
	return NULL;
}

static void *idle(void *unused)
{
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	pthread_t t;

	fd = open(argv[1], O_RDONLY);
	if (fd < 0) {
		perror(argv[1]);
		return 1;
	}
	if (argc < 3) {
		call(NULL);
		return 2;
	}
	pthread_create(&t, NULL, idle, NULL);
	pthread_create(&t, NULL, call, NULL);
	pthread_join(t, NULL);
	return 2;
}
