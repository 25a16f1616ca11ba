/* clock STOP [MICROSECONDS] asks for the time without end, through the vdso, and
 * checks that it makes sense; every few microseconds from a signal handler, too.
 * It ends when the file STOP is there. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile unsigned long ticks;

static long long now(clockid_t clock)
{
	struct timespec t;

	if (clock_gettime(clock, &t))
		abort();
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void tick(int sig)
{
	ticks++;
	now(CLOCK_MONOTONIC);
}

/* Another machine has been up for another time, so the clocks may go back: twice
 * each, there and back. */
static void check(const char *what, long long *last, long long now)
{
	static int back;

	if (now <= 0 || (now < *last && back++ > 3)) {
		printf("%s was %lld, is %lld\n", what, *last, now);
		exit(1);
	}
	*last = now;
}

int main(int argc, char **argv)
{
	int every = argc > 2 ? atoi(argv[2]) : 0;
	struct itimerval t = {{0, every}, {0, every}};
	long long mono = 0, coarse = 0;
	unsigned long n;

	signal(SIGALRM, tick);
	setitimer(ITIMER_REAL, &t, NULL);
	printf("%d\n", getpid());
	fflush(stdout);
	for (n = 0;; n++) {
		struct timeval tv;

		check("monotonic", &mono, now(CLOCK_MONOTONIC));
		check("coarse", &coarse, now(CLOCK_MONOTONIC_COARSE));
		gettimeofday(&tv, NULL);
		if (now(CLOCK_REALTIME) < 1000000000000000000LL || tv.tv_sec < 1000000000L || time(NULL) < 1000000000L) {
			printf("the time is wrong\n");
			return 1;
		}
		if (n % 4096 == 0 && access(argv[1], F_OK) == 0)
			break;
	}
	if (every && !ticks) {
		printf("the signals are gone\n");
		return 1;
	}
	printf("done\n");
	return 0;
}
