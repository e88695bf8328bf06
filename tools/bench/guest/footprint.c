/* Memory: what is in use, and what one more process, thread or open file costs. */
#include "bench.h"

static double meminfo(const char *field)
{
	static char text[8192];
	int file = open("/proc/meminfo", O_RDONLY);
	ssize_t got = file < 0 ? -1 : read(file, text, sizeof text - 1);

	need(got > 0, "/proc/meminfo");
	close(file);
	text[got] = 0;
	char *at = strstr(text, field);
	return at ? atof(at + strlen(field)) : 0;
}

static double in_use(void)
{
	return meminfo("MemTotal:") - meminfo("MemFree:");
}

static void per_process(void)
{
	enum { COUNT = 200 };
	pid_t pids[COUNT];

	fflush(stdout);
	double before = in_use();
	for (int i = 0; i < COUNT; i++) {
		pids[i] = fork();
		need(pids[i] >= 0, "fork");
		if (pids[i] == 0) {
			pause();
			_exit(0);
		}
	}
	usleep(300000);
	report_value("memory-per-process", "KiB", (in_use() - before) / COUNT);
	for (int i = 0; i < COUNT; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
}

static void *wait_for_end(void *argument)
{
	pause();
	return argument;
}

static void per_thread(void)
{
	enum { COUNT = 200 };
	pthread_t thread;
	double before = in_use();

	for (int i = 0; i < COUNT; i++)
		need(pthread_create(&thread, NULL, wait_for_end, NULL) == 0, "pthread_create");
	usleep(300000);
	report_value("memory-per-thread", "KiB", (in_use() - before) / COUNT);
}

static void per_file(void)
{
	enum { COUNT = 8000 };
	double before = in_use();

	for (int i = 0; i < COUNT; i++)
		need(open("/etc/passwd", O_RDONLY) >= 0, "open");
	report_value("memory-per-open-file", "KiB", (in_use() - before) / COUNT);
}

void group_footprint(void)
{
	report_value("memory-in-use", "KiB", meminfo("MemTotal:") - meminfo("MemAvailable:"));
	report_value("memory-total", "KiB", meminfo("MemTotal:"));
	per_process();
	per_file();
	per_thread();
}
