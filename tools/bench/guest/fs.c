/* Files: calls on the page cache and directories, and the tools that people wait for. */
#include "bench.h"
#include <sys/vfs.h>

enum { PAGE = 4096, MIB = 1 << 20, CACHED = 32, FILES = 2000 };

static char buffer[MIB];
static char path[600];
static int file = -1;

static const char *in_work(const char *name)
{
	snprintf(path, sizeof path, "%s/%s", work_dir, name);
	return path;
}

static void make_cached(void)
{
	file = open(in_work("cached"), O_RDWR | O_CREAT | O_TRUNC, 0644);
	need(file >= 0, path);
	memset(buffer, 'k', sizeof buffer);
	for (int i = 0; i < CACHED; i++)
		need(write(file, buffer, MIB) == MIB, "write");
	fsync(file);
}

static off_t somewhere(void)
{
	static uint32_t state = 12345;

	state = state * 1664525 + 1013904223;
	return (off_t)(state >> 8) % (CACHED * MIB / PAGE) * PAGE;
}

static int64_t read_random(long n)
{
	int64_t start = now();

	for (long i = 0; i < n; i++)
		need(pread(file, buffer, PAGE, somewhere()) == PAGE, "pread");
	return now() - start;
}

static int64_t write_random(long n)
{
	int64_t start = now();

	for (long i = 0; i < n; i++)
		need(pwrite(file, buffer, PAGE, somewhere()) == PAGE, "pwrite");
	return now() - start;
}

static int64_t read_warm(long n)
{
	int64_t start = now();

	for (long i = 0; i < n; i++)
		need(pread(file, buffer, MIB, (i % CACHED) * MIB) == MIB, "pread");
	return now() - start;
}

static int64_t write_warm(long n)
{
	int64_t start = now();

	for (long i = 0; i < n; i++)
		need(pwrite(file, buffer, MIB, (i % CACHED) * MIB) == MIB, "pwrite");
	return now() - start;
}

/* n MiB into new files of 16 MiB each. */
static int64_t write_new(long n)
{
	int64_t total = 0;

	while (n > 0) {
		int64_t start = now();
		int out = open(in_work("new"), O_RDWR | O_CREAT | O_TRUNC, 0644);

		need(out >= 0, path);
		for (int i = 0; i < 16 && n > 0; i++, n--)
			need(write(out, buffer, MIB) == MIB, "write");
		close(out);
		total += now() - start;
		unlink(path);
	}
	return total;
}

static int64_t append_fsync(long n)
{
	int out = open(in_work("log"), O_WRONLY | O_CREAT | O_TRUNC, 0644);
	int64_t start = now();

	for (long i = 0; i < n; i++)
		need(write(out, buffer, PAGE) == PAGE && fsync(out) == 0, "fsync");
	int64_t took = now() - start;
	close(out);
	unlink(path);
	return took;
}

static const char *many;

static const char *numbered(int number)
{
	snprintf(path, sizeof path, "%s/f%07d", many, number);
	return path;
}

static void create_range(int count)
{
	for (int i = 0; i < count; i++) {
		int one = open(numbered(i), O_WRONLY | O_CREAT | O_EXCL, 0644);

		need(one >= 0, path);
		close(one);
	}
}

static void unlink_range(int count)
{
	for (int i = 0; i < count; i++)
		need(unlink(numbered(i)) == 0, path);
}

static int64_t in_batches(long n, int timed)
{
	int64_t total = 0;

	for (; n > 0; n -= FILES) {
		int count = n > FILES ? FILES : (int)n;
		int64_t start = now();

		create_range(count);
		int64_t created = now();
		for (int i = 0; timed == 1 && i < count; i++) {
			struct stat about;

			need(stat(numbered(i), &about) == 0, path);
		}
		int64_t looked = now();
		unlink_range(count);
		int64_t end = now();
		total += timed == 0 ? created - start : timed == 1 ? looked - created : end - looked;
	}
	return total;
}

static int64_t create_files(long n)
{
	return in_batches(n, 0);
}

static int64_t stat_files(long n)
{
	return in_batches(n, 1);
}

static int64_t unlink_files(long n)
{
	return in_batches(n, 2);
}

static int64_t make_directory(long n)
{
	int64_t start = now();

	for (long i = 0; i < n; i++)
		need(mkdir(numbered(0), 0755) == 0 && rmdir(path) == 0, "mkdir, rmdir");
	return now() - start;
}

static int64_t rename_file(long n)
{
	char other[600];

	create_range(1);
	snprintf(other, sizeof other, "%s/other", many);
	int64_t start = now();
	for (long i = 0; i < n; i++)
		need((i & 1 ? rename(other, path) : rename(path, other)) == 0, "rename");
	int64_t took = now() - start;
	unlink(other);
	unlink(path);
	return took;
}

static void directories(const char *where, const char *kind)
{
	static const struct {
		const char *name;
		body run;
	} all[] = {
		{ "create", create_files }, { "stat", stat_files }, { "unlink", unlink_files },
		{ "mkdir-rmdir", make_directory }, { "rename", rename_file },
	};
	char name[64];

	many = where;
	mkdir(where, 0755);
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		snprintf(name, sizeof name, "%s-%s", all[i].name, kind);
		measure(name, all[i].run);
	}
}

/* Shell commands, timed whole. The script before it is not timed. */
static const char *before_script, *timed_script;

static void sh(const char *script)
{
	char *argv[] = { "sh", "-e", "-c", (char *)script, NULL };
	int status = run_program(argv);

	if (status != 0)
		fail("status %d from: %s", status, script);
}

static int64_t script(long n)
{
	int64_t total = 0;

	for (long i = 0; i < n; i++) {
		sh(before_script);
		int64_t start = now();
		sh(timed_script);
		total += now() - start;
	}
	return total;
}

static void measure_script(const char *name, const char *before, const char *timed)
{
	before_script = before;
	timed_script = timed;
	measure_once(name, script, 3);
}

#define DROP "sync; echo 3 > /proc/sys/vm/drop_caches; "

/* A tree of 20,000 files in 200 folders, as a tar archive. */
static void make_archive(void)
{
	char name[640];

	mkdir(in_work("tree"), 0755);
	for (int i = 0; i < 20000; i++) {
		if (i % 100 == 0) {
			snprintf(name, sizeof name, "%s/tree/d%03d", work_dir, i / 100);
			mkdir(name, 0755);
		}
		snprintf(name, sizeof name, "%s/tree/d%03d/file%05d.c", work_dir, i / 100, i);
		int out = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
		size_t size = 200 + (size_t)(i * 37 % 4000);

		need(out >= 0 && write(out, buffer, size) == (ssize_t)size, name);
		close(out);
	}
	sh("tar cf tree.tar tree; rm -rf tree; sync");
}

static void tools(void)
{
	need(chdir(work_dir) == 0, work_dir);
	measure_script("dd-write-64M", "rm -f big; sync", "dd if=/dev/zero of=big bs=1M count=64 conv=fsync");
	sh("dd if=/dev/zero of=big bs=1M count=64");
	measure_script("dd-read-cold-64M", DROP, "dd if=big of=/dev/null bs=1M");
	measure_script("dd-read-warm-64M", ":", "dd if=big of=/dev/null bs=1M");
	sh("rm -f big");
	if (wanted("tar-x-20000") || wanted("rm-rf-20000") || wanted("find-20000") || wanted("git-status-20000")) {
		make_archive();
		measure_script("tar-x-20000", "rm -rf tree; sync", "tar xf tree.tar");
		measure_script("find-20000", ":", "find tree -type f -size +100k");
		measure_script("git-status-20000",
			       "cd tree; test -d .git || { git init -q .; git add d00*; git -c user.name=k -c user.email=k@k "
			       "commit -q -m tree; }; git status",
			       "cd tree; git status");
		measure_script("rm-rf-20000", "test -d tree || tar xf tree.tar; sync", "rm -rf tree");
	}
}

void group_fs(void)
{
	make_cached();
	measure("pread-random-4k", read_random);
	measure("pwrite-random-4k", write_random);
	measure_bytes("read-cached", read_warm, MIB);
	measure_bytes("overwrite-cached", write_warm, MIB);
	measure_bytes("write-new-file", write_new, MIB);
	measure("append-fsync-4k", append_fsync);
	directories("/dev/shm/keel-bench", "tmpfs");
	char where[600];
	snprintf(where, sizeof where, "%s/many", work_dir);
	directories(where, "ext4");
	tools();
}
