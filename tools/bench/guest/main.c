/*
 * keel-bench: times what a kernel does for programs, by lmbench's methods. Runs in a guest; `cargo xtask bench` reads
 * what it prints (bench.h).
 *
 *   keel-bench [--quick] [--only NAME] GROUP…
 */
#include "bench.h"
#include <stdarg.h>
#include <sys/resource.h>

enum { MAX_SAMPLES = 64 };

const char *self_path = "/proc/self/exe";
const char *work_dir = "/var/tmp/keel-bench";

static int64_t sample_time = 8000000;
static int sample_count = 15;
static const char *only;

int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

void fail(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fputs("keel-bench: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	_exit(1);
}

void need(int good, const char *what)
{
	if (!good)
		fail("%s: %s", what, strerror(errno));
}

int wanted(const char *name)
{
	return only == NULL || strstr(name, only) != NULL;
}

static int by_size(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

static void report(const char *name, double *samples, int count, double bytes)
{
	qsort(samples, (size_t)count, sizeof *samples, by_size);
	double least = samples[0], middle = samples[count / 2];
	if (bytes > 0)
		printf("R %s MB/s %.1f %.1f %d\n", name, bytes * 1000 / least, bytes * 1000 / middle, count);
	else
		printf("R %s ns %.1f %.1f %d\n", name, least, middle, count);
	fflush(stdout);
}

static void sampled(const char *name, body run, double bytes)
{
	static double samples[MAX_SAMPLES];
	long n = 1;
	int64_t took;

	if (!wanted(name))
		return;
	/* The first calls also bring everything into memory. */
	while ((took = run(n)) < sample_time && n < 1L << 30) {
		double factor = took > 0 ? 1.2 * (double)sample_time / (double)took : 10;

		n = (long)((double)n * (factor > 10 ? 10 : factor)) + 1;
	}
	/* What takes long is not repeated as often. */
	int count = took > 4 * sample_time ? sample_count / 2 + 1 : sample_count;
	for (int i = 0; i < count; i++)
		samples[i] = (double)run(n) / (double)n;
	report(name, samples, count, bytes);
}

void measure(const char *name, body run)
{
	sampled(name, run, 0);
}

void measure_bytes(const char *name, body run, double bytes)
{
	sampled(name, run, bytes);
}

void measure_once(const char *name, body run, int times)
{
	static double samples[MAX_SAMPLES];

	if (!wanted(name))
		return;
	if (sample_count < 10)
		times = times / 2 + 1;
	for (int i = 0; i < times; i++)
		samples[i] = (double)run(1);
	report(name, samples, times, 0);
}

void report_value(const char *name, const char *unit, double value)
{
	printf("R %s %s %.1f %.1f 1\n", name, unit, value, value);
	fflush(stdout);
}

void skip(const char *name, const char *why)
{
	if (wanted(name))
		printf("S %s %s\n", name, why);
	fflush(stdout);
}

int pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof set, &set) == 0;
}

void unpin(void)
{
	cpu_set_t set;

	memset(&set, 0xff, sizeof set);
	sched_setaffinity(0, sizeof set, &set);
}

pid_t child(void (*run)(void *), void *argument)
{
	fflush(stdout);
	pid_t pid = fork();

	need(pid >= 0, "fork");
	if (pid == 0) {
		run(argument);
		_exit(0);
	}
	return pid;
}

void join(pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status != 0)
		fail("a child ended with status %#x", status);
}

int run_program(char *const argv[])
{
	fflush(stdout);
	pid_t pid = vfork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		execvp(argv[0], argv);
		_exit(127);
	}
	int status = -1;
	need(pid > 0 && waitpid(pid, &status, 0) == pid, "vfork");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int write_file(const char *path, const char *text)
{
	int file = open(path, O_WRONLY);
	ssize_t done = file < 0 ? -1 : write(file, text, strlen(text));

	if (file >= 0)
		close(file);
	return done == (ssize_t)strlen(text);
}

static const struct {
	const char *name;
	void (*run)(void);
} groups[] = {
	{ "syscall", group_syscall },
	{ "process", group_process },
	{ "memory", group_memory },
	{ "ipc", group_ipc },
	{ "fs", group_fs },
	{ "sched", group_sched },
	{ "app", group_app },
	{ "footprint", group_footprint },
};

/* A group runs in a process of its own, so that what it leaves open or locked ends with it. */
static int run_group(const char *name)
{
	for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
		if (strcmp(groups[i].name, name) == 0) {
			int status = -1;
			pid_t pid = fork();

			if (pid == 0) {
				groups[i].run();
				exit(0);
			}
			need(pid > 0 && waitpid(pid, &status, 0) == pid, "fork");
			return status == 0;
		}
	fprintf(stderr, "keel-bench: no group %s\n", name);
	return 0;
}

int main(int argc, char **argv)
{
	struct rlimit files = { 8192, 8192 };
	int good = 1;

	/* What fork+exec benchmarks run. */
	if (argc > 1 && strcmp(argv[1], "--exit") == 0)
		return 0;
	self_path = realpath(argv[0], NULL);
	if (self_path == NULL)
		self_path = argv[0];
	setrlimit(RLIMIT_NOFILE, &files);
	mkdir(work_dir, 0755);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--quick") == 0) {
			sample_time = 3000000;
			sample_count = 5;
		} else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
			only = argv[++i];
		} else {
			good &= run_group(argv[i]);
		}
	}
	return good ? 0 : 1;
}
