/* Create, write, close, rename and unlink files. Argument: how many. */
#include "clock.h"
#include <fcntl.h>
#include <unistd.h>

int main(int argc, char **argv) {
    int count = argc > 1 ? atoi(argv[1]) : 20000;
    long long start = now();
    for (int i = 0; i < count; i++) {
        char from[32], to[32];
        snprintf(from, sizeof from, "storm-%d.new", i);
        snprintf(to, sizeof to, "storm-%d", i);
        int fd = open(from, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0 || write(fd, "x", 1) != 1 || close(fd) || rename(from, to) || unlink(to)) return 1;
    }
    return report(start);
}
