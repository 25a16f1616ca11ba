/* Three threads: one two calls deep in a loop, one that sleeps there, and the first one, in a loop deeper. */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

unsigned words[3];
volatile int go, there;

static int __attribute__((noinline)) inner(volatile int depth)
{
	__atomic_fetch_add(&there, 1, __ATOMIC_SEQ_CST);
	while (!go)
		depth += 0;
	return depth;
}

static int __attribute__((noinline)) middle(volatile int n) { return inner(n + 1) + n; }

static void *spinner(void *arg) { return (void *)(long)(inner(7) + (arg == words)); }

static void __attribute__((noinline)) waits(volatile int depth)
{
	__atomic_fetch_add(&there, 1, __ATOMIC_SEQ_CST);
	for (;;) {
		pause();
		depth += 0;
	}
}

static void *sleeper(void *arg)
{
	waits(9);
	return arg;
}

int main(void)
{
	pthread_t t;

	for (int i = 0; i < 3; i++)
		words[i] = (i + 1) * 0x9e3779b1u;
	pthread_create(&t, NULL, spinner, words);
	pthread_create(&t, NULL, sleeper, NULL);
	while (there < 2)
		;
	sleep(1); /* until the sleeper does */
	printf("%d\n", getpid());
	fflush(stdout);
	return middle(41) + 1;
}
