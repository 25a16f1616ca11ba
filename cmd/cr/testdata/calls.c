/* A program with one task that makes the two calls. It prints what they return:
 * "checkpoint N" or "restart N", where N is a result, an errno's name, or "id"
 * for an identifier. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#if defined(__x86_64__)
enum { nr_checkpoint = 313, nr_restart = 314 };
#elif defined(__i386__)
enum { nr_checkpoint = 333, nr_restart = 334 };
#else
enum { nr_checkpoint = 319, nr_restart = 320 };
#endif

static const char *result(long r)
{
	static char number[32];

	if (r > 0)
		return "id";
	if (r < 0)
		return strerrorname_np(errno);
	snprintf(number, sizeof number, "%ld", r);
	return number;
}

static volatile sig_atomic_t alarms;

static void on_alarm(int sig)
{
	alarms++;
}

/* Makes calls while signals come in all the time. */
static int storm(int fd, int pid, int flags, int count)
{
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = flags };
	struct itimerval often = { { 0, 30000 }, { 0, 30000 } }, never = { 0 };
	int done = 0, interrupted = 0;

	sigaction(SIGALRM, &sa, 0);
	setitimer(ITIMER_REAL, &often, 0);
	for (int i = 0; i < count; i++) {
		long r = syscall(nr_checkpoint, pid, fd, 0);
		if (r > 0)
			done++;
		else if (r < 0 && errno == EINTR)
			interrupted++;
		else {
			printf("call %d returned %ld, errno %d\n", i, r, errno);
			return 1;
		}
	}
	setitimer(ITIMER_REAL, &never, 0);
	printf("%s, %s, %d calls\n", alarms ? "alarms" : "no alarm", done ? "done" : "none done",
	       done + interrupted);
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	long r;

	setvbuf(stdout, 0, _IONBF, 0);
	if (!strcmp(what, "checkpoint")) { /* PID, to descriptor 3 */
		int before = 0x12345678;
		r = syscall(nr_checkpoint, atoi(argv[2]), 3, 0);
		printf("checkpoint %s\n", result(r));
		return r == 0 ? (before == 0x12345678 ? 5 : 6) : r < 0;
	}
	if (!strcmp(what, "restart")) { /* ID, from descriptor 3 */
		static char memory[100000];
		long at;

		memset(memory, 0x5a, sizeof memory);
		at = lseek(3, 0, SEEK_CUR);
		r = syscall(nr_restart, atol(argv[2]), 3, 0);
		printf("restart %s\n", result(r));
		for (size_t i = 0; i < sizeof memory; i++)
			if (memory[i] != 0x5a)
				return 6;
		return at >= 0 && fcntl(3, F_GETFD) != 0 ? 7 : 1;
	}
	if (!strcmp(what, "wait")) { /* a target: says something when it gets a line */
		char line[16];
		printf("ready\n");
		while (read(0, line, sizeof line) > 0)
			printf("alive\n");
		return 0;
	}
	if (!strcmp(what, "storm")) { /* PID RESTART COUNT, to descriptor 3 */
		return storm(3, atoi(argv[2]), atoi(argv[3]) ? SA_RESTART : 0, atoi(argv[4]));
	}
	return 2;
}
