/* Address spaces: mappings, faults, protection. */
#include "bench.h"

enum { PAGE = 4096, MIB = 1 << 20, FILE_PAGES = 1024 };

static char *map(size_t size, int flags)
{
	char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	need(at != MAP_FAILED, "mmap");
	return at;
}

static void touch(volatile char *at, size_t size)
{
	for (size_t i = 0; i < size; i += PAGE)
		at[i] = 1;
}

static int64_t map_unmap(long n)
{
	int64_t start = now();

	for (long i = 0; i < n; i++)
		munmap(map(16 * PAGE, 0), 16 * PAGE);
	return now() - start;
}

static int64_t map_touch(long n, size_t size)
{
	int64_t start = now();

	for (long i = 0; i < n; i++) {
		char *at = map(size, 0);

		touch(at, size);
		munmap(at, size);
	}
	return now() - start;
}

static int64_t map_touch_1(long n)
{
	return map_touch(n, MIB);
}

static int64_t map_touch_64(long n)
{
	return map_touch(n, 64 * MIB);
}

/* Faults alone, of n pages, without large pages. */
static int64_t anonymous_fault(long n)
{
	int64_t total = 0;

	while (n > 0) {
		size_t size = (size_t)(n > 2048 ? 2048 : n) * PAGE;
		char *at = map(size, 0);

		madvise(at, size, MADV_NOHUGEPAGE);
		int64_t start = now();
		touch(at, size);
		total += now() - start;
		munmap(at, size);
		n -= 2048;
	}
	return total;
}

static int64_t read_fault(long n)
{
	int64_t total = 0;
	volatile char sum = 0;

	while (n > 0) {
		size_t size = (size_t)(n > 2048 ? 2048 : n) * PAGE;
		char *at = map(size, 0);

		madvise(at, size, MADV_NOHUGEPAGE);
		int64_t start = now();
		for (size_t i = 0; i < size; i += PAGE)
			sum += at[i];
		total += now() - start;
		munmap(at, size);
		n -= 2048;
	}
	return total;
}

static int data_file = -1;

static void make_file(void)
{
	char path[512];
	static char block[PAGE];

	snprintf(path, sizeof path, "%s/mapped", work_dir);
	data_file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
	need(data_file >= 0, path);
	memset(block, 7, sizeof block);
	for (int i = 0; i < FILE_PAGES; i++)
		need(write(data_file, block, sizeof block) == sizeof block, "write");
	fsync(data_file);
}

/* Reads each page of a cached file through a new mapping; with fault-around not every page is a fault. */
static int64_t file_touch(long n, int step)
{
	int64_t total = 0;
	volatile char sum = 0;

	for (long done = 0; done < n;) {
		char *at = mmap(NULL, FILE_PAGES * PAGE, PROT_READ, MAP_SHARED, data_file, 0);

		need(at != MAP_FAILED, "mmap of a file");
		int64_t start = now();
		for (int i = 0; i < FILE_PAGES && done < n; i += step, done++)
			sum += at[(size_t)i * PAGE];
		total += now() - start;
		munmap(at, FILE_PAGES * PAGE);
	}
	return total;
}

static int64_t file_sequential(long n)
{
	return file_touch(n, 1);
}

static int64_t file_sparse(long n)
{
	return file_touch(n, 32);
}

/* Write faults on pages that a child shares. */
static int64_t cow_fault(long n)
{
	int64_t total = 0;

	while (n > 0) {
		size_t size = (size_t)(n > 1024 ? 1024 : n) * PAGE;
		char *at = map(size, 0);
		int back[2], go[2];
		char byte = 0;

		madvise(at, size, MADV_NOHUGEPAGE);
		touch(at, size);
		need(pipe(back) == 0 && pipe(go) == 0, "pipe");
		pid_t pid = fork();
		if (pid == 0) {
			close(go[1]);
			_exit(read(go[0], &byte, 1) == 0 ? 0 : 1);
		}
		close(go[0]);
		int64_t start = now();
		touch(at, size);
		total += now() - start;
		close(go[1]);
		close(back[0]);
		close(back[1]);
		join(pid);
		munmap(at, size);
		n -= 1024;
	}
	return total;
}

static int64_t protect(long n)
{
	char *at = map(64 * PAGE, 0);

	touch(at, 64 * PAGE);
	int64_t start = now();
	for (long i = 0; i < n; i++)
		mprotect(at, 64 * PAGE, i & 1 ? PROT_READ | PROT_WRITE : PROT_READ);
	int64_t took = now() - start;
	munmap(at, 64 * PAGE);
	return took;
}

static int64_t grow_heap(long n)
{
	int64_t start = now();

	for (long i = 0; i < n; i++) {
		char *old = sbrk(64 * PAGE);

		need(old != (char *)-1, "sbrk");
		touch(old, 4 * PAGE);
		sbrk(-64 * PAGE);
	}
	return now() - start;
}

static char *guarded;

static void lift_guard(int number)
{
	(void)number;
	mprotect(guarded, PAGE, PROT_READ | PROT_WRITE);
}

static int64_t protection_fault(long n)
{
	guarded = map(PAGE, 0);
	touch(guarded, PAGE);
	signal(SIGSEGV, lift_guard);
	int64_t start = now();
	for (long i = 0; i < n; i++) {
		mprotect(guarded, PAGE, PROT_READ);
		*(volatile char *)guarded = 1;
	}
	int64_t took = now() - start;
	signal(SIGSEGV, SIG_DFL);
	munmap(guarded, PAGE);
	return took;
}

static int64_t map_file(long n)
{
	int64_t start = now();

	for (long i = 0; i < n; i++) {
		char *at = mmap(NULL, FILE_PAGES * PAGE, PROT_READ, MAP_SHARED, data_file, 0);

		need(at != MAP_FAILED, "mmap of a file");
		munmap(at, FILE_PAGES * PAGE);
	}
	return now() - start;
}

void group_memory(void)
{
	make_file();
	measure("mmap-munmap", map_unmap);
	measure("mmap-munmap-file", map_file);
	measure("mmap-touch-1M", map_touch_1);
	measure("mmap-touch-64M", map_touch_64);
	measure("fault-anonymous", anonymous_fault);
	measure("fault-zero-page", read_fault);
	measure("fault-file", file_sequential);
	measure("fault-file-sparse", file_sparse);
	measure("fault-cow", cow_fault);
	measure("fault-protection", protection_fault);
	measure("mprotect-64", protect);
	measure("brk", grow_heap);
}
