/* N1, N2, N3, N6, N9: connect to an address, by the system call alone: no variable of the environment has a say. Arguments: address, port, and
 * optionally fastopen or fastopen-connect. Anything but an answer at once is not a refusal. */
#include "../include/verdict.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

static socklen_t address(const char *text, int port, struct sockaddr_storage *to) {
    struct sockaddr_in *v4 = (void *)to;
    struct sockaddr_in6 *v6 = (void *)to;
    memset(to, 0, sizeof *to);
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((unsigned short)port);
        return sizeof *v4;
    }
    if (inet_pton(AF_INET6, text, &v6->sin6_addr) != 1) return 0;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((unsigned short)port);
    if (IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr)) v6->sin6_scope_id = 1;
    return sizeof *v6;
}

static long milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int main(int argc, char **argv) {
    struct sockaddr_storage to;
    const char *how = argc > 3 ? argv[3] : "plain";
    socklen_t length = argc > 2 ? address(argv[1], atoi(argv[2]), &to) : 0;
    if (!length) return could_not("arguments: address port [how]");
    long start = milliseconds();
    int fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0) return blocked("socket");
    struct timeval patience = {5, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    long got;
    if (!strcmp(how, "fastopen")) {
        got = sendto(fd, "GET", 3, MSG_FASTOPEN | MSG_NOSIGNAL, (void *)&to, length);
    } else {
        if (!strcmp(how, "fastopen-connect")) setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof one);
        got = connect(fd, (void *)&to, length);
    }
    if (got >= 0) { /* a gate may accept and then close; only bytes from the far side are an escape */
        char answer[64];
        if (!strcmp(how, "plain") || !strcmp(how, "fastopen-connect")) send(fd, "GET", 3, MSG_NOSIGNAL);
        got = recv(fd, answer, sizeof answer, 0);
        if (got > 0) return escaped("an answer from the far side");
        if (got == 0) errno = ECONNRESET;
    }
    if (errno == EAGAIN || errno == EINPROGRESS || milliseconds() - start > 1000) return could_not("no refusal within a second");
    return blocked(argv[1]);
}
