/* C12: as much memory as the machine gives, touched. Argument: how many MiB would be an escape. */
#include "../include/verdict.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

static void take(size_t mebibytes) {
    for (size_t i = 0; i < mebibytes; i++) {
        char *taken = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (taken == MAP_FAILED) _exit(1);
        memset(taken, 1, 1 << 20);
    }
    _exit(0);
}

int main(int argc, char **argv) {
    pid_t child = fork();
    if (child < 0) return could_not("fork");
    if (child == 0) take(argc > 1 ? (size_t)atoi(argv[1]) : 512);
    int status = 0;
    waitpid(child, &status, 0);
    errno = 0;
    if (WIFSIGNALED(status)) return blocked("killed for its memory");
    if (WEXITSTATUS(status)) return blocked("no more memory");
    return escaped("all the memory that it asked for");
}
