//! The system calls of a gate. It has its descriptors, dials out, and asks resolvers; whoever takes it over can do no
//! more: start no program, open nothing for writing (Landlock holds that), make no executable memory, and reach no
//! socket family but IPv4 and IPv6.

use wardroom_kernel::calls;
use wardroom_kernel::seccomp::{Action, FilterRule, Program, SeccompError, Test, compile};

/// Compiles the filter. A call that is not named fails with EPERM.
pub(crate) fn program() -> Result<Program, SeccompError> {
    let numbers = |names: &'static [&str]| names.iter().filter_map(|name| calls::number(name));
    let allow = |call, when| FilterRule { call, when, action: Action::Allow };
    let mut rules: Vec<FilterRule> = numbers(FREE).map(|call| allow(call, &[])).collect();
    rules.extend(numbers(MEMORY).map(|call| allow(call, NOT_EXECUTABLE)));
    rules.extend(numbers(&["ioctl"]).map(|call| allow(call, NON_BLOCKING)));
    rules.extend(numbers(&["prctl"]).map(|call| allow(call, ASK_BACK)));
    rules.extend(numbers(&["socket"]).map(|call| allow(call, INTERNET)));
    compile(&rules, Action::Errno(EPERM))
}

const EPERM: u16 = 1;

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
    // Memory, locks (the ring to the scribe waits on one), time, chance.
    "brk",
    "munmap",
    "mremap",
    "madvise",
    "mlock",
    "futex",
    "clock_gettime",
    "clock_nanosleep",
    "nanosleep",
    "gettimeofday",
    "getrandom",
    "sched_yield",
    // Threads' and processes' ends, signals, and what the C library does by itself.
    "exit",
    "exit_group",
    "rt_sigreturn",
    "rt_sigaction",
    "rt_sigprocmask",
    "sigaltstack",
    "restart_syscall",
    "set_robust_list",
    "rseq",
    "membarrier",
    "getpid",
    "gettid",
    "tgkill",
];

/// Memory, unless it is to hold code.
const MEMORY: &[&str] = &["mmap", "mprotect"];
/// `PROT_EXEC` in the third argument is not set.
const NOT_EXECUTABLE: &[Test] = &[Test::Masked(2, 4, 0)];
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
        program().unwrap();
        let elsewhere: Vec<_> =
            FREE.iter().chain(MEMORY).filter(|name| calls::number(name).is_none()).collect();
        if cfg!(target_arch = "x86_64") {
            assert!(elsewhere.is_empty(), "{elsewhere:?}");
        }
    }
}
