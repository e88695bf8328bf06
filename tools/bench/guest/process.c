/* Processes and threads: from nothing to their end. */
#include "bench.h"
#include <spawn.h>

static char *const static_program[] = { "keel-bench", "--exit", NULL };
static char *const dynamic_program[] = { "/bin/true", NULL };
static char *const shell_program[] = { "/bin/sh", "-c", "true", NULL };

static int64_t fork_exit(long n)
{
	int64_t start = now();

	for (long i = 0; i < n; i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		join(pid);
	}
	return now() - start;
}

static int64_t forked(long n, const char *path, char *const argv[])
{
	int64_t start = now();

	for (long i = 0; i < n; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			execv(path, argv);
			_exit(127);
		}
		join(pid);
	}
	return now() - start;
}

static int64_t fork_exec_static(long n)
{
	return forked(n, self_path, static_program);
}

static int64_t fork_exec_dynamic(long n)
{
	return forked(n, dynamic_program[0], dynamic_program);
}

static int64_t spawn_static(long n)
{
	int64_t start = now();

	for (long i = 0; i < n; i++) {
		pid_t pid;

		errno = posix_spawn(&pid, self_path, NULL, NULL, static_program, environ);
		need(errno == 0, "posix_spawn");
		join(pid);
	}
	return now() - start;
}

static int64_t shell(long n)
{
	return forked(n, shell_program[0], shell_program);
}

/* fork with 32 MiB of touched memory, as a large program does it. */
static int64_t fork_large(long n)
{
	static char *memory;
	enum { SIZE = 32 << 20 };

	if (memory == NULL) {
		memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		need(memory != MAP_FAILED, "mmap");
		madvise(memory, SIZE, MADV_NOHUGEPAGE);
		memset(memory, 1, SIZE);
	}
	return fork_exit(n);
}

static void *nothing(void *argument)
{
	return argument;
}

static int64_t thread_join(long n)
{
	int64_t start = now();

	for (long i = 0; i < n; i++) {
		pthread_t thread;

		need(pthread_create(&thread, NULL, nothing, NULL) == 0, "pthread_create");
		pthread_join(thread, NULL);
	}
	return now() - start;
}

void group_process(void)
{
	measure("fork-exit", fork_exit);
	measure("spawn-static", spawn_static);
	measure("fork-exec-static", fork_exec_static);
	measure("fork-exec-glibc", fork_exec_dynamic);
	measure("sh-c-true", shell);
	measure("thread-create-join", thread_join);
	measure("fork-exit-32M", fork_large);
}
