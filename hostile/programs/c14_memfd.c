/* C14: run a program that has no path. Permitted; the record must say what the kernel really ran. */
#include "../include/verdict.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/wait.h>

int main(void) {
    int from = open("/bin/true", O_RDONLY | O_CLOEXEC);
    int to = memfd_create("wardroom-hostile", MFD_CLOEXEC);
    if (from < 0 || to < 0) return could_not("a program in memory");
    while (sendfile(to, from, NULL, 1 << 20) > 0) {}
    pid_t child = fork();
    if (child == 0) {
        char *argv[] = {"/usr/bin/innocent", NULL}, *envp[] = {NULL};
        syscall(SYS_execveat, to, "", argv, envp, AT_EMPTY_PATH);
        _exit(99);
    }
    int status = 0;
    waitpid(child, &status, 0);
    errno = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return done("a program in memory ran");
    return blocked("a program in memory did not run");
}
