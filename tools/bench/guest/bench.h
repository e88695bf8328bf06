/*
 * keel-bench: what the groups share.
 *
 * A benchmark is a function that does its operation `n` times and returns the nanoseconds that this took, set-up
 * excluded. measure() finds an `n` for which one sample lasts long enough to be timed well, takes several samples
 * and prints the smallest and the median time of one operation. One result is one line on standard output:
 *
 *   R NAME UNIT MINIMUM MEDIAN SAMPLES      UNIT: ns (less is better), MB/s (more is better), KiB (less is better)
 *   S NAME WHY                              skipped: the image or the kernel lacks something
 */
#ifndef KEEL_BENCH_H
#define KEEL_BENCH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef int64_t (*body)(long n);

/* Where this program is, and a folder on the root file system that it may fill. */
extern const char *self_path;
extern const char *work_dir;

int64_t now(void);
/* Ends the running group's process with a message. */
__attribute__((noreturn, format(printf, 1, 2))) void fail(const char *format, ...);
/* Fails unless `good`, naming errno. */
void need(int good, const char *what);

void measure(const char *name, body run);
/* The same for an operation that moves `bytes`: reports MB/s. */
void measure_bytes(const char *name, body run, double bytes);
/* For what takes long: `times` samples of one operation each. */
void measure_once(const char *name, body run, int times);
/* A figure that is not a time. */
void report_value(const char *name, const char *unit, double value);
void skip(const char *name, const char *why);
/* Whether `name` was asked for. */
int wanted(const char *name);

/* Runs on this CPU from now on; returns whether it exists. */
int pin(int cpu);
/* Runs anywhere. */
void unpin(void);
/* Starts a child that runs `run(argument)` and exits. */
pid_t child(void (*run)(void *), void *argument);
/* Waits for a child and fails unless it ended with 0. */
void join(pid_t pid);
/* Runs a program and waits; returns the exit status, 127 if it cannot be run. Its output is dropped. */
int run_program(char *const argv[]);
/* Writes to a file of /proc or /sys. */
int write_file(const char *path, const char *text);

void group_syscall(void);
void group_process(void);
void group_memory(void);
void group_ipc(void);
void group_fs(void);
void group_sched(void);
void group_app(void);
void group_footprint(void);

#endif
