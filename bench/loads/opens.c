/* Open one file a thread for writing, again and again. Arguments: threads, opens a thread. */
#include "clock.h"
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

static int opens;

static void *open_many(void *name) {
    for (int i = 0; i < opens; i++) {
        int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0) return (void *)1;
        close(fd);
    }
    return NULL;
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 8;
    static char names[64][32];
    pthread_t ids[64];
    opens = argc > 2 ? atoi(argv[2]) : 125000;
    if (threads > 64) return 1;
    long long start = now();
    for (int i = 0; i < threads; i++) {
        snprintf(names[i], sizeof names[i], "counted-open-%d", i);
        if (pthread_create(&ids[i], NULL, open_many, names[i])) return 1;
    }
    for (int i = 0; i < threads; i++) {
        void *failed = NULL;
        pthread_join(ids[i], &failed);
        if (failed) return 1;
    }
    return report(start);
}
