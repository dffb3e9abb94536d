/*
 * count: runs a command with everything that it starts, and counts what they do: numbers that are
 * the same on a busy machine and on a quiet one.
 *
 *   count calls COMMAND [ARGUMENT]...            system calls that were begun
 *   count instructions COMMAND [ARGUMENT]...     instructions in user mode, by single steps: slow
 *   count addresses COMMAND [ARGUMENT]...        the same, and where they are: each 16 bytes of code
 *                                                below 16 MiB once, in the order of their first use
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
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>
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

/* Prints where a process is, if nobody was there before. */
static void note(pid_t pid) {
    static unsigned char seen[1 << 20];
    const long at = ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user_regs_struct, rip), 0);
    const unsigned long block = (unsigned long)at >> 4;
    if (block < sizeof seen && !seen[block]) {
        seen[block] = 1;
        dprintf(2, "%lx\n", at);
    }
}

int main(int argc, char **argv) {
    const int notes = argc > 2 && strcmp(argv[1], "addresses") == 0;
    const int steps = notes || (argc > 2 && strcmp(argv[1], "instructions") == 0);
    if (!steps && (argc < 3 || strcmp(argv[1], "calls") != 0)) {
        dprintf(2, "usage: count calls|instructions|addresses COMMAND [ARGUMENT]...\n");
        return 2;
    }
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
            if (notes && has_begun)
                note(pid);
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
