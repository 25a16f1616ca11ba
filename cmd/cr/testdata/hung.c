/* Two threads, one of which is three calls deep and hangs there. */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

char text[] = "what gdb shall find";
volatile int go = 0;

static int __attribute__((noinline)) inner(volatile int depth)
{
	while (!go)
		depth += 0;
	return depth;
}

static int __attribute__((noinline)) middle(int n) { return inner(n + 1) + 1; }

static void *other(void *arg)
{
	for (;;)
		pause();
	return arg;
}

int main(void)
{
	pthread_t t;

	pthread_create(&t, NULL, other, NULL);
	puts("ready");
	fflush(stdout);
	return middle(41) + 1;
}
