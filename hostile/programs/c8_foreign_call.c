/* C8: system calls of the other two tables, which a filter for one table does not see. Argument: ia32 or x32. The
 * call is made by a program of its own, as one built for that table would. */
#include "../include/verdict.h"
#include <signal.h>
#include <sys/wait.h>

static void ia32_getpid(void) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory", "r8", "r9", "r10", "r11");
    _exit(result > 0 ? 0 : 1);
}

int main(int argc, char **argv) {
    int x32 = argc > 1 && !strcmp(argv[1], "x32");
    if (argc > 2) {
        if (x32) _exit(syscall(0x40000000 | SYS_getpid) > 0 ? 0 : 1);
        ia32_getpid();
    }
    pid_t child = fork();
    if (child < 0) return could_not("fork");
    if (child == 0) {
        execl("/proc/self/exe", argv[0], x32 ? "x32" : "ia32", "call", (char *)NULL);
        _exit(99);
    }
    int status = 0;
    waitpid(child, &status, 0);
    errno = 0;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) return blocked("killed by SIGSYS");
    if (WIFSIGNALED(status)) return could_not("this kernel has no such table");
    if (WEXITSTATUS(status)) return could_not("this kernel does not serve that table");
    return escaped(x32 ? "an x32 system call was served" : "an ia32 system call was served");
}
