/* Single system calls, and the vDSO. */
#include "bench.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/uio.h>

static int zero, null, file, directory, some_pipe[2], epoll;
static char page[4096];
static char path[512];
static struct pollfd polled[10];

#define SIMPLE(name, statement)                                     \
	static int64_t name(long n)                                 \
	{                                                           \
		int64_t start = now();                              \
		for (long i = 0; i < n; i++) {                      \
			statement;                                  \
		}                                                   \
		return now() - start;                               \
	}

static struct stat about;
static struct timespec when;
static const struct timespec none;
static struct rusage usage;
static struct epoll_event events[16];
static sigset_t mask;
static volatile long caught;

static void on_signal(int number)
{
	caught += number;
}

SIMPLE(call_getpid, syscall(SYS_getpid))
SIMPLE(call_read_zero, read(zero, page, 1))
SIMPLE(call_write_null, write(null, page, 1))
SIMPLE(call_clock_gettime, clock_gettime(CLOCK_MONOTONIC, &when))
SIMPLE(call_fstat, fstat(file, &about))
SIMPLE(call_stat, stat(path, &about))
SIMPLE(call_stat_missing, stat("/usr/share/keel-no-such-file", &about))
SIMPLE(call_access, access("/etc/passwd", R_OK))
SIMPLE(call_open_close, close(open(path, O_RDONLY)))
SIMPLE(call_open_null, close(open("/dev/null", O_RDWR)))
SIMPLE(call_dup_close, close(dup(null)))
SIMPLE(call_fcntl, fcntl(null, F_GETFD))
SIMPLE(call_ioctl, ioctl(null, TCGETS, page))
SIMPLE(call_lseek, lseek(file, 0, SEEK_SET))
SIMPLE(call_pread_4k, pread(file, page, sizeof page, 0))
SIMPLE(call_getcwd, syscall(SYS_getcwd, page, sizeof page))
SIMPLE(call_getrusage, getrusage(RUSAGE_SELF, &usage))
SIMPLE(call_sigprocmask, sigprocmask(SIG_BLOCK, &mask, NULL))
SIMPLE(call_poll_10, poll(polled, 10, 0))
SIMPLE(call_epoll_1000, epoll_wait(epoll, events, 16, 0))
SIMPLE(call_nothing_ready, syscall(SYS_ppoll, polled, 0, &none, NULL, 0))
SIMPLE(call_signal, raise(SIGUSR1))

static int64_t call_sigaction(long n)
{
	struct sigaction action = { .sa_handler = on_signal };
	int64_t start = now();

	for (long i = 0; i < n; i++)
		sigaction(SIGUSR2, &action, NULL);
	return now() - start;
}

static int64_t call_select_100(long n)
{
	int64_t total = 0;

	for (long i = 0; i < n; i++) {
		struct timeval zero_time = { 0, 0 };
		fd_set set;

		FD_ZERO(&set);
		for (int fd = 100; fd < 200; fd++)
			FD_SET(fd, &set);
		int64_t start = now();
		need(select(200, &set, NULL, NULL, &zero_time) >= 0, "select");
		total += now() - start;
	}
	return total;
}

static int64_t call_getdents(long n)
{
	int64_t start = now();

	for (long i = 0; i < n; i++) {
		static char entries[32768];

		lseek(directory, 0, SEEK_SET);
		while (syscall(SYS_getdents64, directory, entries, sizeof entries) > 0)
			;
	}
	return now() - start;
}

/* One thousand descriptors of which one is ready. */
static void set_up_epoll(void)
{
	struct epoll_event event = { .events = EPOLLIN };

	epoll = epoll_create1(0);
	need(epoll >= 0, "epoll_create1");
	for (int i = 0; i < 1000; i++) {
		int one = eventfd(i == 500 ? 1 : 0, 0);

		event.data.fd = one;
		need(one >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, one, &event) == 0, "epoll_ctl");
	}
}

void group_syscall(void)
{
	zero = open("/dev/zero", O_RDONLY);
	null = open("/dev/null", O_RDWR);
	snprintf(path, sizeof path, "%s/a", work_dir);
	mkdir(path, 0755);
	snprintf(path, sizeof path, "%s/a/file", work_dir);
	file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
	need(file >= 0 && write(file, page, sizeof page) == sizeof page, path);
	directory = open("/usr/bin", O_RDONLY | O_DIRECTORY);
	need(pipe(some_pipe) == 0, "pipe");
	for (int i = 0; i < 10; i++)
		polled[i] = (struct pollfd){ some_pipe[0], POLLIN, 0 };
	sigemptyset(&mask);
	signal(SIGUSR1, on_signal);

	measure("getpid", call_getpid);
	measure("clock_gettime", call_clock_gettime);
	measure("read-zero-1", call_read_zero);
	measure("write-null-1", call_write_null);
	measure("pread-4k", call_pread_4k);
	measure("lseek", call_lseek);
	measure("fstat", call_fstat);
	measure("stat-5", call_stat);
	measure("stat-missing", call_stat_missing);
	measure("access", call_access);
	measure("open-close", call_open_close);
	measure("open-close-null", call_open_null);
	measure("dup-close", call_dup_close);
	measure("fcntl-getfd", call_fcntl);
	measure("ioctl-enotty", call_ioctl);
	measure("getcwd", call_getcwd);
	measure("getrusage", call_getrusage);
	measure("getdents-usr-bin", call_getdents);
	measure("sigprocmask", call_sigprocmask);
	measure("signal-install", call_sigaction);
	measure("signal-deliver", call_signal);
	measure("poll-10", call_poll_10);
	measure("ppoll-0", call_nothing_ready);
	for (int fd = 100; fd < 200; fd++)
		dup2(some_pipe[0], fd);
	measure("select-100", call_select_100);
	set_up_epoll();
	measure("epoll_wait-1000", call_epoll_1000);
}
