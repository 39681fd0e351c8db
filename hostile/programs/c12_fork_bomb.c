/* C12: as many processes as the machine gives. Argument: how many would be an escape. */
#include "../include/verdict.h"
#include <signal.h>
#include <sys/wait.h>

int main(int argc, char **argv) {
    int enough = argc > 1 ? atoi(argv[1]) : 1000, made = 0, error = 0;
    pid_t *children = calloc((size_t)enough, sizeof *children);
    if (!children) return could_not("memory for their numbers");
    while (made < enough) {
        pid_t child = fork();
        if (child == 0) {
            pause();
            _exit(0);
        }
        if (child < 0) { error = errno; break; }
        children[made++] = child;
    }
    for (int i = 0; i < made; i++) kill(children[i], SIGKILL);
    while (wait(NULL) > 0) {}
    char text[64];
    snprintf(text, sizeof text, "%d processes", made);
    errno = error;
    return made < enough ? blocked(text) : escaped(text);
}
