/* The scheduler: switches, wake-ups, many tasks at once. */
#include "bench.h"
#include <sys/socket.h>

enum { RING_MAX = 16 };

static int ring_size;

static void pass_token(int in, int out)
{
	char token;

	while (read(in, &token, 1) == 1)
		if (write(out, &token, 1) != 1)
			break;
	_exit(0);
}

/* A token goes round a ring of processes on one CPU: one operation is one hop, a context switch and a pipe. */
static int64_t ring(long n)
{
	int pipes[RING_MAX][2];
	pid_t pids[RING_MAX];
	char token = 't';

	pin(0);
	for (int i = 0; i < ring_size; i++)
		need(pipe(pipes[i]) == 0, "pipe");
	for (int i = 1; i < ring_size; i++) {
		fflush(stdout);
		pids[i] = fork();
		need(pids[i] >= 0, "fork");
		if (pids[i] == 0) {
			for (int j = 0; j < ring_size; j++) {
				if (j != i - 1)
					close(pipes[j][0]);
				if (j != i)
					close(pipes[j][1]);
			}
			pass_token(pipes[i - 1][0], pipes[i][1]);
		}
	}
	for (int i = 0; i < ring_size; i++) {
		if (i != ring_size - 1)
			close(pipes[i][0]);
		if (i != 0)
			close(pipes[i][1]);
	}
	long rounds = n / ring_size + 1;
	int64_t start = now();
	for (long i = 0; i < rounds; i++)
		need(write(pipes[0][1], &token, 1) == 1 && read(pipes[ring_size - 1][0], &token, 1) == 1, "token");
	int64_t took = now() - start;
	close(pipes[0][1]);
	close(pipes[ring_size - 1][0]);
	for (int i = 1; i < ring_size; i++)
		waitpid(pids[i], NULL, 0);
	unpin();
	return (int64_t)((double)took / (double)(rounds * ring_size) * (double)n);
}

static int64_t ring_2(long n)
{
	ring_size = 2;
	return ring(n);
}

static int64_t ring_16(long n)
{
	ring_size = 16;
	return ring(n);
}

static long yields;

static void *yield_often(void *argument)
{
	pin(0);
	for (long i = 0; i < yields; i++)
		sched_yield();
	return argument;
}

static int64_t yield_between(long n)
{
	pthread_t threads[2];

	yields = n / 2 + 1;
	int64_t start = now();
	for (int i = 0; i < 2; i++)
		need(pthread_create(&threads[i], NULL, yield_often, NULL) == 0, "pthread_create");
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	return now() - start;
}

static int64_t yield_alone(long n)
{
	int64_t start = now();

	for (long i = 0; i < n; i++)
		sched_yield();
	return now() - start;
}

/* How much later than asked a sleep of 500 us ends. */
static int64_t oversleep(long n)
{
	int64_t total = 0;

	for (long i = 0; i < n; i++) {
		struct timespec time = { 0, 500000 };
		int64_t start = now();

		nanosleep(&time, NULL);
		total += now() - start - 500000;
	}
	return total;
}

/* As sysbench's: threads that take a few mutexes in turn, with yields in between or with work in between. */
enum { THREADS = 8, LOCKS = 4 };

static pthread_mutex_t locks[LOCKS];
static long rounds_each;
static int with_yield;
static volatile long counters[LOCKS * 16];

static void *lock_often(void *argument)
{
	for (long i = 0; i < rounds_each; i++) {
		int which = (int)(i % LOCKS);

		pthread_mutex_lock(&locks[which]);
		counters[which * 16]++;
		if (with_yield)
			sched_yield();
		pthread_mutex_unlock(&locks[which]);
	}
	return argument;
}

static int64_t contended(long n)
{
	pthread_t threads[THREADS];

	rounds_each = n / THREADS + 1;
	for (int i = 0; i < LOCKS; i++)
		pthread_mutex_init(&locks[i], NULL);
	int64_t start = now();
	for (int i = 0; i < THREADS; i++)
		need(pthread_create(&threads[i], NULL, lock_often, NULL) == 0, "pthread_create");
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return now() - start;
}

static int64_t mutexes(long n)
{
	with_yield = 0;
	return contended(n);
}

static int64_t mutexes_yield(long n)
{
	with_yield = 1;
	return contended(n);
}

/* hackbench: groups of 20 senders and 20 receivers, each sender sends to each receiver of its group. */
enum { FANS = 20, GROUPS = 10, MESSAGE = 100 };

static int with_pipes, loops;

static void make_pair(int pair[2])
{
	need((with_pipes ? pipe(pair) : socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) == 0, "pair");
}

static void hack_send(const int *to, int ready, int start)
{
	char message[MESSAGE] = "", byte;

	need(write(ready, "", 1) == 1 && read(start, &byte, 1) == 1, "start");
	for (int i = 0; i < loops; i++)
		for (int j = 0; j < FANS; j++)
			for (int done = 0; done < MESSAGE;) {
				ssize_t wrote = write(to[j], message + done, (size_t)(MESSAGE - done));

				need(wrote > 0, "write");
				done += (int)wrote;
			}
	_exit(0);
}

static void hack_receive(int from, int ready, int start)
{
	char message[MESSAGE], byte;

	need(write(ready, "", 1) == 1 && read(start, &byte, 1) == 1, "start");
	for (int left = loops * FANS * MESSAGE; left > 0;) {
		ssize_t got = read(from, message, sizeof message);

		need(got > 0, "read");
		left -= (int)got;
	}
	_exit(0);
}

static void hack_group(int ready, int start)
{
	int to[FANS];

	for (int i = 0; i < FANS; i++) {
		int pair[2];

		make_pair(pair);
		pid_t pid = fork();
		need(pid >= 0, "fork");
		if (pid == 0) {
			close(pair[1]);
			hack_receive(pair[0], ready, start);
		}
		close(pair[0]);
		to[i] = pair[1];
	}
	for (int i = 0; i < FANS; i++) {
		pid_t pid = fork();

		need(pid >= 0, "fork");
		if (pid == 0)
			hack_send(to, ready, start);
	}
	for (int i = 0; i < FANS; i++)
		close(to[i]);
}

static int64_t hackbench(long n)
{
	int ready[2], start[2];
	char bytes[GROUPS * FANS * 2] = "";

	(void)n;
	fflush(stdout);
	need(pipe(ready) == 0 && pipe(start) == 0, "pipe");
	for (int i = 0; i < GROUPS; i++)
		hack_group(ready[1], start[0]);
	for (int i = 0; i < GROUPS * FANS * 2; i++)
		need(read(ready[0], bytes, 1) == 1, "ready");
	int64_t from = now();
	need(write(start[1], bytes, sizeof bytes) == sizeof bytes, "start");
	for (int i = 0; i < GROUPS * FANS * 2; i++) {
		int status = -1;

		need(wait(&status) > 0, "wait");
		if (status != 0)
			fail("hackbench: a task ended with %#x", status);
	}
	int64_t took = now() - from;
	close(ready[0]);
	close(ready[1]);
	close(start[0]);
	close(start[1]);
	return took;
}

void group_sched(void)
{
	measure("context-switch-2", ring_2);
	measure("context-switch-16", ring_16);
	measure("yield-alone", yield_alone);
	measure("yield-2-threads", yield_between);
	measure("oversleep-500us", oversleep);
	measure("mutex-8-threads", mutexes);
	measure("mutex-yield-8-threads", mutexes_yield);
	loops = 10;
	measure_once("hackbench-400-unix", hackbench, 3);
	with_pipes = 1;
	measure_once("hackbench-400-pipe", hackbench, 3);
}
