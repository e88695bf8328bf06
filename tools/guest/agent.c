/*
 * keel-agent: runs jobs inside a guest and reports their output and status.
 *
 * It is started as PID 1 from a small extra disk, mounts what programs expect to find, runs each job of the job
 * file in turn, and sends frames over the second serial port. At the end it stops everything, makes the
 * root file system read-only and powers off. tools/xtask/src/guest/protocol.rs is the other side.
 *
 * It uses only plain calls (fork, execve, poll, read, write, waitpid, kill, mount), so that a young kernel can run it.
 *
 * A frame: 0xA5 0x4B, type (1 byte), job number (2 bytes, little endian), payload length (2 bytes), payload.
 *   B  begin: protocol version            S  job started: its PID as text
 *   O  bytes of standard output           E  bytes of standard error
 *   X  job ended: "STATUS MICROSECONDS FLAGS" as text; STATUS is waitpid's; FLAGS: T = killed at its time limit
 *   F  job could not be started: why      L  a remark for the log
 *   D  done: everything has been sent
 *
 * The job file: fields that end in NUL. Per job: time limit in seconds, working directory, file for standard
 * input (empty: /dev/null), number of environment entries, the entries, number of arguments, the arguments.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { FRAME_MAX = 4096, MAX_WORDS = 1024 };

static int port = -1;
static int job_number;

static void write_all(const void *data, size_t size)
{
	const char *from = data;

	while (size > 0) {
		ssize_t done = write(port, from, size);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return;
		from += done;
		size -= (size_t)done;
	}
}

static void frame(char type, const void *data, size_t size)
{
	static unsigned char buffer[7 + FRAME_MAX];

	if (size > FRAME_MAX)
		size = FRAME_MAX;
	buffer[0] = 0xa5;
	buffer[1] = 0x4b;
	buffer[2] = (unsigned char)type;
	buffer[3] = (unsigned char)(job_number & 0xff);
	buffer[4] = (unsigned char)(job_number >> 8);
	buffer[5] = (unsigned char)(size & 0xff);
	buffer[6] = (unsigned char)(size >> 8);
	memcpy(buffer + 7, data, size);
	write_all(buffer, 7 + size);
}

__attribute__((format(printf, 2, 3))) static void say(char type, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	int size = vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (size < 0)
		size = 0;
	if ((size_t)size >= sizeof text)
		size = sizeof text - 1;
	frame(type, text, (size_t)size);
}

static void mount_on(const char *type, const char *where, const char *options)
{
	mkdir(where, 0755);
	if (mount(type, where, type, 0, options) != 0 && errno != EBUSY)
		say('L', "mount %s on %s: %s", type, where, strerror(errno));
}

static void set_up_mounts(void)
{
	struct stat root, dev;

	mount_on("proc", "/proc", NULL);
	mount_on("sysfs", "/sys", NULL);
	if (stat("/", &root) == 0 && stat("/dev", &dev) == 0 && root.st_dev == dev.st_dev)
		mount_on("devtmpfs", "/dev", NULL);
	mount_on("devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666");
	mount_on("tmpfs", "/dev/shm", "mode=1777");
	mount_on("tmpfs", "/run", "mode=755");
	mount_on("tmpfs", "/tmp", "mode=1777");
	symlink("/proc/self/fd", "/dev/fd");
	symlink("/proc/self/fd/0", "/dev/stdin");
	symlink("/proc/self/fd/1", "/dev/stdout");
	symlink("/proc/self/fd/2", "/dev/stderr");
}

static void open_port(const char *path)
{
	struct termios mode;

	port = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (port < 0) {
		fprintf(stderr, "keel-agent: cannot open %s: %s\n", path, strerror(errno));
		return;
	}
	if (tcgetattr(port, &mode) == 0) {
		cfmakeraw(&mode);
		mode.c_cflag |= CLOCAL;
		mode.c_cflag &= ~(tcflag_t)CRTSCTS;
		cfsetspeed(&mode, B115200);
		tcsetattr(port, TCSANOW, &mode);
	}
}

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

struct job {
	long seconds;
	const char *directory;
	const char *input;
	char *environment[MAX_WORDS + 1];
	char *arguments[MAX_WORDS + 1];
};

/* The field at *at, which then points behind it; NULL at the end. */
static char *next_field(char **at, char *end)
{
	char *field = *at;
	char *nul = field < end ? memchr(field, 0, (size_t)(end - field)) : NULL;

	if (nul == NULL)
		return NULL;
	*at = nul + 1;
	return field;
}

static int next_words(char **at, char *end, char **words)
{
	char *count_text = next_field(at, end);
	long count = count_text ? atol(count_text) : -1;

	if (count < 0 || count > MAX_WORDS)
		return 0;
	for (long i = 0; i < count; i++) {
		words[i] = next_field(at, end);
		if (words[i] == NULL)
			return 0;
	}
	words[count] = NULL;
	return 1;
}

static int next_job(char **at, char *end, struct job *job)
{
	char *seconds = next_field(at, end);

	if (seconds == NULL)
		return 0;
	job->seconds = atol(seconds);
	job->directory = next_field(at, end);
	job->input = next_field(at, end);
	return job->input != NULL && next_words(at, end, job->environment) &&
	       next_words(at, end, job->arguments) && job->arguments[0] != NULL;
}

/* In the child: becomes the job's program; if that fails, says why on standard error and exits as a shell does. */
static void become(const struct job *job, int out, int err)
{
	const char *input = job->input[0] ? job->input : "/dev/null";
	int in = open(input, O_RDONLY);

	setsid();
	if (in < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0) {
		dprintf(err, "keel-agent: cannot set up %s: %s\n", input, strerror(errno));
		_exit(126);
	}
	if (in > 2)
		close(in);
	if (chdir(job->directory) != 0) {
		dprintf(2, "keel-agent: cannot change to %s: %s\n", job->directory, strerror(errno));
		_exit(126);
	}
	clearenv();
	for (char *const *entry = job->environment; *entry; entry++)
		putenv(*entry);
	execvp(job->arguments[0], job->arguments);
	int error = errno;
	dprintf(2, "keel-agent: cannot run %s: %s\n", job->arguments[0], strerror(error));
	_exit(error == ENOENT ? 127 : 126);
}

/* Passes on what is in the pipe; closes it at its end. Returns whether something came. */
static int pass_on(struct pollfd *pipe_end, char type)
{
	static char buffer[FRAME_MAX];

	if (pipe_end->fd < 0 || pipe_end->revents == 0)
		return 0;
	ssize_t got = read(pipe_end->fd, buffer, sizeof buffer);
	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (got <= 0) {
		close(pipe_end->fd);
		pipe_end->fd = -1;
		return 0;
	}
	frame(type, buffer, (size_t)got);
	return 1;
}

/*
 * Relays output until the job has ended and its pipes are empty. What the job left running in the
 * background may hold the pipes open, so an end of file is not waited for after the job's own end.
 */
static void attend(pid_t child, long seconds, int out, int err)
{
	struct pollfd ends[2] = { { out, POLLIN, 0 }, { err, POLLIN, 0 } };
	int64_t start = now_us();
	int status = 0, ended = 0, late = 0;

	for (;;) {
		int open_ends = ends[0].fd >= 0 || ends[1].fd >= 0;
		int came = 0;

		if (open_ends) {
			ends[0].revents = ends[1].revents = 0;
			if (poll(ends, 2, ended ? 0 : 50) > 0) {
				came = pass_on(&ends[0], 'O');
				came |= pass_on(&ends[1], 'E');
			}
		}
		if (ended && !came)
			break;
		/* As PID 1 this is also the parent of every orphan. */
		for (pid_t found = 1; found > 0;) {
			int how;

			found = waitpid(-1, &how, WNOHANG);
			if (found == child) {
				status = how;
				ended = 1;
			} else if (found < 0 && errno == ECHILD) {
				ended = 1;
			}
		}
		if (!ended && !open_ends)
			usleep(5000);
		if (!ended && !late && seconds > 0 && now_us() - start > seconds * 1000000LL) {
			late = 1;
			kill(-child, SIGKILL);
			kill(child, SIGKILL);
		}
	}
	if (ends[0].fd >= 0)
		close(ends[0].fd);
	if (ends[1].fd >= 0)
		close(ends[1].fd);
	say('X', "%d %lld %s", status, (long long)(now_us() - start), late ? "T" : "-");
}

static void run(const struct job *job)
{
	int out[2], err[2];

	if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) {
		say('F', "pipe: %s", strerror(errno));
		return;
	}
	pid_t child = fork();
	if (child == 0)
		become(job, out[1], err[1]);
	close(out[1]);
	close(err[1]);
	if (child < 0) {
		say('F', "fork: %s", strerror(errno));
		close(out[0]);
		close(err[0]);
		return;
	}
	say('S', "%d", (int)child);
	attend(child, job->seconds, out[0], err[0]);
	/* Nothing of one job may disturb the next. */
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

static char *read_file(const char *path, size_t *size)
{
	struct stat about;
	int file = open(path, O_RDONLY | O_CLOEXEC);
	char *data = NULL;

	if (file < 0 || fstat(file, &about) != 0)
		return NULL;
	data = malloc((size_t)about.st_size + 1);
	for (*size = 0; data && *size < (size_t)about.st_size;) {
		ssize_t got = read(file, data + *size, (size_t)about.st_size - *size);

		if (got <= 0)
			break;
		*size += (size_t)got;
	}
	close(file);
	return data;
}

static void power_off(void)
{
	kill(-1, SIGTERM);
	for (int i = 0; i < 20 && waitpid(-1, NULL, WNOHANG) >= 0; i++)
		usleep(10000);
	kill(-1, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0)
		;
	sync();
	if (mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) != 0)
		say('L', "remount / read-only: %s", strerror(errno));
	sync();
	frame('D', "", 0);
	if (port >= 0)
		tcdrain(port);
	reboot(RB_POWER_OFF);
}

int main(int argc, char **argv)
{
	static struct job job;
	size_t size = 0;
	char *jobs, *at;

	if (argc != 3) {
		fprintf(stderr, "usage: keel-agent PORT JOBFILE\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	/* /dev may come only with the mounts; remarks about them need the port. */
	if (access(argv[1], F_OK) == 0)
		open_port(argv[1]);
	frame('B', "1", 1);
	jobs = read_file(argv[2], &size);
	set_up_mounts();
	if (port < 0)
		open_port(argv[1]);
	signal(SIGPIPE, SIG_DFL);
	if (jobs == NULL)
		say('L', "cannot read %s: %s", argv[2], strerror(errno));
	else
		for (at = jobs; next_job(&at, jobs + size, &job); job_number++)
			run(&job);
	power_off();
	return 1;
}
