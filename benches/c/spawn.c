/*
 * spawn: starts commands as an engine does, and tells what each took. All runtimes and the floor
 * are started by it, so that all pay the same for the start.
 *
 *   spawn COUNT PARALLEL PREFIX COMMAND [ARGUMENT]... [ , COMMAND ... ]
 *
 * COUNT rounds, PARALLEL of them at once. A round is its commands, one after the other; `{}` in an
 * argument becomes PREFIX and the round's number. The command `await` waits until the processes
 * have ended that the round's commands left behind, which this program is the subreaper of. It is
 * not timed, and is for one round at a time only.
 *
 * Prints a line for each timed command, then the time of all:
 *
 *   STEP WALL_NS USER_US SYSTEM_US PEAK_RSS_KIB
 *   total WALL_NS
 *
 * In C and static, because a started program's peak memory begins with that of the process that it
 * was vforked from: this one's is 0.2 MiB.
 *
 *   cc -O2 -static -o spawn spawn.c
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ARGUMENTS_MAX = 64, STEPS_MAX = 8, PARALLEL_MAX = 256, ID_MAX = 64, ROUNDS_MAX = 1000000 };

extern char **environ;

struct slot {
    pid_t pid;
    int round, step;
    uint64_t started_ns;
};

static struct slot slots[PARALLEL_MAX];
static char **steps[STEPS_MAX];
static int step_count;
static const char *prefix;

static _Noreturn void fail(const char *what) {
    dprintf(2, "spawn: %s: %s\n", what, strerror(errno));
    exit(125);
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
}

static int is_await(int step) {
    return strcmp(steps[step][0], "await") == 0;
}

/* With the round's name in place of `{}`. */
static void start(struct slot *slot) {
    static char texts[ARGUMENTS_MAX][512];
    char *arguments[ARGUMENTS_MAX + 1], id[ID_MAX];
    int count = 0;
    snprintf(id, sizeof id, "%s%d", prefix, slot->round);
    for (char **word = steps[slot->step]; *word && count < ARGUMENTS_MAX; word++, count++) {
        char *hole = strstr(*word, "{}");
        arguments[count] = *word;
        if (!hole)
            continue;
        snprintf(texts[count], sizeof texts[count], "%.*s%s%s", (int)(hole - *word), *word, id,
                 hole + 2);
        arguments[count] = texts[count];
    }
    arguments[count] = 0;
    slot->started_ns = now_ns();
    errno = posix_spawn(&slot->pid, arguments[0], 0, 0, arguments, environ);
    if (errno)
        fail(arguments[0]);
}

static uint64_t us(struct timeval time) {
    return time.tv_sec * UINT64_C(1000000) + time.tv_usec;
}

static void check(const struct slot *slot, int status) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return;
    dprintf(2, "spawn: round %d, %s %s: status %#x\n", slot->round, steps[slot->step][0],
            steps[slot->step][1] ? steps[slot->step][1] : "", status);
    exit(1);
}

/* Waits for the end of a command. What else ends was left behind by one. */
static struct slot *reap(int parallel) {
    for (;;) {
        int status;
        struct rusage usage;
        pid_t pid = wait4(-1, &status, 0, &usage);
        uint64_t ended_ns = now_ns();
        if (pid < 0)
            fail("wait");
        for (int i = 0; i < parallel; i++)
            if (slots[i].pid == pid) {
                check(&slots[i], status);
                printf("%d %llu %llu %llu %ld\n", slots[i].step,
                       (unsigned long long)(ended_ns - slots[i].started_ns),
                       (unsigned long long)us(usage.ru_utime),
                       (unsigned long long)us(usage.ru_stime), usage.ru_maxrss);
                return &slots[i];
            }
    }
}

static void await_all(void) {
    while (wait(0) > 0)
        ;
}

static void read_steps(char **words) {
    steps[step_count++] = words;
    for (; *words; words++)
        if (strcmp(*words, ",") == 0) {
            *words = 0;
            if (step_count == STEPS_MAX || !words[1]) {
                errno = EINVAL;
                fail("too many commands, or an empty one");
            }
            steps[step_count++] = words + 1;
        }
}

int main(int argc, char **argv) {
    if (argc < 5) {
        dprintf(2, "usage: spawn COUNT PARALLEL PREFIX COMMAND [ARGUMENT]... [ , COMMAND ... ]\n");
        return 2;
    }
    int count = atoi(argv[1]), parallel = atoi(argv[2]), next = 0, running = 0;
    prefix = argv[3];
    read_steps(argv + 4);
    if (count < 1 || count > ROUNDS_MAX || parallel < 1 || parallel > PARALLEL_MAX) {
        dprintf(2, "spawn: COUNT is 1 to %d, PARALLEL 1 to %d\n", ROUNDS_MAX, PARALLEL_MAX);
        return 2;
    }
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        fail("become a subreaper");
    static char buffer[64 * 1024];
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    uint64_t began_ns = now_ns();
    for (; running < parallel && next < count; running++) {
        slots[running] = (struct slot){.round = next++};
        start(&slots[running]);
    }
    while (running > 0) {
        struct slot *slot = reap(parallel);
        slot->step++;
        while (slot->step < step_count && is_await(slot->step)) {
            await_all();
            slot->step++;
        }
        if (slot->step == step_count) {
            slot->pid = 0;
            if (next == count) {
                running--;
                continue;
            }
            *slot = (struct slot){.round = next++};
        }
        start(slot);
    }
    printf("total %llu\n", (unsigned long long)(now_ns() - began_ns));
    return 0;
}
