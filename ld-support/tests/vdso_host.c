/*
 * Maps the vDSO image with a data page before it and compares its functions with the kernel's own answers.
 *
 *   vdso_host calibrate                 prints TSC frequency in Hz, TSC, and six clocks at that moment
 *   vdso_host check IMAGE PAGE CPUMODE  exit status 0 if all agree; says what does not (CPUMODE -1: the time zone is
 *                                       the kernel's)
 *   vdso_host dlopen IMAGE              the dynamic linker finds every function by name and version
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define PAGE 4096
/* The host steers its clocks by up to 500 ppm, and seconds may pass on a busy machine. */
#define TOLERANCE_NS 3000000
/* Nobody updates the coarse clocks of this page. */
#define COARSE_NS 20000000000LL

static const int precise[] = { 0, 1, 4, 7, 11 };

static int failures;
#define CHECK(cond, ...) \
	do { if (!(cond)) { failures++; printf(__VA_ARGS__); printf("\n"); } } while (0)

static int64_t kernel_ns(int clock)
{
	struct timespec ts;
	if (syscall(SYS_clock_gettime, clock, &ts)) {
		perror("clock_gettime");
		exit(2);
	}
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* The clock and the TSC at one moment: the attempt with the least time around it. */
static int64_t together(int clock, uint64_t *tsc)
{
	uint64_t best = ~0ULL;
	int64_t result = 0;
	for (int i = 0; i < 200; i++) {
		uint64_t before = __rdtsc();
		int64_t now = kernel_ns(clock);
		uint64_t after = __rdtsc();
		if (after - before < best) {
			best = after - before;
			*tsc = before + (after - before) / 2;
			result = now;
		}
	}
	return result;
}

static int calibrate(void)
{
	uint64_t tsc0, tsc1, tsc;
	int64_t ns0 = together(1, &tsc0);
	usleep(200000);
	int64_t ns1 = together(1, &tsc1);
	double hz = (double)(tsc1 - tsc0) * 1e9 / (double)(ns1 - ns0);
	printf("%.0f %lu", hz, tsc1);
	for (unsigned i = 0; i < sizeof precise / sizeof *precise; i++) {
		int64_t ns = together(precise[i], &tsc);
		printf(" %ld", ns - (int64_t)((double)(int64_t)(tsc - tsc1) / hz * 1e9));
	}
	printf("\n");
	return 0;
}

static char *map_image(const char *image, const char *page)
{
	char *base = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = open(page, O_RDONLY);
	if (base == MAP_FAILED || fd < 0 || read(fd, base, PAGE) != PAGE)
		exit(2);
	close(fd);
	fd = open(image, O_RDONLY);
	ssize_t len = fd < 0 ? -1 : read(fd, base + PAGE, 15 * PAGE);
	if (len <= 0 || mprotect(base + PAGE, 15 * PAGE, PROT_READ | PROT_EXEC))
		exit(2);
	close(fd);
	return base + PAGE;
}

/* Finds a symbol by the SysV hash table, as musl does. */
static void *find(char *image, const char *name)
{
	Elf64_Ehdr *header = (void *)image;
	Elf64_Phdr *ph = (void *)(image + header->e_phoff);
	uint32_t *hash = NULL;
	Elf64_Sym *symbols = NULL;
	char *strings = NULL;
	for (int i = 0; i < header->e_phnum; i++) {
		if (ph[i].p_type != PT_DYNAMIC)
			continue;
		for (Elf64_Dyn *dyn = (void *)(image + ph[i].p_vaddr); dyn->d_tag; dyn++) {
			if (dyn->d_tag == DT_HASH)
				hash = (void *)(image + dyn->d_un.d_ptr);
			if (dyn->d_tag == DT_SYMTAB)
				symbols = (void *)(image + dyn->d_un.d_ptr);
			if (dyn->d_tag == DT_STRTAB)
				strings = image + dyn->d_un.d_ptr;
		}
	}
	for (uint32_t i = 0; i < hash[1]; i++)
		if (symbols[i].st_shndx && !strcmp(strings + symbols[i].st_name, name))
			return image + symbols[i].st_value;
	printf("no symbol %s\n", name);
	exit(2);
}

static int check(const char *path, const char *page, int cpu_mode)
{
	char *image = map_image(path, page);
	int (*gettime)(int, struct timespec *) = find(image, "__vdso_clock_gettime");
	int (*getres)(int, struct timespec *) = find(image, "__vdso_clock_getres");
	int (*gettimeofday_)(struct timeval *, struct timezone *) = find(image, "__vdso_gettimeofday");
	time_t (*time_)(time_t *) = find(image, "__vdso_time");
	int (*getcpu_)(unsigned *, unsigned *, void *) = find(image, "__vdso_getcpu");

	for (int clock = -3; clock < 20; clock++) {
		struct timespec ts = { -1, -1 }, other;
		long want = syscall(SYS_clock_getres, clock, &other) ? -1 : 0;
		int got = getres(clock, &ts);
		CHECK((got < 0) == (want < 0), "getres %d: %d, kernel %ld", clock, got, want);
		if (want == 0 && clock != 5 && clock != 6)
			CHECK(ts.tv_sec == other.tv_sec && ts.tv_nsec == other.tv_nsec, "getres %d: %ld", clock, ts.tv_nsec);
		CHECK(want || getres(clock, NULL) == 0, "getres %d NULL", clock);

		want = syscall(SYS_clock_gettime, clock, &other) ? -1 : 0;
		for (int round = 0; round < 300 && !want; round++) {
			int64_t slack = clock == 5 || clock == 6 ? COARSE_NS : TOLERANCE_NS;
			int64_t before = kernel_ns(clock);
			got = gettime(clock, &ts);
			int64_t now = ts.tv_sec * 1000000000LL + ts.tv_nsec;
			int64_t after = kernel_ns(clock);
			CHECK(got == 0 && ts.tv_nsec >= 0 && ts.tv_nsec < 1000000000, "gettime %d: %d, %ld ns", clock, got, ts.tv_nsec);
			CHECK(now >= before - slack && now <= after + slack, "clock %d: %ld not in %ld..%ld", clock, now, before, after);
			if (failures > 10)
				return 1;
		}
		CHECK(!want || gettime(clock, &ts) < 0, "gettime %d must fail", clock);
	}

	int64_t last = 0;
	for (int i = 0; i < 1000000; i++) {
		struct timespec ts;
		gettime(1, &ts);
		int64_t now = ts.tv_sec * 1000000000LL + ts.tv_nsec;
		CHECK(now >= last, "backwards by %ld", last - now);
		last = now;
	}

	struct timeval tv, kernel_tv;
	struct timezone tz = { 1, 1 };
	CHECK(gettimeofday_(&tv, &tz) == 0, "gettimeofday fails");
	syscall(SYS_gettimeofday, &kernel_tv, NULL);
	int64_t us = (kernel_tv.tv_sec - tv.tv_sec) * 1000000LL + kernel_tv.tv_usec - tv.tv_usec;
	CHECK(us >= -TOLERANCE_NS / 1000 && us < 1000000, "gettimeofday differs by %ld us", us);
	CHECK(cpu_mode < 0 || (tz.tz_minuteswest == -60 && tz.tz_dsttime == 3), "time zone %d %d", tz.tz_minuteswest, tz.tz_dsttime);
	CHECK(gettimeofday_(NULL, NULL) == 0, "gettimeofday of nothing fails");

	time_t stored = 0, now = time_(&stored);
	CHECK(now == stored && labs(now - kernel_tv.tv_sec) <= 20, "time %ld, stored %ld", now, stored);
	CHECK(labs(time_(NULL) - now) <= 1, "time(NULL)");

	/* The host keeps node << 12 | cpu in the same places. */
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	sched_setaffinity(0, sizeof set, &set);
	unsigned cpu = 77, node = 77, want_cpu, want_node;
	syscall(SYS_getcpu, &want_cpu, &want_node, NULL);
	CHECK(getcpu_(&cpu, &node, NULL) == 0, "getcpu fails");
	CHECK(cpu == want_cpu && node == want_node, "mode %d: cpu %u, node %u", cpu_mode, cpu, node);
	CHECK(getcpu_(NULL, NULL, NULL) == 0, "getcpu of nothing fails");
	return failures != 0;
}

static int open_as_library(const char *path)
{
	static const char *names[] = { "clock_gettime", "gettimeofday", "time", "clock_getres", "getcpu" };
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!library) {
		printf("%s\n", dlerror());
		return 1;
	}
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		char full[64];
		snprintf(full, sizeof full, "__vdso_%s", names[i]);
		void *one = dlvsym(library, full, "LINUX_2.6"), *two = dlsym(library, names[i]);
		CHECK(one && one == two, "%s: %p, %p", full, one, two);
		CHECK(!dlvsym(library, full, "LINUX_2.5"), "%s has a wrong version", full);
	}
	int (*gettime)(int, struct timespec *) = dlsym(library, "__vdso_clock_gettime");
	struct timespec ts = { -1, -1 };
	CHECK(gettime(CLOCK_PROCESS_CPUTIME_ID, &ts) == 0 && ts.tv_sec >= 0, "the call to the kernel");
	return failures != 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "calibrate"))
		return calibrate();
	if (argc == 5 && !strcmp(argv[1], "check"))
		return check(argv[2], argv[3], atoi(argv[4]));
	if (argc == 3 && !strcmp(argv[1], "dlopen"))
		return open_as_library(argv[2]);
	return 2;
}
