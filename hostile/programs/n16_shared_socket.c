// N16: sockets that a service of the host's keeps where the agent can see them. Arguments: stream, packet or datagram, and files.
// Each is tried by its name, by a link and by a hard link. A service greets; of datagrams every way to send one counts.
#include "../include/verdict.h"
#include <stddef.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

static socklen_t address(struct sockaddr_un *to, const char *path) {
    memset(to, 0, sizeof *to);
    to->sun_family = AF_UNIX;
    strncpy(to->sun_path, path, sizeof to->sun_path - 1);
    return sizeof *to;
}

static int greeted(int kind, const char *path) {
    struct sockaddr_un to;
    struct timeval patience = {5, 0};
    char heard[8] = "";
    int fd = socket(AF_UNIX, kind, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    int got = connect(fd, (void *)&to, address(&to, path)) == 0 && recv(fd, heard, 5, 0) == 5 && !memcmp(heard, "HELLO", 5);
    int error = errno;
    close(fd);
    errno = error;
    return got;
}

static int sent(const char *path) {
    struct sockaddr_un to;
    socklen_t length = address(&to, path);
    struct iovec part = {"x", 1};
    struct msghdr message = {.msg_name = &to, .msg_namelen = length, .msg_iov = &part, .msg_iovlen = 1};
    struct mmsghdr many = {.msg_hdr = message};
    int fds[3] = {-1, -1, -1}, error = 0;
    fds[0] = socket(AF_UNIX, SOCK_DGRAM, 0);
    error = errno;
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, fds + 1)) error = errno;
    for (int i = 0; i < 2; i++) {
        if (fds[i] < 0) continue;
        if (sendto(fds[i], "x", 1, 0, (void *)&to, length) == 1) return 1;
        if (sendmsg(fds[i], &message, 0) == 1 || sendmmsg(fds[i], &many, 1, 0) == 1) return 1;
        if (connect(fds[i], (void *)&to, length) == 0 && send(fds[i], "x", 1, 0) == 1) return 1;
        error = errno;
    }
    errno = error;
    return 0;
}

int main(int count, char **words) {
    if (count < 3) return could_not("which sockets?");
    int datagram = !strcmp(words[1], "datagram"), kind = !strcmp(words[1], "packet") ? SOCK_SEQPACKET : SOCK_STREAM;
    for (int i = 2; i < count; i++) {
        unlink("a-link");
        unlink("a-hard-link");
        if (symlink(words[i], "a-link")) return could_not("a link");
        // Another mount cannot be linked to; then that name leads nowhere.
        int linked = link(words[i], "a-hard-link");
        const char *names[] = {"a-link", words[i], linked == 0 ? "a-hard-link" : words[i]};
        for (int j = 0; j < 3; j++)
            if (datagram ? sent(names[j]) : greeted(kind, names[j])) return escaped(names[j]);
    }
    return blocked(words[1]);
}
