/* C6: read or steer another process, here a child of our own. Argument: the call. */
#include "../include/verdict.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

static int secret = 42;

static long attempt(const char *call, pid_t child) {
    int taken = 0;
    struct iovec here = {&taken, sizeof taken}, there = {&secret, sizeof secret};
    if (!strcmp(call, "ptrace")) return ptrace(PTRACE_SEIZE, child, 0, 0);
    if (!strcmp(call, "process_vm_readv")) return syscall(SYS_process_vm_readv, child, &here, 1, &there, 1, 0);
    if (!strcmp(call, "process_vm_writev")) return syscall(SYS_process_vm_writev, child, &here, 1, &there, 1, 0);
    if (!strcmp(call, "kcmp")) return syscall(SYS_kcmp, getpid(), child, 0 /* KCMP_FILE */, 0, 0);
    if (!strcmp(call, "pidfd_getfd")) {
        long pidfd = syscall(SYS_pidfd_open, child, 0);
        if (pidfd < 0) return could_not("pidfd_open");
        return syscall(SYS_pidfd_getfd, pidfd, 1, 0);
    }
    errno = EINVAL;
    return could_not(call);
}

int main(int argc, char **argv) {
    const char *call = argc > 1 ? argv[1] : "ptrace";
    pid_t child = fork();
    if (child < 0) return could_not("fork");
    if (child == 0) {
        pause();
        _exit(0);
    }
    long got = attempt(call, child);
    int error = errno;
    kill(child, SIGKILL);
    errno = error;
    if (got < 0) return blocked(call);
    return escaped(call);
}
