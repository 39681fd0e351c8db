/* C3: new namespaces, in which one would hold every capability. Argument: unshare, clone, clone3, setns. */
#include "../include/verdict.h"
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

static void child_escaped(void) { _exit(0); }

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "unshare";
    unsigned long flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET;
    if (!strcmp(how, "unshare")) {
        if (syscall(SYS_unshare, flags) < 0) return blocked("unshare(user, mount, net)");
        return escaped("new user, mount and network namespaces");
    }
    if (!strcmp(how, "setns")) {
        int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        if (fd < 0) return could_not("/proc/self/ns/net");
        if (syscall(SYS_setns, fd, 0) < 0) return blocked("setns(net)");
        return escaped("entered a namespace");
    }
    long pid;
    if (!strcmp(how, "clone")) {
        pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    } else {
        struct clone_args args = {.flags = flags, .exit_signal = SIGCHLD};
        pid = syscall(SYS_clone3, &args, sizeof args);
        if (pid < 0 && errno == ENOSYS) /* refused unread, as every libc understands; the old call is next */
            pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    }
    if (pid < 0) return blocked(how);
    if (pid == 0) child_escaped();
    waitpid((pid_t)pid, NULL, 0);
    return escaped("a child in new user, mount and network namespaces");
}
