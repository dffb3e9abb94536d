/*
 * floor: one default container, made with what the kernel needs for it and nothing else.
 *
 * The yardstick of `cargo xtask bench runtime`. It is started as a runtime is, makes the container
 * that `spec` describes (new mount, UTS, IPC, pid, network and cgroup namespaces; a cgroup in each
 * v1 hierarchy, or one on v2 that is joined at the clone; the usual mounts, device nodes, links,
 * masked and read-only paths; a new root), executes the program in it, waits, and removes the
 * cgroups. It reads no configuration, checks nothing, keeps no state, has no seccomp, drops no
 * capability and undoes nothing: no runtime can be as careless, so a ratio to it is what care
 * costs.
 *
 *   floor ROOTFS PROGRAM [ARGUMENT]
 *
 *   cc -O2 -static -o floor floor.c
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define CGROUPS "/sys/fs/cgroup"

/* Ends the program where a call fails that the container can't do without. */
static long need(long result, const char *what) {
    if (result < 0) {
        dprintf(2, "floor: %s: %s\n", what, strerror(errno));
        _exit(125);
    }
    return result;
}

/* ---- cgroups ---- */

static const char *const CONTROLLERS[] = {
    "cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids",
};

static char name[32]; /* of this container's groups */

static char *group_path(int controller, const char *file) {
    static char path[256];
    if (controller < 0)
        snprintf(path, sizeof path, CGROUPS "/%s%s", name, file);
    else
        snprintf(path, sizeof path, CGROUPS "/%s/%s%s", CONTROLLERS[controller], name, file);
    return path;
}

static void put(const char *path, const char *text, size_t length) {
    int fd = need(open(path, O_WRONLY | O_CLOEXEC), path);
    need(write(fd, text, length), path);
    close(fd);
}

/* A cpuset without processors and memory nodes takes no process. */
static void fill_cpuset(int controller) {
    static const char *const FILES[] = {"cpuset.cpus", "cpuset.mems"};
    for (size_t i = 0; i < COUNT(FILES); i++) {
        char path[128], text[512];
        snprintf(path, sizeof path, CGROUPS "/cpuset/%s", FILES[i]);
        int fd = need(open(path, O_RDONLY | O_CLOEXEC), path);
        long length = need(read(fd, text, sizeof text), path);
        close(fd);
        snprintf(path, sizeof path, "/%s", FILES[i]);
        put(group_path(controller, path), text, length);
    }
}

/* ---- the container's side ---- */

static void mount_filesystems(const char *root) {
    const unsigned long QUIET = MS_NOSUID | MS_NOEXEC | MS_NODEV;
    need(mount("", "/", "", MS_PRIVATE | MS_REC, 0), "make mounts private");
    need(mount(root, root, "", MS_BIND | MS_REC, 0), "bind the root");
    need(chdir(root), "enter the root");
    need(mount("proc", "proc", "proc", 0, 0), "mount proc");
    need(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"),
         "mount dev");
    mkdir("dev/pts", 0755);
    mkdir("dev/shm", 0755);
    mkdir("dev/mqueue", 0755);
    need(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
               "newinstance,ptmxmode=0666,mode=0620,gid=5"),
         "mount devpts");
    need(mount("shm", "dev/shm", "tmpfs", QUIET, "mode=1777,size=65536k"), "mount shm");
    need(mount("mqueue", "dev/mqueue", "mqueue", QUIET, 0), "mount mqueue");
    need(mount("sysfs", "sys", "sysfs", QUIET | MS_RDONLY, 0), "mount sysfs");
}

static void make_devices(void) {
    static const struct {
        const char *path;
        int major, minor;
    } NODES[] = {
        {"dev/null", 1, 3},   {"dev/zero", 1, 5},    {"dev/full", 1, 7},
        {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0},
    };
    static const char *const LINKS[][2] = {
        {"/proc/self/fd", "dev/fd"},         {"/proc/self/fd/0", "dev/stdin"},
        {"/proc/self/fd/1", "dev/stdout"},   {"/proc/self/fd/2", "dev/stderr"},
        {"pts/ptmx", "dev/ptmx"},
    };
    umask(0);
    for (size_t i = 0; i < COUNT(NODES); i++)
        need(mknod(NODES[i].path, S_IFCHR | 0666, makedev(NODES[i].major, NODES[i].minor)),
             NODES[i].path);
    for (size_t i = 0; i < COUNT(LINKS); i++)
        need(symlink(LINKS[i][0], LINKS[i][1]), LINKS[i][1]);
}

/* Paths that this kernel lacks need no cover. */
static void cover_paths(void) {
    static const char *const READONLY[] = {
        "proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger",
    };
    static const char *const MASKED[] = {
        "proc/kcore", "proc/keys", "proc/latency_stats", "proc/timer_list", "proc/sched_debug",
    };
    const unsigned long AGAIN = MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
    for (size_t i = 0; i < COUNT(READONLY); i++)
        if (mount(READONLY[i], READONLY[i], "", MS_BIND | MS_REC, 0) == 0)
            need(mount("", READONLY[i], "", AGAIN, 0), READONLY[i]);
    for (size_t i = 0; i < COUNT(MASKED); i++)
        mount("dev/null", MASKED[i], "", MS_BIND, 0);
}

static void change_root(void) {
    need(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    need(umount2(".", MNT_DETACH), "detach the old root");
    need(chdir("/"), "enter the new root");
}

static void contain(char **arguments) {
    need(sethostname("floor", 5), "set the hostname");
    mount_filesystems(arguments[0]);
    make_devices();
    cover_paths();
    change_root();
    need(syscall(SYS_close_range, 3, ~0U, 0), "close descriptors");
    execv(arguments[1], arguments + 1);
    _exit(127);
}

/* ---- the host's side ---- */

static pid_t begin(char **arguments, int group, int *go) {
    struct clone_args how = {
        .flags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET |
                 CLONE_NEWCGROUP,
        .exit_signal = SIGCHLD,
    };
    if (group >= 0) {
        how.flags |= CLONE_INTO_CGROUP;
        how.cgroup = group;
    }
    pid_t pid = need(syscall(SYS_clone3, &how, sizeof how), "clone3");
    if (pid == 0) {
        char byte;
        close(go[1]);
        need(read(go[0], &byte, 1), "wait for the cgroups");
        contain(arguments);
    }
    return pid;
}

int main(int argc, char **argv) {
    int groups[COUNT(CONTROLLERS)], count = 0, group = -1, go[2], status;
    if (argc < 3) {
        dprintf(2, "usage: floor ROOTFS PROGRAM [ARGUMENT]\n");
        return 2;
    }
    snprintf(name, sizeof name, "floor-%d", getpid());
    if (access(CGROUPS "/cgroup.procs", F_OK) == 0) {
        need(mkdir(group_path(-1, ""), 0755), "make the cgroup");
        group = need(open(group_path(-1, ""), O_PATH | O_CLOEXEC), "open the cgroup");
    } else
        for (int i = 0; i < (int)COUNT(CONTROLLERS); i++) {
            if (mkdir(group_path(i, ""), 0755) < 0)
                continue; /* a kernel without this controller */
            groups[count++] = i;
            if (strcmp(CONTROLLERS[i], "cpuset") == 0)
                fill_cpuset(i);
        }
    need(pipe2(go, O_CLOEXEC), "pipe");
    pid_t pid = begin(argv + 1, group, go);
    char text[16];
    int length = snprintf(text, sizeof text, "%d", pid);
    for (int i = 0; i < count; i++)
        put(group_path(groups[i], "/cgroup.procs"), text, length);
    need(write(go[1], "g", 1), "let it run");
    need(waitpid(pid, &status, 0), "wait");
    if (group >= 0)
        need(rmdir(group_path(-1, "")), "remove the cgroup");
    for (int i = 0; i < count; i++)
        need(rmdir(group_path(groups[i], "")), "remove a cgroup");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
