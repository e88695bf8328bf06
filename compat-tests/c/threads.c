/* Threads as the C library gives them: mutexes, conditions, cancellation, thread-local storage. */
#include "case.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int shared;

static void *add(void *arg)
{
    for (int i = 0; i < *(int *)arg; i++) {
        pthread_mutex_lock(&lock);
        shared++;
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

CASE(threads, mutex_counts_exactly, "futex clone")
{
    pthread_t t[8];
    int n = 5000;
    for (int i = 0; i < 8; i++)
        EQ(pthread_create(&t[i], NULL, add, &n), 0);
    for (int i = 0; i < 8; i++)
        EQ(pthread_join(t[i], NULL), 0);
    EQ(shared, 8 * n);
}

static void *give(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&lock);
    shared = 1;
    pthread_cond_signal(&cond);
    pthread_mutex_unlock(&lock);
    return (void *)77;
}

CASE(threads, condition_and_return_value, "futex")
{
    pthread_t t;
    void *value;
    pthread_mutex_lock(&lock);
    EQ(pthread_create(&t, NULL, give, NULL), 0);
    while (!shared)
        pthread_cond_wait(&cond, &lock);
    pthread_mutex_unlock(&lock);
    EQ(pthread_join(t, &value), 0);
    EQ((long)value, 77);
}

CASE(threads, condition_times_out, "futex clock_gettime")
{
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_nsec += 30000000;
    if (at.tv_nsec >= 1000000000)
        at.tv_sec++, at.tv_nsec -= 1000000000;
    pthread_mutex_lock(&lock);
    EQ(pthread_cond_timedwait(&cond, &lock, &at), ETIMEDOUT);
}

static int cleaned;

static void clean(void *arg)
{
    cleaned = *(int *)arg;
}

static void *sleeper(void *arg)
{
    pthread_cleanup_push(clean, arg);
    for (;;)
        sleep(10);
    pthread_cleanup_pop(0);
    return NULL;
}

CASE(threads, cancellation_runs_cleanup, "tgkill rt_sigreturn")
{
    pthread_t t;
    void *value;
    int mark = 5;
    EQ(pthread_create(&t, NULL, sleeper, &mark), 0);
    usleep(20000);
    EQ(pthread_cancel(t), 0);
    EQ(pthread_join(t, &value), 0);
    CHECK(value == PTHREAD_CANCELED);
    EQ(cleaned, 5);
}

static void *spinner(void *arg)
{
    (void)arg;
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    for (;;)
        __asm__ volatile("");
    return NULL;
}

CASE(threads, asynchronous_cancellation_stops_a_busy_thread, "tgkill")
{
    pthread_t t;
    EQ(pthread_create(&t, NULL, spinner, NULL), 0);
    usleep(20000);
    EQ(pthread_cancel(t), 0);
    EQ(pthread_join(t, NULL), 0);
}

static __thread int local = 3;
static __thread char block[5000];

static void *use_local(void *arg)
{
    (void)arg;
    long before = local;
    local = 9;
    for (unsigned i = 0; i < sizeof block; i++)
        if (block[i])
            return (void *)-1;
    memset(block, 7, sizeof block);
    return (void *)before;
}

CASE(threads, local_storage_starts_fresh, "arch_prctl clone")
{
    local = 4;
    memset(block, 1, sizeof block);
    for (int i = 0; i < 4; i++) {
        pthread_t t;
        void *value;
        EQ(pthread_create(&t, NULL, use_local, NULL), 0);
        EQ(pthread_join(t, &value), 0);
        EQ((long)value, 3);
    }
    EQ(local, 4);
    EQ(block[10], 1);
}

static pthread_key_t key;
static int destroyed;

static void destroy(void *value)
{
    destroyed = (int)(long)value;
}

static void *set_key(void *arg)
{
    pthread_setspecific(key, arg);
    return NULL;
}

CASE(threads, keys_are_destroyed_at_exit, "exit")
{
    pthread_t t;
    EQ(pthread_key_create(&key, destroy), 0);
    EQ(pthread_create(&t, NULL, set_key, (void *)12), 0);
    EQ(pthread_join(t, NULL), 0);
    EQ(destroyed, 12);
    CHECK(pthread_getspecific(key) == NULL);
}

static sem_t sem;

static void *post(void *arg)
{
    (void)arg;
    usleep(10000);
    sem_post(&sem);
    return NULL;
}

CASE(threads, semaphore, "futex")
{
    pthread_t t;
    EQ(sem_init(&sem, 0, 0), 0);
    EQ(sem_trywait(&sem), -1);
    EQ(errno, EAGAIN);
    EQ(pthread_create(&t, NULL, post, NULL), 0);
    EQ(sem_wait(&sem), 0);
    EQ(pthread_join(t, NULL), 0);
}

static void *die_holding(void *arg)
{
    pthread_mutex_lock(arg);
    return NULL;
}

CASE(threads, robust_mutex_reports_a_dead_owner, "set_robust_list futex")
{
    pthread_mutexattr_t attr;
    pthread_mutex_t m;
    pthread_t t;
    pthread_mutexattr_init(&attr);
    EQ(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST), 0);
    EQ(pthread_mutex_init(&m, &attr), 0);
    EQ(pthread_create(&t, NULL, die_holding, &m), 0);
    EQ(pthread_join(t, NULL), 0);
    EQ(pthread_mutex_lock(&m), EOWNERDEAD);
    EQ(pthread_mutex_consistent(&m), 0);
    EQ(pthread_mutex_unlock(&m), 0);
}

CASE(threads, priority_inheritance_mutex, "futex")
{
    pthread_mutexattr_t attr;
    pthread_mutex_t m;
    pthread_mutexattr_init(&attr);
    if (pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT))
        case_skip("no priority inheritance in this C library or kernel");
    EQ(pthread_mutex_init(&m, &attr), 0);
    EQ(pthread_mutex_lock(&m), 0);
    EQ(pthread_mutex_trylock(&m), EBUSY);
    EQ(pthread_mutex_unlock(&m), 0);
}

static pthread_barrier_t barrier;
static int serial;

static void *meet(void *arg)
{
    (void)arg;
    for (int i = 0; i < 100; i++)
        if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
            __atomic_fetch_add(&serial, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

CASE(threads, barrier, "futex")
{
    pthread_t t[4];
    EQ(pthread_barrier_init(&barrier, NULL, 4), 0);
    for (int i = 0; i < 4; i++)
        EQ(pthread_create(&t[i], NULL, meet, NULL), 0);
    for (int i = 0; i < 4; i++)
        EQ(pthread_join(t[i], NULL), 0);
    EQ(serial, 100);
}

static void *child_forks(void *arg)
{
    (void)arg;
    pid_t pid = fork();
    if (pid == 0)
        _exit(getpid() == (pid_t)syscall(SYS_gettid) ? 0 : 1);
    int status;
    waitpid(pid, &status, 0);
    return (void *)(long)status;
}

CASE(threads, fork_in_a_thread_gives_one_thread, "clone gettid")
{
    pthread_t t;
    void *value;
    EQ(pthread_create(&t, NULL, child_forks, NULL), 0);
    EQ(pthread_join(t, &value), 0);
    EQ((long)value, 0);
}

static void *noop(void *arg)
{
    return arg;
}

CASE(threads, two_hundred_threads_one_after_another, "clone mmap munmap")
{
    for (int i = 0; i < 200; i++) {
        pthread_t t;
        EQ(pthread_create(&t, NULL, noop, NULL), 0);
        EQ(pthread_join(t, NULL), 0);
    }
}

static volatile sig_atomic_t got;

static void handler(int sig)
{
    got = sig;
}

static void *wait_signal(void *arg)
{
    (void)arg;
    while (!got)
        usleep(1000);
    return NULL;
}

CASE(threads, pthread_kill_reaches_the_thread, "tgkill")
{
    pthread_t t;
    signal(SIGUSR1, handler);
    EQ(pthread_create(&t, NULL, wait_signal, NULL), 0);
    EQ(pthread_kill(t, SIGUSR1), 0);
    EQ(pthread_join(t, NULL), 0);
    EQ(got, SIGUSR1);
}

CASE(threads, small_and_large_stacks, "mmap mprotect")
{
    pthread_attr_t attr;
    size_t sizes[] = {16384, 65536, 1 << 20, 64 << 20};
    for (int i = 0; i < 4; i++) {
        pthread_t t;
        pthread_attr_init(&attr);
        EQ(pthread_attr_setstacksize(&attr, sizes[i]), 0);
        EQ(pthread_create(&t, &attr, noop, NULL), 0);
        EQ(pthread_join(t, NULL), 0);
    }
}
