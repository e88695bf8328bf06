/* Handing over between processes and threads: latency there and back, and bandwidth. */
#include "bench.h"
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>

enum { CHUNK = 65536 };

/* A partner answers each message of `size` bytes that it reads from `in` with the same to `out`, until one starts with 'q'. */
struct link {
	int in, out;
	size_t size;
	int cpu;
};

static char chunk[CHUNK];
static int same_cpu = 1;

static void echo(void *argument)
{
	struct link *end = argument;
	char message[64];

	pin(end->cpu);
	for (;;) {
		ssize_t got = read(end->in, message, end->size);

		if (got <= 0 || message[0] == 'q')
			_exit(0);
		if (write(end->out, message, (size_t)got) != got)
			_exit(1);
	}
}

/* n round trips with a child on this CPU or another. */
static int64_t round_trips(long n, struct link mine, struct link theirs)
{
	char message[64] = "x";

	pin(0);
	theirs.cpu = same_cpu ? 0 : 1;
	pid_t pid = child(echo, &theirs);
	need(write(mine.out, message, mine.size) > 0 && read(mine.in, message, mine.size) > 0, "first message");
	int64_t start = now();
	for (long i = 0; i < n; i++)
		need(write(mine.out, message, mine.size) == (ssize_t)mine.size &&
			     read(mine.in, message, mine.size) == (ssize_t)mine.size,
		     "message");
	int64_t took = now() - start;
	message[0] = 'q';
	need(write(mine.out, message, mine.size) > 0, "last message");
	join(pid);
	unpin();
	return took;
}

static void close_all(int count, ...)
{
	__builtin_va_list list;

	__builtin_va_start(list, count);
	for (int i = 0; i < count; i++)
		close(__builtin_va_arg(list, int));
	__builtin_va_end(list);
}

static int64_t pipe_trip(long n)
{
	int there[2], back[2];

	need(pipe(there) == 0 && pipe(back) == 0, "pipe");
	int64_t took = round_trips(n, (struct link){ back[0], there[1], 1, 0 }, (struct link){ there[0], back[1], 1, 0 });
	close_all(4, there[0], there[1], back[0], back[1]);
	return took;
}

static int64_t socket_trip(long n, int type)
{
	int pair[2];

	need(socketpair(AF_UNIX, type, 0, pair) == 0, "socketpair");
	int64_t took = round_trips(n, (struct link){ pair[0], pair[0], 1, 0 }, (struct link){ pair[1], pair[1], 1, 0 });
	close_all(2, pair[0], pair[1]);
	return took;
}

static int64_t stream_trip(long n)
{
	return socket_trip(n, SOCK_STREAM);
}

static int64_t datagram_trip(long n)
{
	return socket_trip(n, SOCK_DGRAM);
}

/* The messages are numbers here; each is read before the next is added. */
static int64_t eventfd_trip(long n)
{
	int there = eventfd(0, 0), back = eventfd(0, 0);

	need(there >= 0 && back >= 0, "eventfd");
	int64_t took = round_trips(n, (struct link){ back, there, 8, 0 }, (struct link){ there, back, 8, 0 });
	close_all(2, there, back);
	return took;
}

static int64_t pipe_alone(long n)
{
	int both[2];
	char byte = 0;

	need(pipe(both) == 0, "pipe");
	int64_t start = now();
	for (long i = 0; i < n; i++)
		need(write(both[1], &byte, 1) == 1 && read(both[0], &byte, 1) == 1, "pipe");
	int64_t took = now() - start;
	close_all(2, both[0], both[1]);
	return took;
}

static int64_t eventfd_alone(long n)
{
	int one = eventfd(0, 0);
	uint64_t value = 1;

	int64_t start = now();
	for (long i = 0; i < n; i++)
		need(write(one, &value, 8) == 8 && read(one, &value, 8) == 8, "eventfd");
	int64_t took = now() - start;
	close(one);
	return took;
}

static void drain(void *argument)
{
	struct link *end = argument;

	while (read(end->in, chunk, CHUNK) > 0)
		;
}

static int64_t stream_chunks(long n, int in, int out)
{
	struct link theirs = { in, -1, 0, 0 };

	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		close(out);
		drain(&theirs);
		_exit(0);
	}
	close(in);
	int64_t start = now();
	for (long i = 0; i < n; i++)
		for (size_t done = 0; done < CHUNK;) {
			ssize_t wrote = write(out, chunk + done, CHUNK - done);

			need(wrote > 0, "write");
			done += (size_t)wrote;
		}
	close(out);
	join(pid);
	return now() - start;
}

static int64_t pipe_bandwidth(long n)
{
	int both[2];

	need(pipe(both) == 0, "pipe");
	return stream_chunks(n, both[0], both[1]);
}

static int64_t unix_bandwidth(long n)
{
	int pair[2];

	need(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
	return stream_chunks(n, pair[0], pair[1]);
}

/* Two threads take turns by FUTEX_WAIT and FUTEX_WAKE on one word. */
static int turn;
static long turns;

static void futex(int operation, int value)
{
	syscall(SYS_futex, &turn, operation | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

static void take_turns(int mine)
{
	for (long i = 0; i < turns; i++) {
		while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) != mine)
			futex(FUTEX_WAIT, !mine);
		__atomic_store_n(&turn, !mine, __ATOMIC_RELEASE);
		futex(FUTEX_WAKE, 1);
	}
}

static void *other_side(void *argument)
{
	pin(same_cpu ? 0 : 1);
	take_turns(1);
	return argument;
}

static int64_t futex_trip(long n)
{
	pthread_t thread;

	turn = 0;
	turns = n;
	pin(0);
	need(pthread_create(&thread, NULL, other_side, NULL) == 0, "pthread_create");
	int64_t start = now();
	take_turns(0);
	pthread_join(thread, NULL);
	int64_t took = now() - start;
	unpin();
	return took;
}

static int64_t futex_wake_nobody(long n)
{
	int64_t start = now();

	for (long i = 0; i < n; i++)
		futex(FUTEX_WAKE, 1);
	return now() - start;
}

static void signal_back(void *argument)
{
	sigset_t set;
	int number;

	(void)argument;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGTERM);
	pin(same_cpu ? 0 : 1);
	while (sigwait(&set, &number) == 0 && number != SIGTERM)
		kill(getppid(), SIGUSR1);
}

static int64_t signal_trip(long n)
{
	sigset_t set, old;
	int number;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, &old);
	pin(0);
	pid_t pid = child(signal_back, NULL);
	int64_t start = now();
	for (long i = 0; i < n; i++)
		need(kill(pid, SIGUSR1) == 0 && sigwait(&set, &number) == 0, "sigwait");
	int64_t took = now() - start;
	kill(pid, SIGTERM);
	join(pid);
	unpin();
	sigprocmask(SIG_SETMASK, &old, NULL);
	return took;
}

static int semaphores;

static int64_t semaphore(long n)
{
	struct sembuf up = { 0, 1, 0 }, down = { 0, -1, 0 };

	int64_t start = now();
	for (long i = 0; i < n; i++)
		need(semop(semaphores, &up, 1) == 0 && semop(semaphores, &down, 1) == 0, "semop");
	return now() - start;
}

static void both_places(const char *name, body run)
{
	char full[64];

	same_cpu = 1;
	snprintf(full, sizeof full, "%s-same-cpu", name);
	measure(full, run);
	snprintf(full, sizeof full, "%s-two-cpus", name);
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
		skip(full, "one CPU");
		return;
	}
	same_cpu = 0;
	measure(full, run);
	same_cpu = 1;
}

void group_ipc(void)
{
	measure("pipe-write-read", pipe_alone);
	measure("eventfd-write-read", eventfd_alone);
	measure("futex-wake-nobody", futex_wake_nobody);
	semaphores = semget(IPC_PRIVATE, 1, 0600);
	if (semaphores < 0) {
		skip("semop-up-down", strerror(errno));
	} else {
		measure("semop-up-down", semaphore);
		semctl(semaphores, 0, IPC_RMID);
	}
	both_places("pipe", pipe_trip);
	both_places("unix-stream", stream_trip);
	both_places("unix-dgram", datagram_trip);
	both_places("eventfd", eventfd_trip);
	both_places("futex", futex_trip);
	both_places("signal", signal_trip);
	measure_bytes("pipe-bandwidth", pipe_bandwidth, CHUNK);
	measure_bytes("unix-bandwidth", unix_bandwidth, CHUNK);
}
