//! The system calls of a scribe. It has its rings and its control socket, and two directories (Landlock holds that); whoever
//! takes it over can do no more: start no program, make no socket, signal nobody, make no executable memory.

use wardroom_kernel::calls;
use wardroom_kernel::seccomp::{Action, FilterRule, Program, SeccompError, Test, compile};

/// Compiles the filter. A call that is not named fails with EPERM, but for `clone3`, which libraries try first.
pub(crate) fn program() -> Result<Program, SeccompError> {
    let numbers = |names: &'static [&str]| names.iter().filter_map(|name| calls::number(name));
    let allow = |call, when| FilterRule { call, when, action: Action::Allow };
    let mut rules: Vec<FilterRule> = numbers(FREE).map(|call| allow(call, &[])).collect();
    rules.extend(numbers(MEMORY).map(|call| allow(call, NOT_EXECUTABLE)));
    rules.extend(numbers(&["clone"]).map(|call| allow(call, A_THREAD)));
    rules.extend(numbers(&["prctl"]).map(|call| allow(call, NAMES)));
    rules.extend(numbers(&["clone3"]).map(|call| FilterRule {
        call,
        when: &[],
        action: Action::Errno(ENOSYS),
    }));
    compile(&rules, Action::Errno(EPERM))
}

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;

/// Calls that need no second look.
const FREE: &[&str] = &[
    // Its files.
    "open",
    "openat",
    "close",
    "read",
    "write",
    "readv",
    "writev",
    "pread64",
    "pwrite64",
    "lseek",
    "fstat",
    "newfstatat",
    "stat",
    "statx",
    "fstatfs",
    "getdents64",
    "mkdir",
    "mkdirat",
    "unlink",
    "unlinkat",
    "rename",
    "renameat",
    "renameat2",
    "fadvise64",
    "fallocate",
    "ftruncate",
    "fsync",
    "fdatasync",
    "flock",
    "fcntl",
    "dup",
    // Its keeper.
    "sendto",
    "sendmsg",
    "recvfrom",
    "recvmsg",
    "poll",
    "ppoll",
    // Memory, locks (producers wait on the rings, and it waits for them), time, chance.
    "brk",
    "munmap",
    "mremap",
    "madvise",
    "msync",
    "futex",
    "futex_waitv",
    "clock_gettime",
    "clock_nanosleep",
    "nanosleep",
    "gettimeofday",
    "getrandom",
    "sched_yield",
    "sched_getaffinity",
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
    "geteuid",
    "tgkill",
];

/// Memory, unless it is to hold code.
const MEMORY: &[&str] = &["mmap", "mprotect"];
/// `PROT_EXEC` in the third argument is not set.
const NOT_EXECUTABLE: &[Test] = &[Test::Masked(2, 4, 0)];
/// `CLONE_VM | CLONE_THREAD`: the one that compresses complete segments.
const A_THREAD: &[Test] = &[Test::Masked(0, 0x0001_0100, 0x0001_0100)];
/// `PR_SET_NAME`, `PR_SET_VMA`, which the C library names its memory with, `PR_GET_AUXV`, which rustix asks once, and
/// `PR_GET_SECCOMP`, in the first argument.
const NAMES: &[Test] = &[Test::OneOf(0, &[15, 0x5356_4d41, 0x4155_5856, 21])];

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
