/* What the C library builds on the kernel: setjmp across signals, stdio, spawning, memory, time. */
#include "case.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <grp.h>
#include <math.h>
#include <poll.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>

extern char **environ;

static sigjmp_buf jump;

static void leap(int sig)
{
    siglongjmp(jump, sig);
}

CASE(setjmp, out_of_a_signal_handler_restores_the_mask, "rt_sigprocmask rt_sigaction")
{
    signal(SIGUSR1, leap);
    for (volatile int i = 0; i < 3; i++) {
        int sig = sigsetjmp(jump, 1);
        if (!sig) {
            raise(SIGUSR1);
            CHECK(0);
        }
        EQ(sig, SIGUSR1);
        sigset_t now;
        sigprocmask(SIG_BLOCK, NULL, &now);
        EQ(sigismember(&now, SIGUSR1), 0);
    }
}

CASE(setjmp, out_of_a_segmentation_fault, "rt_sigaction")
{
    signal(SIGSEGV, leap);
    for (volatile int i = 0; i < 3; i++)
        if (!sigsetjmp(jump, 1)) {
            *(volatile int *)8 = 1;
            CHECK(0);
        }
}

CASE(setjmp, out_of_a_division_by_zero, "rt_sigaction")
{
    signal(SIGFPE, leap);
    volatile int zero = 0, seven = 7;
    if (!sigsetjmp(jump, 1)) {
        volatile int x = seven / zero;
        (void)x;
        CHECK(0);
    }
}

CASE(setjmp, from_an_alternate_stack, "sigaltstack")
{
    stack_t ss = {.ss_sp = malloc(65536), .ss_size = 65536};
    EQ(sigaltstack(&ss, NULL), 0);
    struct sigaction act = {.sa_handler = leap, .sa_flags = SA_ONSTACK};
    EQ(sigaction(SIGUSR1, &act, NULL), 0);
    if (!sigsetjmp(jump, 1))
        raise(SIGUSR1);
    EQ(sigaltstack(NULL, &ss), 0);
    EQ(ss.ss_flags, 0);
}

static volatile double seen;

static void use_float(int sig)
{
    seen = sqrt((double)sig) * 1.25;
}

CASE(setjmp, floating_point_state_is_kept_around_handlers, "rt_sigreturn")
{
    signal(SIGALRM, use_float);
    struct itimerval it = {{0, 1000}, {0, 1000}};
    EQ(setitimer(ITIMER_REAL, &it, NULL), 0);
    for (int round = 0; round < 200; round++) {
        double sum = 0;
        for (int i = 1; i <= 2000; i++)
            sum += 1.0 / i;
        CHECK(fabs(sum - 8.178368103610284) < 1e-12);
    }
}

CASE(stdio, buffered_writing_and_reading, "openat read write lseek")
{
    FILE *f = fopen("f", "w+");
    CHECK(f);
    for (int i = 0; i < 10000; i++)
        fprintf(f, "%d\n", i);
    rewind(f);
    for (int i = 0, n; i < 10000; i++) {
        EQ(fscanf(f, "%d", &n), 1);
        EQ(n, i);
    }
    EQ(fseek(f, 0, SEEK_END), 0);
    EQ(ftell(f), 48890);
    EQ(fclose(f), 0);
}

CASE(stdio, append_and_ungetc, "openat write")
{
    FILE *f = fopen("f", "a+");
    fputs("one", f);
    fclose(f);
    f = fopen("f", "a+");
    fputs("two", f);
    rewind(f);
    char b[16];
    CHECK(fgets(b, sizeof b, f));
    EQ(strcmp(b, "onetwo"), 0);
    EQ(ungetc('x', f), 'x');
    EQ(fgetc(f), 'x');
}

CASE(stdio, popen_reads_a_command, "clone3 execve pipe2 wait4")
{
    FILE *f = popen("echo from the shell; exit 3", "r");
    char b[64];
    CHECK(f && fgets(b, sizeof b, f));
    EQ(strcmp(b, "from the shell\n"), 0);
    EQ(WEXITSTATUS(pclose(f)), 3);
}

CASE(stdio, system_answers_the_status, "clone3 execve wait4")
{
    EQ(WEXITSTATUS(system("exit 9")), 9);
    EQ(system("true"), 0);
    CHECK(system(NULL));
}

CASE(stdio, tmpfile_and_getline, "openat")
{
    FILE *f = tmpfile();
    CHECK(f);
    fputs("a line\nand another", f);
    rewind(f);
    char *line = NULL;
    size_t size = 0;
    EQ(getline(&line, &size, f), 7);
    EQ(getline(&line, &size, f), 11);
    EQ(getline(&line, &size, f), -1);
}

CASE(spawn, file_actions_and_attributes, "clone3 vfork execve dup2")
{
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addopen(&fa, 1, "out", O_WRONLY | O_CREAT, 0600);
    posix_spawn_file_actions_adddup2(&fa, 1, 2);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP);
    char *argv[] = {"sh", "-c", "echo out; echo err >&2; exit 4", NULL};
    pid_t pid;
    EQ(posix_spawnp(&pid, "sh", &fa, &attr, argv, environ), 0);
    int status;
    EQ(waitpid(pid, &status, 0), pid);
    EQ(WEXITSTATUS(status), 4);
    char b[32] = {0};
    int fd = open("out", O_RDONLY);
    EQ(read(fd, b, sizeof b), 8);
    EQ(strcmp(b, "out\nerr\n"), 0);
}

CASE(spawn, missing_program_is_enoent, "execve")
{
    char *argv[] = {"x", NULL};
    pid_t pid;
    EQ(posix_spawn(&pid, "/no/such/program", NULL, NULL, argv, environ), ENOENT);
}

CASE(spawn, vfork_and_exec, "vfork execve")
{
    pid_t pid = vfork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", "exit 6", (char *)NULL);
        _exit(99);
    }
    int status;
    EQ(waitpid(pid, &status, 0), pid);
    EQ(WEXITSTATUS(status), 6);
}

CASE(spawn, execvp_searches_the_path, "execve")
{
    FILE *f = fopen("plain", "w");
    fputs("#!/bin/sh\nexit 8\n", f);
    fclose(f);
    chmod("plain", 0755);
    setenv("PATH", "/none:.:/bin:/usr/bin", 1);
    pid_t pid = fork();
    if (pid == 0) {
        execlp("plain", "plain", (char *)NULL);
        _exit(99);
    }
    int status;
    waitpid(pid, &status, 0);
    EQ(WEXITSTATUS(status), 8);
}

CASE(memory, malloc_of_all_sizes, "brk mmap munmap mremap")
{
    for (size_t n = 1; n < (64u << 20); n *= 3) {
        unsigned char *p = malloc(n);
        CHECK(p);
        memset(p, 0x5a, n);
        p = realloc(p, n * 2);
        CHECK(p && p[0] == 0x5a && p[n - 1] == 0x5a);
        free(p);
    }
}

CASE(memory, calloc_is_zero_after_reuse, "brk mmap")
{
    for (int i = 0; i < 50; i++) {
        unsigned char *p = calloc(1, 300000);
        CHECK(p);
        for (int k = 0; k < 300000; k += 511)
            EQ(p[k], 0);
        memset(p, 0xff, 300000);
        free(p);
    }
}

CASE(memory, aligned_allocation, "mmap")
{
    for (size_t a = 16; a <= 65536; a *= 2) {
        void *p = NULL;
        EQ(posix_memalign(&p, a, 1000), 0);
        EQ((unsigned long)p % a, 0);
        free(p);
    }
}

CASE(memory, shm_open_shares, "openat mmap ftruncate")
{
    char name[64];
    snprintf(name, sizeof name, "/keel-c-%d", (int)getpid());
    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        case_skip("no /dev/shm");
    EQ(shm_unlink(name), 0);
    EQ(ftruncate(fd, 4096), 0);
    int *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(p != MAP_FAILED);
    if (fork() == 0) {
        *p = 31;
        _exit(0);
    }
    wait(NULL);
    EQ(*p, 31);
}

CASE(files, directory_stream, "getdents64 lseek")
{
    for (int i = 0; i < 200; i++) {
        char n[16];
        snprintf(n, sizeof n, "f%d", i);
        close(open(n, O_CREAT | O_WRONLY, 0600));
    }
    DIR *d = opendir(".");
    int count = 0;
    while (readdir(d))
        count++;
    EQ(count, 202);
    rewinddir(d);
    long at = telldir(d);
    struct dirent *e = readdir(d);
    char first[256];
    strcpy(first, e->d_name);
    readdir(d);
    seekdir(d, at);
    EQ(strcmp(readdir(d)->d_name, first), 0);
    closedir(d);
}

static int visited;

static int visit(const char *p, const struct stat *st, int type, struct FTW *w)
{
    (void)p, (void)st, (void)w;
    visited += type == FTW_F || type == FTW_DP;
    return 0;
}

CASE(files, tree_walk_and_glob, "newfstatat getdents64 fchdir")
{
    mkdir("d", 0755);
    mkdir("d/e", 0755);
    close(open("d/x1", O_CREAT, 0600));
    close(open("d/e/x2", O_CREAT, 0600));
    EQ(nftw("d", visit, 8, FTW_DEPTH | FTW_PHYS), 0);
    EQ(visited, 4);
    glob_t g;
    EQ(glob("d/*", 0, NULL, &g), 0);
    EQ(g.gl_pathc, 2);
}

CASE(files, realpath_and_getcwd, "readlink getcwd")
{
    char cwd[4096], b[4096];
    CHECK(getcwd(cwd, sizeof cwd));
    mkdir("d", 0755);
    EQ(symlink("d", "l"), 0);
    CHECK(realpath("l/../l/.", b));
    strcat(cwd, "/d");
    EQ(strcmp(b, cwd), 0);
}

CASE(files, temporary_names, "openat mkdir")
{
    char a[] = "a-XXXXXX", b[] = "b-XXXXXX";
    int fd = mkstemp(a);
    CHECK(fd >= 0 && mkdtemp(b));
    struct stat st;
    EQ(fstat(fd, &st), 0);
    EQ(st.st_mode & 0777, 0600);
    EQ(lockf(fd, F_TLOCK, 10), 0);
    EQ(posix_fallocate(fd, 0, 10000), 0);
    struct statvfs v;
    EQ(statvfs(".", &v), 0);
    CHECK(v.f_namemax == 255);
}

CASE(system, users_and_groups, "openat read")
{
    struct passwd *p = getpwuid(0);
    CHECK(p && !strcmp(p->pw_name, "root"));
    struct group *g = getgrgid(0);
    CHECK(g && !strcmp(g->gr_name, "root"));
}

CASE(system, sysconf_and_uname, "sched_getaffinity uname prlimit64")
{
    EQ(sysconf(_SC_PAGESIZE), 4096);
    EQ(sysconf(_SC_CLK_TCK), 100);
    CHECK(sysconf(_SC_NPROCESSORS_ONLN) >= 1 && sysconf(_SC_PHYS_PAGES) > 1000);
    struct rlimit l;
    getrlimit(RLIMIT_NOFILE, &l);
    EQ(sysconf(_SC_OPEN_MAX), l.rlim_cur);
    struct utsname u;
    EQ(uname(&u), 0);
    EQ(strcmp(u.sysname, "Linux"), 0);
}

CASE(system, pseudo_terminal_functions, "openat ioctl")
{
    int m = posix_openpt(O_RDWR | O_NOCTTY);
    if (m < 0)
        case_skip("no pseudo-terminals");
    EQ(grantpt(m), 0);
    EQ(unlockpt(m), 0);
    int s = open(ptsname(m), O_RDWR | O_NOCTTY);
    CHECK(s >= 0 && isatty(s) && isatty(m));
    struct termios t;
    EQ(tcgetattr(s, &t), 0);
    cfmakeraw(&t);
    EQ(tcsetattr(s, TCSANOW, &t), 0);
    char name[64];
    EQ(ttyname_r(s, name, sizeof name), 0);
    EQ(strcmp(name, ptsname(m)), 0);
}

CASE(system, local_time_and_formatting, "clock_gettime openat")
{
    setenv("TZ", "UTC0", 1);
    tzset();
    time_t t = 951782400;
    char b[64];
    strftime(b, sizeof b, "%Y-%m-%d %H:%M", localtime(&t));
    EQ(strcmp(b, "2000-02-29 00:00"), 0);
    struct timespec a, c;
    clock_gettime(CLOCK_MONOTONIC, &a);
    usleep(10000);
    clock_gettime(CLOCK_MONOTONIC, &c);
    long us = (c.tv_sec - a.tv_sec) * 1000000 + (c.tv_nsec - a.tv_nsec) / 1000;
    CHECK(us >= 10000);
}

CASE(system, timer_with_a_thread, "timer_create timer_settime")
{
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
    timer_t timer;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    EQ(timer_create(CLOCK_MONOTONIC, &ev, &timer), 0);
    struct itimerspec it = {.it_value = {0, 5000000}};
    EQ(timer_settime(timer, 0, &it, NULL), 0);
    int sig;
    EQ(sigwait(&set, &sig), 0);
    EQ(sig, SIGUSR2);
    EQ(timer_delete(timer), 0);
}

CASE(system, sigqueue_and_sigwaitinfo, "rt_sigqueueinfo rt_sigtimedwait")
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    union sigval v = {.sival_int = 99};
    EQ(sigqueue(getpid(), SIGRTMIN, v), 0);
    siginfo_t info;
    EQ(sigwaitinfo(&set, &info), SIGRTMIN);
    EQ(info.si_value.sival_int, 99);
    EQ(info.si_pid, getpid());
}

CASE(system, select_and_poll_wrappers, "select pselect6 poll ppoll")
{
    int p[2];
    EQ(pipe(p), 0);
    fd_set r;
    FD_ZERO(&r);
    FD_SET(p[0], &r);
    struct timeval tv = {0, 1000};
    EQ(select(p[0] + 1, &r, NULL, NULL, &tv), 0);
    EQ(write(p[1], "x", 1), 1);
    struct pollfd f = {.fd = p[0], .events = POLLIN};
    EQ(poll(&f, 1, -1), 1);
    struct timespec ts = {0, 0};
    EQ(ppoll(&f, 1, &ts, NULL), 1);
}

CASE(system, unix_socket_by_name, "socket bind listen accept connect")
{
    struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "s"};
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    EQ(bind(s, (struct sockaddr *)&a, sizeof a), 0);
    EQ(listen(s, 3), 0);
    if (fork() == 0) {
        int c = socket(AF_UNIX, SOCK_STREAM, 0);
        EQ(connect(c, (struct sockaddr *)&a, sizeof a), 0);
        EQ(send(c, "hello", 5, 0), 5);
        _exit(0);
    }
    int c = accept(s, NULL, NULL);
    char b[8];
    EQ(recv(c, b, sizeof b, MSG_WAITALL), 5);
    wait(NULL);
}

static int at_exit_fd;

static void say(void)
{
    if (write(at_exit_fd, "bye", 3) != 3)
        _exit(1);
}

CASE(system, atexit_and_abort, "exit_group tgkill")
{
    int p[2];
    EQ(pipe(p), 0);
    at_exit_fd = p[1];
    if (fork() == 0) {
        atexit(say);
        exit(0);
    }
    int status;
    wait(&status);
    char b[4];
    EQ(read(p[0], b, 4), 3);
    if (fork() == 0) {
        signal(SIGABRT, SIG_IGN);
        abort();
    }
    wait(&status);
    EQ(WTERMSIG(status), SIGABRT);
}

CASE(system, environment, "execve")
{
    EQ(setenv("KEEL", "1", 1), 0);
    EQ(WEXITSTATUS(system("test \"$KEEL\" = 1")), 0);
    EQ(unsetenv("KEEL"), 0);
    EQ(WEXITSTATUS(system("test -z \"$KEEL\"")), 0);
}

CASE(system, loading_a_library, "openat mmap mprotect close")
{
    void *self = dlopen(NULL, RTLD_NOW);
    if (!self)
        case_skip("statically linked");
    CHECK(dlsym(self, "getpid"));
    CHECK(dlopen("no-such-library.so", RTLD_NOW) == NULL && dlerror());
}
