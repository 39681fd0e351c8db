// N16: a socket of the host's, reached by changing what a connect says while it is looked at. Arguments: what is changed, and the
// host's socket. Another thread goes back and forth between that and a listener of this program's own, which greets nobody.
#include "../include/verdict.h"
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <netinet/in.h>

static struct sockaddr_un to;
static const char *host, *what;
static volatile int target = -1;
static int unix_now, inet_now;

static void own(void) { strcpy(to.sun_path, "own"); }

// About as long as the guard's look: else it would hardly ever meet the host's path.
static void linger(void) {
    for (volatile int turn = 0; turn < 500; turn++) {
    }
}

static void *change(void *nothing) {
    for (;;) {
        if (!strcmp(what, "path")) {
            unlink("name");
            if (symlink(host, "name")) usleep(1);
            unlink("name");
            if (symlink("own", "name")) usleep(1);
        } else if (!strcmp(what, "memory")) {
            strcpy(to.sun_path, host);
            linger();
            own();
            linger();
        } else if (!strcmp(what, "family")) {
            to.sun_family = AF_INET;
            strcpy(to.sun_path, host);
            to.sun_family = AF_UNIX;
        } else {
            dup2(inet_now, target);
            dup2(unix_now, target);
        }
    }
    return nothing;
}

static void *serve(void *listener) {
    for (;;) close(accept((int)(long)listener, 0, 0));
    return 0;
}

int main(int count, char **words) {
    if (count != 3) return could_not("what is changed?");
    what = words[1], host = words[2];
    pthread_t thread;
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    to.sun_family = AF_UNIX;
    own();
    unlink("own");
    if (bind(listener, (void *)&to, sizeof to) || listen(listener, 100)) return could_not("a listener");
    pthread_create(&thread, 0, serve, (void *)(long)listener);
    int descriptor = !strcmp(what, "descriptor");
    if (!strcmp(what, "path")) strcpy(to.sun_path, "name");
    if (descriptor) strcpy(to.sun_path, host), target = 900;
    unix_now = socket(AF_UNIX, SOCK_STREAM, 0), inet_now = socket(AF_INET, SOCK_STREAM, 0);
    pthread_create(&thread, 0, change, 0);
    while (descriptor && fcntl(target, F_GETFD) < 0) usleep(1);
    int connected = 0;
    for (int i = 0; i < (descriptor ? 20000 : 5000); i++) {
        if (i % 50 == 0) sched_yield();
        int fd = descriptor ? target : socket(AF_UNIX, SOCK_STREAM, 0);
        char heard[5];
        if (connect(fd, (void *)&to, sizeof to) == 0) {
            connected++;
            struct pollfd wait = {descriptor ? unix_now : fd, POLLIN, 0};
            poll(&wait, 1, 2000);
            if (recv(wait.fd, heard, 5, MSG_DONTWAIT) == 5 && !memcmp(heard, "HELLO", 5)) return escaped(what);
        }
        if (!descriptor) close(fd);
    }
    errno = 0;
    printf("its own listener was reached %d times\n", connected);
    return blocked(what);
}
