/* N5: sockets that are neither TCP, UDP nor Unix. Argument: which. A socket is enough for an escape. */
#include "../include/verdict.h"
#include <sys/socket.h>

static const struct { const char *name; int family, type, protocol; } sockets[] = {
    {"icmp", AF_INET, SOCK_RAW, 1}, {"ping", AF_INET, SOCK_DGRAM, 1}, {"raw", AF_INET, SOCK_RAW, 255},
    {"raw6", AF_INET6, SOCK_RAW, 58}, {"packet", AF_PACKET, SOCK_RAW, 0x0300}, {"sctp", AF_INET, SOCK_STREAM, 132},
    {"dccp", AF_INET, 6, 33}, {"mptcp", AF_INET, SOCK_STREAM, 262}, {"udplite", AF_INET, SOCK_DGRAM, 136},
    {"vsock", AF_VSOCK, SOCK_STREAM, 0}, {"alg", AF_ALG, SOCK_SEQPACKET, 0}, {"bluetooth", AF_BLUETOOTH, SOCK_RAW, 1},
    {"rxrpc", AF_RXRPC, SOCK_DGRAM, AF_INET}, {"netlink-netfilter", AF_NETLINK, SOCK_RAW, 12},
    {"netlink-audit", AF_NETLINK, SOCK_RAW, 9}, {"netlink-uevent", AF_NETLINK, SOCK_RAW, 15}, {"netlink-xfrm", AF_NETLINK, SOCK_RAW, 6},
    {"key", AF_KEY, SOCK_RAW, 2}, {"tipc", AF_TIPC, SOCK_SEQPACKET, 0}, {"xdp", AF_XDP, SOCK_RAW, 0},
};

int main(int argc, char **argv) {
    const char *wanted = argc > 1 ? argv[1] : "raw";
    for (size_t i = 0; i < sizeof sockets / sizeof *sockets; i++) {
        if (strcmp(sockets[i].name, wanted)) continue;
        if (socket(sockets[i].family, sockets[i].type, sockets[i].protocol) < 0) return blocked(wanted);
        return escaped(wanted);
    }
    errno = 0;
    return could_not("no such socket in this program");
}
