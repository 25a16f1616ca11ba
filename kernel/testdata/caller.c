// A program that waits in a call, has something of many kinds, and after each
// return of the call tells what only it can know of itself. Between two waits
// it changes no private memory and no register, so whatever has changed in them
// is the doing of others.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct shared {
	uint64_t count;   // returns of the call
	int64_t result;   // of the last one
	uint64_t threads; // that are up
	uint64_t reads;   // bytes that a thread has read
	uint64_t read_end;
	uint64_t write_end;
	uint64_t returned; // calls of threads that nothing ends
	uint8_t pad[8];
	struct state {
		struct { uint64_t handler, flags, restorer, mask; } actions[65];
		uint64_t mask, pending;
		stack_t alt;
		char cwd[256];
		uint64_t umask, personality, robust, robust_size, timer_left, itimer_left, timers_armed;
		struct rlimit limits[16];
		uint32_t ids[6], groups[32], ngroups, pgid, sid, pid, ppid;
		uint64_t prctls[12];
		char name[16];
		int32_t child_gone, interval;
	} state;
};

static struct shared *s;
static uint8_t filled[1 << 18];
static uint32_t never;
static pid_t child;
static timer_t timer;

static void handler(int n, siginfo_t *i, void *u) { (void)n, (void)i, (void)u; }

// Shares with its parent what flags of clone(2) say.
static int sharer(void *p)
{
	(void)p;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		syscall(SYS_ppoll, NULL, 0L, NULL, NULL, 0L);
	return 0;
}

static void need(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static void up(void) { __atomic_add_fetch(&s->threads, 1, __ATOMIC_SEQ_CST); }

// Leaves flags that do not depend on what came before.
static int once_more(void) { return !__atomic_load_n(&never, __ATOMIC_SEQ_CST); }

static void *reader(void *p)
{
	(void)p;
	sigset_t set;
	sigfillset(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	for (up(); once_more();)
		if (syscall(SYS_read, (int)s->read_end, &s->pad, 1L) == 1)
			__atomic_add_fetch(&s->reads, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void *suspended(void *p)
{
	(void)p;
	sigset_t set;
	sigfillset(&set);
	for (up(); once_more(); s->returned |= 1)
		sigsuspend(&set);
	return NULL;
}

static void *waiting(void *p)
{
	(void)p;
	for (up(); once_more(); s->returned |= 2)
		syscall(SYS_futex, &never, FUTEX_WAIT, 0, NULL, NULL, 0);
	return NULL;
}

static void *sleeping(void *p)
{
	(void)p;
	struct timespec t = { 1000000, 0 };
	for (up(); once_more(); s->returned |= 4)
		nanosleep(&t, NULL);
	return NULL;
}

// What only the program can know of itself. It has no child that has ended.
static void tell(struct state *t)
{
	struct itimerval it;
	struct itimerspec its;
	static const int gets[] = { PR_GET_DUMPABLE, PR_GET_KEEPCAPS, PR_GET_SECUREBITS, PR_GET_TIMERSLACK, PR_GET_NO_NEW_PRIVS, PR_GET_THP_DISABLE, PR_GET_SECCOMP };
	memset(t, 0, sizeof *t);
	for (int n = 1; n <= 64; n++)
		syscall(SYS_rt_sigaction, n, NULL, &t->actions[n], 8);
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &t->mask, 8);
	syscall(SYS_rt_sigpending, &t->pending, 8);
	sigaltstack(NULL, &t->alt);
	getcwd(t->cwd, sizeof t->cwd);
	t->umask = umask(0);
	umask(t->umask);
	t->personality = personality(0xffffffff);
	syscall(SYS_get_robust_list, 0, &t->robust, &t->robust_size);
	for (int n = 0; n < 16; n++)
		getrlimit(n, &t->limits[n]);
	getresuid(&t->ids[0], &t->ids[1], &t->ids[2]);
	getresgid(&t->ids[3], &t->ids[4], &t->ids[5]);
	t->ngroups = getgroups(32, t->groups);
	t->pgid = getpgid(0);
	t->sid = getsid(0);
	t->pid = getpid();
	t->ppid = getppid();
	for (unsigned n = 0; n < sizeof gets / sizeof *gets; n++)
		t->prctls[n] = prctl(gets[n], 0, 0, 0, 0);
	prctl(PR_GET_PDEATHSIG, &t->prctls[11]);
	prctl(PR_GET_NAME, t->name);
	getitimer(ITIMER_REAL, &it);
	t->interval = it.it_interval.tv_sec;
	t->timers_armed = it.it_value.tv_sec > 900000;
	timer_gettime(timer, &its);
	t->timers_armed |= (its.it_value.tv_sec > 900000) << 1;
	memset(&it, 0, sizeof it);
	memset(&its, 0, sizeof its);
	// 0 as long as there is nothing to wait for.
	t->child_gone = waitpid(-1, NULL, WNOHANG | __WALL);
	errno = 0;
}

int main(int argc, char **argv)
{
	need(argc == 3, "usage: shared directory");
	int fd = open(argv[1], O_RDWR | O_CLOEXEC);
	s = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need(s != MAP_FAILED, "mmap");
	close(fd);
	need(!chdir(argv[2]), "chdir");
	umask(027);

	for (size_t i = 0; i < sizeof filled; i++)
		filled[i] = i * 31 >> 3;
	uint8_t *m = mmap(NULL, 40960, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(m != MAP_FAILED, "mmap");
	memset(m, 0x5a, 40960);
	need(!mprotect(m + 8192, 8192, PROT_NONE) && !mlock(m + 20480, 4096) && !madvise(m + 32768, 4096, MADV_DONTFORK), "mprotect");
	m = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memset(m, 0xa5, 16384);
	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	m[5000] = 1;
	close(fd);

	int p[2], q[2];
	need(!pipe(p) && !pipe2(q, O_NONBLOCK | O_CLOEXEC), "pipe");
	s->read_end = p[0], s->write_end = p[1];
	need(write(q[1], "queued", 6) == 6, "write");
	need(dup2(open("/dev/zero", O_RDONLY), 9) == 9 && dup3(q[0], 77, O_CLOEXEC) == 77, "dup2");
	fd = open("file", O_RDWR | O_CREAT | O_APPEND, 0600);
	need(write(fd, "contents", 8) == 8 && lseek(fd, 5, SEEK_SET) == 5, "file");
	struct flock l = { .l_type = F_WRLCK, .l_start = 1, .l_len = 3 };
	need(!fcntl(fd, F_SETLK, &l), "lock");
	fd = open("gone", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	need(write(fd, "deleted", 7) == 7 && !unlink("gone"), "unlink");
	need(!socketpair(AF_UNIX, SOCK_STREAM, 0, q) && write(q[0], "socket", 6) == 6, "socketpair");
	int e = epoll_create1(EPOLL_CLOEXEC), ev = eventfd(7, EFD_NONBLOCK);
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = 12345 };
	need(!epoll_ctl(e, EPOLL_CTL_ADD, ev, &event) && !epoll_ctl(e, EPOLL_CTL_ADD, q[1], &event), "epoll");
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	signalfd(-1, &set, SFD_CLOEXEC);
	struct itimerspec its = { .it_value.tv_sec = 1000000, .it_interval.tv_sec = 7 };
	timerfd_settime(timerfd_create(CLOCK_MONOTONIC, 0), 0, &its, NULL);
	open(".", O_RDONLY | O_DIRECTORY);
	fd = memfd_create("own", MFD_ALLOW_SEALING);
	need(write(fd, "memory", 6) == 6 && !fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), "memfd");

	struct sigaction a = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	sigaddset(&a.sa_mask, SIGUSR2);
	need(!sigaction(SIGUSR1, &a, NULL), "sigaction");
	signal(SIGUSR2, SIG_IGN);
	static uint8_t stack[32768];
	stack_t alt = { .ss_sp = stack, .ss_size = sizeof stack };
	sigaltstack(&alt, NULL);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (int v = 5; v < 8; v++)
		sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ .sival_int = v });
	struct sigevent se = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 2, .sigev_value.sival_int = 99 };
	need(!timer_create(CLOCK_MONOTONIC, &se, &timer) && !timer_settime(timer, 0, &its, NULL), "timer");
	struct itimerval it = { .it_value.tv_sec = 1000000, .it_interval.tv_sec = 3 };
	setitimer(ITIMER_REAL, &it, NULL);
	// An image may not raise the hard limits.
	struct rlimit lim;
	need(!getrlimit(RLIMIT_NOFILE, &lim), "getrlimit");
	lim.rlim_cur = 200;
	need(!setrlimit(RLIMIT_NOFILE, &lim), "setrlimit");
	need(!getrlimit(RLIMIT_CORE, &lim), "getrlimit");
	lim.rlim_cur = 0;
	need(!setrlimit(RLIMIT_CORE, &lim), "setrlimit");
	prctl(PR_SET_NAME, "caller");
	prctl(PR_SET_TIMERSLACK, 60000);
	if (getenv("CALLER_NO_NEW_PRIVS"))
		need(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");

	pid_t parent = getpid();
	child = fork();
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (getppid() == parent)
			pause();
		_exit(0);
	}
	void *(*threads[])(void *) = { reader, suspended, waiting, sleeping };
	if (getenv("CALLER_SHARES")) {
		static char stack[1 << 14] __attribute__((aligned(16)));
		need(clone(sharer, stack + sizeof stack, atoi(getenv("CALLER_SHARES")) | SIGCHLD, NULL) > 0, "clone");
	}

	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	for (unsigned i = 0; i < 4; i++) {
		pthread_t t;
		need(!pthread_create(&t, &attr, threads[i], NULL), "pthread_create");
	}
	while (__atomic_load_n(&s->threads, __ATOMIC_SEQ_CST) < 4)
		usleep(1000);
	syscall(SYS_setpriority, PRIO_PROCESS, 0, 2);
	for (;;) {
		tell(&s->state);
		__atomic_add_fetch(&s->count, 1, __ATOMIC_SEQ_CST);
		if (!once_more())
			return 0;
		long r = syscall(SYS_ppoll, NULL, 0L, NULL, NULL, 0L);
		s->result = r < 0 ? -errno : r;
		errno = 0;
	}
}
