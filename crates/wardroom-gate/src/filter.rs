//! The system calls of a gate. It has its descriptors, dials out, and asks resolvers; whoever takes it over can do no
//! more: start no program, open nothing for writing (Landlock holds that), make no executable memory, and reach no
//! socket family but IPv4 and IPv6.

use wardroom_kernel::call_list::CallList;
use wardroom_kernel::seccomp::Test;

/// Its own calls.
pub(crate) const CALLS: CallList = CallList {
    permitted: &[(FREE, &[]), (&["ioctl"], NON_BLOCKING), (&["prctl"], ASK_BACK), (&["socket"], INTERNET)],
    absent: &[],
};

/// Calls that need no second look.
const FREE: &[&str] = &[
    // The event loop.
    "epoll_create1",
    "epoll_ctl",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "eventfd2",
    "poll",
    "ppoll",
    // Sockets it has or makes, and the pipes between them.
    "accept4",
    "connect",
    "bind",
    "sendto",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "sendmmsg",
    "recvmmsg",
    "shutdown",
    "getsockname",
    "getpeername",
    "getsockopt",
    "setsockopt",
    "splice",
    "pipe2",
    "fcntl",
    "read",
    "write",
    "readv",
    "writev",
    "close",
    "dup",
    "dup3",
    // The host's resolver configuration, read-only by Landlock.
    "openat",
    "fstat",
    "newfstatat",
    "statx",
    "lseek",
    "readlink",
    "readlinkat",
    "pread64",
    // Values that are never to be swapped out.
    "mlock",
];

/// `FIONBIO` in the second argument, and so nothing that a terminal would understand.
const NON_BLOCKING: &[Test] = &[Test::Is(1, 0x5421)];
/// `PR_GET_SECCOMP` and `PR_SET_NAME` in the first argument: whether this filter is in force, and a thread's name.
const ASK_BACK: &[Test] = &[Test::OneOf(0, &[21, 15])];
/// `AF_INET` or `AF_INET6` in the first argument.
const INTERNET: &[Test] = &[Test::OneOf(0, &[2, 10])];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_has_a_number_or_belongs_to_another_architecture() {
        CALLS.program().unwrap();
        let elsewhere: Vec<_> = CALLS.unknown().collect();
        if cfg!(target_arch = "x86_64") {
            assert!(elsewhere.is_empty(), "{elsewhere:?}");
        }
    }
}
