/* sysv STOP KEY has a System V message queue and semaphores of that key, and a
 * child that waits for one of these. When the file STOP is there it checks that all is as it was. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <unistd.h>

static struct { long type; char data[3000]; } message;

static void need(int ok, const char *what)
{
	if (ok)
		return;
	printf("%s: %s\n", what, strerror(errno));
	exit(1);
}

static void send(int q, long type, char fill, size_t size)
{
	message.type = type;
	memset(message.data, fill, size);
	need(!msgsnd(q, &message, size, IPC_NOWAIT), "msgsnd");
}

static void receive(int q, long wanted, long type, char fill, ssize_t size)
{
	memset(&message, 0, sizeof message);
	need(msgrcv(q, &message, sizeof message.data, wanted, IPC_NOWAIT) == size, "msgrcv");
	errno = 0;
	need(message.type == type, "type of a message");
	for (ssize_t i = 0; i < size; i++)
		need(message.data[i] == fill, "contents of a message");
}

int main(int argc, char **argv)
{
	struct msqid_ds ds;
	key_t key = argc > 2 ? atoi(argv[2]) : 0;
	int q = msgget(key, IPC_CREAT | IPC_EXCL | 0640), s = semget(key, 3, IPC_CREAT | IPC_EXCL | 0600), status;
	struct sembuf up[2] = {{0, 5, 0}, {2, 1000, 0}}, wait = {1, -1, 0};

	need(key && q >= 0 && s >= 0, "msgget, semget");
	need(!msgctl(q, IPC_STAT, &ds), "IPC_STAT");
	ds.msg_qbytes = 9000;
	need(!msgctl(q, IPC_SET, &ds), "IPC_SET");
	send(q, 7, 'a', 3000);
	send(q, 0x7fffffff, 'b', 0);
	send(q, 7, 'c', 1);
	need(!semop(s, up, 2), "semop");
	pid_t child = fork();
	if (!child)
		_exit(semop(s, &wait, 1) ? 1 : 7);
	printf("%d\n", getpid());
	fflush(stdout);
	while (access(argv[1], F_OK))
		usleep(20000);
	need(msgget(key, 0) == q && semget(key, 0, 0) == s, "numbers");
	need(!msgctl(q, IPC_STAT, &ds), "IPC_STAT");
	errno = 0;
	need(ds.msg_qbytes == 9000 && ds.msg_qnum == 3 && (ds.msg_perm.mode & 0777) == 0640, "limit, number of messages, mode");
	receive(q, 0, 7, 'a', 3000);
	receive(q, 0, 0x7fffffff, 'b', 0);
	receive(q, 7, 7, 'c', 1);
	need(semctl(s, 0, GETVAL) == 5 && semctl(s, 1, GETVAL) == 0 && semctl(s, 2, GETVAL) == 1000, "values");
	wait.sem_op = 1;
	need(!semop(s, &wait, 1), "semop");
	need(wait4(child, &status, 0, NULL) == child && status == 7 << 8, "child");
	need(!msgctl(q, IPC_RMID, NULL) && !semctl(s, 0, IPC_RMID), "IPC_RMID");
	puts("done");
	return 0;
}
