//! The system calls of a scribe. It has its rings and its control socket, and two directories (Landlock holds that); whoever
//! takes it over can do no more: start no program, make no socket, signal nobody, make no executable memory.

use wardroom_kernel::call_list::CallList;
use wardroom_kernel::seccomp::Test;

/// Its own calls.
pub(crate) const CALLS: CallList =
    CallList { permitted: &[(FREE, &[]), (&["clone"], A_THREAD), (&["prctl"], NAMES)], absent: &["clone3"] };

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
    // Its rings (it waits for their producers on several at once), and the thread that compresses.
    "msync",
    "futex_waitv",
    "sched_getaffinity",
    "geteuid",
];

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
        CALLS.program().unwrap();
        let elsewhere: Vec<_> = CALLS.unknown().collect();
        if cfg!(target_arch = "x86_64") {
            assert!(elsewhere.is_empty(), "{elsewhere:?}");
        }
    }
}
