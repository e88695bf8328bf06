/* The harness of the C cases: each case is a function that returns when the promise holds.
 *
 * A case file defines cases with CASE(group, name, "calls") { ... }. They register themselves, so linking
 * all files gives one program that lists and runs them; it uses nothing but the C library, so that it can
 * be built with glibc and with musl.
 */
#ifndef KEEL_CASE_H
#define KEEL_CASE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FAIL_CODE 101
#define SKIP_CODE 77

struct case_entry {
    const char *group, *name, *calls;
    void (*run)(void);
    struct case_entry *next;
};

void case_register(struct case_entry *entry);
void case_fail(const char *file, int line, const char *text, long got, long want);
void case_skip(const char *reason);

#define CASE(g, n, c)                                                                \
    static void g##_##n(void);                                                       \
    __attribute__((constructor)) static void register_##g##_##n(void)                \
    {                                                                                \
        static struct case_entry entry = {#g, #n, c, g##_##n, NULL};                 \
        case_register(&entry);                                                       \
    }                                                                                \
    static void g##_##n(void)

/* Asserts that a condition holds. */
#define CHECK(x)                                                                     \
    do {                                                                             \
        if (!(x))                                                                    \
            case_fail(__FILE__, __LINE__, #x, errno, 0);                             \
    } while (0)

/* Asserts that two integers are equal. */
#define EQ(got, want)                                                                \
    do {                                                                             \
        long got_ = (long)(got), want_ = (long)(want);                               \
        if (got_ != want_)                                                           \
            case_fail(__FILE__, __LINE__, #got, got_, want_);                        \
    } while (0)

#endif
