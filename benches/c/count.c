/*
 * count: runs a command with everything that it starts, and counts what they do: numbers that are
 * the same on a busy machine and on a quiet one.
 *
 *   count calls COMMAND [ARGUMENT]...            system calls that were begun
 *   count instructions COMMAND [ARGUMENT]...     instructions in user mode, by single steps: slow
 *
 * Prints the number as the last line of standard error, and ends as the command does.
 *
 *   cc -O2 -static -o count count.c
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static _Noreturn void fail(const char *what) {
    dprintf(2, "count: %s: %s\n", what, strerror(errno));
    exit(125);
}

/* Stopped before its first instruction, so that the tracer can say what it wants. */
static pid_t begin(char **command) {
    pid_t pid = fork();
    if (pid < 0)
        fail("fork");
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0)
            fail("trace");
        raise(SIGSTOP);
        execv(command[0], command);
        fail(command[0]);
    }
    return pid;
}

int main(int argc, char **argv) {
    if (argc < 3 || (strcmp(argv[1], "calls") != 0 && strcmp(argv[1], "instructions") != 0)) {
        dprintf(2, "usage: count calls|instructions COMMAND [ARGUMENT]...\n");
        return 2;
    }
    const int steps = strcmp(argv[1], "instructions") == 0;
    const int go_on = steps ? PTRACE_SINGLESTEP : PTRACE_SYSCALL;
    const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
                         PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
    unsigned long long stops = 0;
    int result = 125, status, has_begun = 0;
    pid_t first = begin(argv + 2), pid;
    if (waitpid(first, &status, 0) < 0 || ptrace(PTRACE_SETOPTIONS, first, 0, options) < 0)
        fail("set options");
    if (ptrace(go_on, first, 0, 0) < 0)
        fail("go on");
    while ((pid = waitpid(-1, &status, __WALL)) > 0) {
        if (!WIFSTOPPED(status)) {
            if (pid == first)
                result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            continue;
        }
        const int signal = WSTOPSIG(status), event = status >> 16;
        int deliver = 0;
        if (event == PTRACE_EVENT_EXEC && !has_begun) {
            /* What came before was this program's own. */
            has_begun = 1;
            stops = 0;
        } else if (event) {
            /* A new process, or a later exec: nothing of its own. */
        } else if (signal == (SIGTRAP | 0x80) || (steps && signal == SIGTRAP)) {
            stops++;
        } else if (signal != SIGSTOP && signal != SIGTRAP) {
            deliver = signal;
        }
        /* One that was killed meanwhile is gone. */
        if (ptrace(go_on, pid, 0, deliver) < 0 && errno != ESRCH)
            fail("go on");
    }
    /* A call stops at its begin and at its end; the last one has no end, nor has an exec's begin. */
    dprintf(2, "%llu\n", steps ? stops : (stops + 1) / 2);
    return result;
}
