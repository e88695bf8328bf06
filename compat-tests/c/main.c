/* Lists and runs the C cases: keel-compat-c [--list | --tap] [--slow N] [PATTERN]
 *
 * Each case runs in a child of its own with a directory of its own and ten seconds,
 * times N on a slow machine.
 */
#include "case.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static unsigned slow = 1;
static struct case_entry *first, **last = &first;

void case_register(struct case_entry *entry)
{
    *last = entry;
    last = &entry->next;
}

void case_fail(const char *file, int line, const char *text, long got, long want)
{
    dprintf(2, "# %s:%d: %s: got %ld, expected %ld (errno %d %s)\n", file, line, text, got, want, errno,
            strerror(errno));
    _exit(FAIL_CODE);
}

void case_skip(const char *reason)
{
    dprintf(2, "# skip: %s\n", reason);
    _exit(SKIP_CODE);
}

/* Runs one case and answers its wait status. */
static int run_case(const struct case_entry *entry)
{
    char dir[] = "/tmp/keel-c-XXXXXX";
    if (!mkdtemp(dir)) {
        perror("mkdtemp");
        exit(2);
    }
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        alarm(10 * slow);
        if (chdir(dir))
            _exit(FAIL_CODE);
        entry->run();
        exit(0);
    }
    int status = FAIL_CODE << 8;
    if (pid > 0) {
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        kill(-pid, SIGKILL);
    }
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    if (system(command))
        fprintf(stderr, "# could not remove %s\n", dir);
    return status;
}

int main(int argc, char **argv)
{
    int list = 0;
    const char *pattern = "";
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--list"))
            list = 1;
        else if (!strcmp(argv[i], "--slow") && i + 1 < argc)
            slow = (unsigned)atoi(argv[++i]);
        else if (strcmp(argv[i], "--tap"))
            pattern = argv[i];
    }
    int total = 0, number = 0, failed = 0;
    for (struct case_entry *e = first; e; e = e->next)
        total += strstr(e->group, pattern) || strstr(e->name, pattern);
    if (!list)
        printf("TAP version 13\n1..%d\n", total);
    for (struct case_entry *e = first; e; e = e->next) {
        if (!strstr(e->group, pattern) && !strstr(e->name, pattern))
            continue;
        if (list) {
            printf("c/%s/%s\t%s\n", e->group, e->name, e->calls);
            continue;
        }
        int status = run_case(e);
        int skip = WIFEXITED(status) && WEXITSTATUS(status) == SKIP_CODE;
        int good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        printf("%s %d - c/%s/%s%s\n", good || skip ? "ok" : "not ok", ++number, e->group, e->name,
               skip ? " # SKIP" : "");
        if (WIFSIGNALED(status))
            printf("  ---\n  signal: %d\n  ...\n", WTERMSIG(status));
        failed += !good && !skip;
    }
    if (!list)
        printf("# %d cases: %d failed\n", number, failed);
    return failed != 0;
}
