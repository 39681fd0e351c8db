/* C14: another thread changes the path while an exec is being looked at. Permitted by nature; what the kernel really loaded must be on
 * record. Argument: rounds. Two copies of this program are told apart by their names. */
#include "../include/verdict.h"
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char path[] = "/tmp/race-a";
static volatile int stop;

static void *flip(void *unused) {
    (void)unused;
    volatile char *letter = &path[sizeof path - 2];
    while (!stop) { *letter = 'b'; *letter = 'a'; }
    return NULL;
}

static int run(void *unused) {
    (void)unused;
    char *argv[] = {"race", "child", NULL}, *envp[] = {NULL};
    execve(path, argv, envp);
    _exit(99);
}

static void copy(const char *to) {
    int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    while (sendfile(out, from, NULL, 1 << 20) > 0) {}
    close(from);
    close(out);
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "child")) {
        char image[64] = {0};
        if (readlink("/proc/self/exe", image, sizeof image - 1) < 0) _exit(98);
        _exit(image[strlen(image) - 1] == 'a' ? 11 : 12);
    }
    int rounds = argc > 1 ? atoi(argv[1]) : 100, a = 0, b = 0;
    copy("/tmp/race-a");
    copy("/tmp/race-b");
    pthread_t thread;
    if (pthread_create(&thread, NULL, flip, NULL)) return could_not("a thread");
    static char stack[65536] __attribute__((aligned(16)));
    for (int i = 0; i < rounds; i++) {
        pid_t child = clone(run, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
        int status = 0;
        if (child < 0 || waitpid(child, &status, 0) < 0) return could_not("clone");
        a += WIFEXITED(status) && WEXITSTATUS(status) == 11;
        b += WIFEXITED(status) && WEXITSTATUS(status) == 12;
    }
    stop = 1;
    pthread_join(thread, NULL);
    unlink("/tmp/race-a");
    unlink("/tmp/race-b");
    printf("ran a %d times, b %d times\n", a, b);
    errno = 0;
    if (a && b) return done("the race was run");
    return could_not("both copies did not get their turn");
}
