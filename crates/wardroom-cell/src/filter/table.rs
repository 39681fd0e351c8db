//! The table itself. Read it as: these calls, under these conditions, get this answer, because.
//! A refusal's reason completes "no agent may ...".

use rustix::io::Errno;
use wardroom_kernel::seccomp::Test;
use wardroom_model::plan::AGENT_ID;

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The calls it is about.
    pub calls: &'static [&'static str],
    /// When it applies; empty means always.
    pub when: &'static [Test],
    /// What becomes of the call.
    pub answer: Answer,
    /// Why.
    pub why: &'static str,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It goes on, unseen: it changes nothing outside the process, or acts on what was recorded when it was opened.
    Allow,
    /// It is recorded, then goes on to the walls.
    Audit(Audit),
    /// It fails with this errno, and is recorded as an attempt at a privilege.
    Refuse(Errno),
    /// It fails with this errno, as on a kernel that lacks it. Not recorded: every program asks, and falls back.
    Absent(Errno),
    /// It seems done, and is not: what the program wants holds already. Not recorded.
    Moot,
}

/// What an audited call is about, and thereby who in the guard answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audit {
    /// A program is executed.
    Exec,
    /// A fresh image makes its first call: the second witness of an exec.
    FirstCall,
    /// The file system is changed, or a sensitive file read.
    File,
    /// A socket call with an address.
    Socket,
    /// A socket begins to listen: noted by the guard, not recorded. Its address was.
    Listen,
    /// A process is made by a call that is as on a kernel that lacks it: every libc tries it first and falls back. An attempt
    /// at a privilege where it asks for namespaces.
    Clone3,
}

const fn allow(calls: &'static [&'static str], why: &'static str) -> Rule {
    Rule { calls, when: &[], answer: Answer::Allow, why }
}

const fn allow_when(calls: &'static [&'static str], when: &'static [Test], why: &'static str) -> Rule {
    Rule { calls, when, answer: Answer::Allow, why }
}

const fn audit(calls: &'static [&'static str], what: Audit, why: &'static str) -> Rule {
    Rule { calls, when: &[], answer: Answer::Audit(what), why }
}

const fn audit_when(
    calls: &'static [&'static str],
    when: &'static [Test],
    what: Audit,
    why: &'static str,
) -> Rule {
    Rule { calls, when, answer: Answer::Audit(what), why }
}

const fn refuse(calls: &'static [&'static str], errno: Errno, why: &'static str) -> Rule {
    Rule { calls, when: &[], answer: Answer::Refuse(errno), why }
}

const fn refuse_when(
    calls: &'static [&'static str],
    when: &'static [Test],
    errno: Errno,
    why: &'static str,
) -> Rule {
    Rule { calls, when, answer: Answer::Refuse(errno), why }
}

const fn absent(calls: &'static [&'static str], errno: Errno, why: &'static str) -> Rule {
    Rule { calls, when: &[], answer: Answer::Absent(errno), why }
}

const fn absent_when(
    calls: &'static [&'static str],
    when: &'static [Test],
    errno: Errno,
    why: &'static str,
) -> Rule {
    Rule { calls, when, answer: Answer::Absent(errno), why }
}

const fn moot_when(calls: &'static [&'static str], when: &'static [Test], why: &'static str) -> Rule {
    Rule { calls, when, answer: Answer::Moot, why }
}

use Test::{AnyBit, Is, Masked, NonNull, OneOf};

/// The rules that hold in every cell.
#[rustfmt::skip]
pub(super) const RULES: &[Rule] = &[
    // A file of the agent's is a file of the operator's outside, where nothing is nosuid: no set-id bit on any.
    refuse_when(&["chmod", "fchmod", "creat", "mknod"], &[AnyBit(1, SET_ID)], Errno::PERM, "make a set-id file"),
    refuse_when(&["fchmodat", "fchmodat2", "mknodat"], &[AnyBit(2, SET_ID)], Errno::PERM, "make a set-id file"),
    refuse_when(&["open"], &[AnyBit(1, OPENS_WITH_MODE), AnyBit(2, SET_ID)], Errno::PERM, "make a set-id file"),
    refuse_when(&["openat"], &[AnyBit(2, OPENS_WITH_MODE), AnyBit(3, SET_ID)], Errno::PERM, "make a set-id file"),

    // Audited: recorded before they go on.
    absent_when(&["execveat"], &[AnyBit(4, AT_EXECVE_CHECK)], Errno::INVAL, "asks whether it could execute (Linux 6.14), which would be on record as if it had"),
    audit(&["execve", "execveat"], Audit::Exec, "a program is executed"),
    audit(&["creat"], Audit::File, "created"),
    audit_when(&["open"], &[AnyBit(1, OPENS_TO_CHANGE)], Audit::File, "opened to write, create or truncate"),
    audit_when(&["openat"], &[AnyBit(2, OPENS_TO_CHANGE)], Audit::File, "opened to write, create or truncate"),
    audit(&["unlink", "unlinkat", "rmdir"], Audit::File, "deleted"),
    audit(&["rename", "renameat", "renameat2"], Audit::File, "renamed"),
    audit(&["link", "linkat", "symlink", "symlinkat"], Audit::File, "linked"),
    audit(&["mkdir", "mkdirat", "mknod", "mknodat"], Audit::File, "made"),
    audit(&["chmod", "fchmod", "fchmodat", "fchmodat2"], Audit::File, "its mode changed"),
    audit(&["chown", "fchown", "lchown", "fchownat"], Audit::File, "its owner changed"),
    audit(&["setxattr", "lsetxattr", "fsetxattr", "setxattrat"], Audit::File, "an attribute set"),
    audit(&["removexattr", "lremovexattr", "fremovexattr", "removexattrat"], Audit::File, "an attribute removed"),
    audit(&["truncate"], Audit::File, "truncated by name"),
    audit(&["connect", "bind"], Audit::Socket, "an address is given to a socket"),
    audit(&["listen"], Audit::Listen, "the guard connects to the socket files on which programs of the cell listen, and to no others"),
    audit_when(&["sendto"], &[NonNull(4)], Audit::Socket, "sent to an address"),
    audit_when(&["sendmsg"], &[AnyBit(2, MSG_FASTOPEN)], Audit::Socket, "connects like connect"),
    audit_when(&["sendmmsg"], &[AnyBit(3, MSG_FASTOPEN)], Audit::Socket, "connects like connect"),
    allow(&["sendto", "sendmsg", "sendmmsg"], "to a connected peer; UDP to others meets the cell's firewall, and is seen there"),

    // Refused, and seen.
    refuse(&["mount", "umount2", "pivot_root", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "open_tree", "open_tree_attr", "mount_setattr"], Errno::PERM, "change what is mounted"),
    refuse(&["chroot"], Errno::PERM, "change its root directory"),
    refuse(&["setns"], Errno::PERM, "enter other namespaces"),
    refuse_when(&["clone", "unshare"], &[AnyBit(0, NAMESPACES)], Errno::PERM, "make namespaces"),
    audit(&["clone3"], Audit::Clone3, "its flags lie in memory, where a filter cannot read them: never made, and seen where it asks for namespaces; clone serves"),
    refuse_when(&["unshare"], &[AnyBit(0, CLONE_NEWTIME)], Errno::PERM, "make namespaces"),
    refuse(&["kcmp", "pidfd_getfd", "process_madvise", "process_mrelease", "migrate_pages"], Errno::PERM, "reach into other processes"),
    refuse(&["bpf"], Errno::PERM, "load programs into the kernel"),
    refuse(&["perf_event_open"], Errno::PERM, "observe the machine's performance counters"),
    refuse(&["userfaultfd"], Errno::PERM, "hold the kernel in a page fault"),
    refuse(&["io_uring_setup", "io_uring_enter", "io_uring_register"], Errno::NOSYS, "use io_uring, whose operations pass by the filter"),
    refuse(&["keyctl", "add_key", "request_key"], Errno::PERM, "use the kernel's keyrings"),
    refuse(&["kexec_load", "kexec_file_load", "reboot"], Errno::PERM, "restart the machine"),
    refuse(&["init_module", "finit_module", "delete_module"], Errno::PERM, "change the kernel's modules"),
    refuse(&["open_by_handle_at"], Errno::PERM, "open files by handle, past every path"),
    refuse(&["name_to_handle_at"], Errno::OPNOTSUPP, "ask for file handles"),
    refuse(&["fanotify_init", "fanotify_mark"], Errno::PERM, "watch whole file systems"),
    refuse(&["quotactl", "quotactl_fd"], Errno::PERM, "change quotas"),
    refuse(&["swapon", "swapoff"], Errno::PERM, "change swap"),
    refuse(&["settimeofday", "clock_settime", "clock_adjtime", "adjtimex"], Errno::PERM, "set the clock"),
    refuse(&["sethostname", "setdomainname"], Errno::PERM, "rename the machine"),
    refuse(&["acct", "syslog", "vhangup", "lookup_dcookie"], Errno::PERM, "administer the machine"),
    refuse(&["lsm_set_self_attr"], Errno::PERM, "change its security label"),
    refuse(&["memfd_secret"], Errno::NOSYS, "hold memory that the guard cannot read"),
    refuse_when(&["seccomp"], &[Is(0, SECCOMP_SET_MODE_FILTER), AnyBit(1, SECCOMP_NEW_LISTENER)], Errno::PERM, "answer system calls in the guard's place"),
    refuse_when(&["prctl"], &[Is(0, PR_SET_MM)], Errno::PERM, "change what /proc says of its image"),
    refuse_when(&["ioctl"], &[OneOf(1, TERMINAL_TRICKS)], Errno::PERM, "put input into a terminal or change its line discipline"),
    refuse_when(&["ioctl"], &[OneOf(1, FILE_FLAGS)], Errno::OPNOTSUPP, "change a file's flags, seal or encryption through a descriptor that only reads"),
    refuse_when(&["setsockopt"], &[Is(1, SOL_SOCKET), OneOf(2, SOCKET_PROGRAMS)], Errno::NOPROTOOPT, "attach a program to a socket: the machine has one budget for those and for everybody's seccomp filters (net.core.bpf_jit_limit)"),
    refuse(&["setgroups"], Errno::PERM, "change its groups"),
    refuse_when(&["fcntl"], &[OneOf(1, LEASES)], Errno::INVAL, "hold up by a lease whoever opens a file outside"),

    // Init runs as the agent does, and starts what the operator asks for.
    refuse_when(&["prlimit64"], &[Is(0, INIT), NonNull(2)], Errno::PERM, "change the limits of the cell's init"),
    refuse_when(&["sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler"], &[Is(0, INIT)], Errno::PERM, "change the scheduling of the cell's init"),
    refuse_when(&["setpriority", "ioprio_set"], &[Is(1, INIT)], Errno::PERM, "change the scheduling of the cell's init"),
    refuse_when(&["setpriority"], &[Is(0, PRIO_USER)], Errno::PERM, "change the scheduling of the cell's init"),
    refuse_when(&["ioprio_set"], &[Is(0, IOPRIO_WHO_USER)], Errno::PERM, "change the scheduling of the cell's init"),
    refuse_when(&["prlimit64"], &[Is(1, RLIMIT_CORE), NonNull(2), NonNull(3)], Errno::PERM, "change the limit on cores and hear the old one at once"),
    moot_when(&["prlimit64"], &[Is(1, RLIMIT_CORE), NonNull(2)], "no core file comes of the limit of 1; with the limit at 0 the host's helper would be started for one all the same (core(5))"),

    // Ids: programs that drop privileges to what they have already work; a change is an attempt.
    allow_when(&["setuid", "setgid", "setfsuid", "setfsgid"], &[OneOf(0, OWN_ID)], "to the id it has"),
    allow_when(&["setreuid", "setregid"], &[OneOf(0, OWN_ID), OneOf(1, OWN_ID)], "to the ids it has"),
    allow_when(&["setresuid", "setresgid"], &[OneOf(0, OWN_ID), OneOf(1, OWN_ID), OneOf(2, OWN_ID)], "to the ids it has"),
    refuse(&["setuid", "setgid", "setfsuid", "setfsgid", "setreuid", "setregid", "setresuid", "setresgid"], Errno::PERM, "become another user"),
    allow_when(&["personality"], &[OneOf(0, PLAIN_PERSONALITY)], "asks, or sets the plain one"),
    refuse(&["personality"], Errno::PERM, "change its personality"),

    // Sockets: what the gate and the cell can govern.
    allow_when(&["socket", "socketpair"], &[Is(0, AF_UNIX), Masked(1, SOCKET_KIND, SOCK_STREAM)], "within the cell: the guard connects it"),
    allow_when(&["socket", "socketpair"], &[Is(0, AF_UNIX), Masked(1, SOCKET_KIND, SOCK_SEQPACKET)], "within the cell: the guard connects it"),
    refuse_when(&["socket", "socketpair"], &[Is(0, AF_UNIX)], Errno::SOCKTNOSUPPORT, "use Unix datagrams, whose every message can name another socket's file"),
    allow_when(&["socket"], &[OneOf(0, INET), Masked(1, SOCKET_KIND, SOCK_STREAM), OneOf(2, TCP)], "TCP, which the gate governs"),
    allow_when(&["socket"], &[OneOf(0, INET), Masked(1, SOCKET_KIND, SOCK_DGRAM), OneOf(2, UDP)], "UDP, to the resolver and within the cell"),
    allow_when(&["socket"], &[Is(0, AF_NETLINK), Is(2, 0)], "route netlink: programs list their interfaces with it"),
    refuse_when(&["socket"], &[OneOf(0, INET), Masked(1, SOCKET_KIND, SOCK_RAW)], Errno::PERM, "use raw sockets"),
    refuse_when(&["socket"], &[OneOf(0, INET)], Errno::PROTONOSUPPORT, "use a protocol other than TCP and UDP"),
    refuse_when(&["socket"], &[Is(0, AF_NETLINK)], Errno::PROTONOSUPPORT, "use netlink other than route"),
    refuse(&["socket", "socketpair"], Errno::AFNOSUPPORT, "use this address family"),

    // Absent: programs try these first and fall back.
    absent(&["openat2"], Errno::NOSYS, "its flags and mode lie in memory, where another thread can change what was recorded; openat serves"),
    absent(&["statmount", "listmount", "lsm_list_modules", "lsm_get_self_attr"], Errno::NOSYS, "about the machine, not the agent"),
    absent(&["io_setup"], Errno::NOSYS, "contexts are counted for the whole machine (fs.aio-max-nr): an agent that takes them all leaves the operator's databases none"),
    absent_when(&["mmap"], &[AnyBit(3, MAP_HUGETLB)], Errno::NOMEM, "as on a machine without a pool of huge pages: they are outside of the limit on memory, and everybody's"),
    absent_when(&["memfd_create"], &[AnyBit(1, MFD_HUGETLB)], Errno::NOMEM, "the same"),
    absent_when(&["shmget"], &[AnyBit(2, SHM_HUGETLB)], Errno::NOMEM, "the same"),
    absent(&["file_setattr"], Errno::NOSYS, "changes a file's flags through a descriptor that only reads; refused as an ioctl as well"),

    // Allowed.
    allow(&["read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2", "lseek"], "on what is open"),
    allow(&["sendfile", "splice", "tee", "vmsplice", "copy_file_range", "readahead", "fadvise64", "ftruncate", "fallocate"], "on what is open"),
    allow(&["close", "close_range", "dup", "dup3", "fcntl", "flock", "pipe2", "memfd_create"], "descriptors; what is executed from memory is recorded when it is"),
    allow(&["fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "msync"], "durability"),
    allow(&["fstat", "newfstatat", "statx", "statfs", "fstatfs", "faccessat", "faccessat2", "readlinkat", "getdents64", "getcwd", "chdir", "fchdir"], "looks at what the walls let it see"),
    allow(&["getxattr", "lgetxattr", "fgetxattr", "listxattr", "llistxattr", "flistxattr", "getxattrat", "listxattrat", "file_getattr", "cachestat"], "looks at what the walls let it see"),
    allow(&["utimensat", "umask"], "times of its own files, and the mask of new ones"),
    allow(&["inotify_init1", "inotify_add_watch", "inotify_rm_watch"], "watches what it may read"),
    allow(&["mmap", "munmap", "mprotect", "mremap", "madvise", "brk", "mincore", "mlock", "mlock2", "mlockall", "munlock", "munlockall", "mseal", "membarrier", "map_shadow_stack"], "its own memory"),
    allow(&["pkey_alloc", "pkey_free", "pkey_mprotect", "get_mempolicy", "set_mempolicy", "set_mempolicy_home_node", "mbind", "move_pages"], "its own memory"),
    allow(&["shmget", "shmat", "shmdt", "shmctl", "semget", "semop", "semtimedop", "semctl", "msgget", "msgsnd", "msgrcv", "msgctl"], "within the cell's own IPC namespace"),
    allow(&["mq_open", "mq_unlink", "mq_timedsend", "mq_timedreceive", "mq_notify", "mq_getsetattr"], "within the cell's own IPC namespace"),
    allow(&["futex", "futex_waitv", "futex_wake", "futex_wait", "futex_requeue", "set_robust_list", "get_robust_list", "rseq", "restart_syscall", "sched_yield"], "threads"),
    allow(&["clone", "unshare", "exit", "exit_group", "wait4", "waitid", "kill", "tkill", "tgkill"], "processes of the cell's own pid namespace"),
    allow(&["pidfd_open", "pidfd_send_signal"], "processes of the cell's own pid namespace"),
    allow(&["rt_sigaction", "rt_sigprocmask", "rt_sigpending", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "sigaltstack", "signalfd4"], "signals"),
    allow(&["getpid", "getppid", "gettid", "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "getpgid", "setpgid", "getsid", "setsid"], "who it is"),
    allow(&["capget", "capset", "prctl", "seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"], "can only take from itself"),
    allow(&["getpriority", "setpriority", "ioprio_get", "ioprio_set", "prlimit64", "getrusage", "times", "getcpu"], "its share of the machine, under its limits"),
    allow(&["sched_getaffinity", "sched_setaffinity", "sched_getattr", "sched_setattr", "sched_getparam", "sched_setparam", "sched_getscheduler", "sched_setscheduler", "sched_get_priority_max", "sched_get_priority_min", "sched_rr_get_interval"], "its share of the machine, under its limits"),
    allow(&["clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "getitimer", "setitimer"], "time"),
    allow(&["timer_create", "timer_delete", "timer_settime", "timer_gettime", "timer_getoverrun", "timerfd_create", "timerfd_settime", "timerfd_gettime"], "time"),
    allow(&["epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "ppoll", "pselect6", "eventfd2"], "waits"),
    allow(&["io_submit", "io_getevents", "io_cancel", "io_destroy"], "on a context of io_setup, of which there is none"),
    allow(&["accept", "accept4", "shutdown", "getsockname", "getpeername", "setsockopt", "recvfrom", "recvmsg", "recvmmsg"], "on sockets whose address was recorded"),
    refuse_when(&["getsockopt"], &[Is(1, SOL_SOCKET), Is(2, SO_PEERPIDFD)], Errno::NOPROTOOPT, "hold the process that connected, which is the guard's"),
    allow(&["getsockopt"], "on sockets whose address was recorded"),
    allow(&["getrandom", "sysinfo", "uname", "ioctl"], "what every program asks"),
];

/// Opens for reading, where they are not asked about.
#[rustfmt::skip]
pub(super) const READS_FREE: &[Rule] = &[
    audit_when(&["open"], &[Masked(1, WAITS, O_NONBLOCK)], Audit::File, "would not wait for a canary's record, and so is compared with the sensitive paths"),
    audit_when(&["openat"], &[Masked(2, WAITS, O_NONBLOCK)], Audit::File, "would not wait for a canary's record, and so is compared with the sensitive paths"),
    allow(&["open", "openat"], "reads what the walls let it see"),
];

/// Opens for reading, where the guard compares them with the sensitive paths.
pub(super) const READS_AUDITED: &[Rule] =
    &[audit(&["open", "openat"], Audit::File, "read, and compared with the sensitive paths")];

/// Tracing, where the policy permits it: Yama and the pid namespace keep it to the agent's own.
pub(super) const TRACING_ALLOWED: &[Rule] = &[allow(
    &["ptrace", "process_vm_readv", "process_vm_writev"],
    "the policy lets the agent trace its children",
)];

/// Tracing, where the policy is silent.
pub(super) const TRACING_REFUSED: &[Rule] =
    &[refuse(&["ptrace", "process_vm_readv", "process_vm_writev"], Errno::PERM, "trace processes")];

/// Calls of x86-64 that newer architectures left out, and its witness of a fresh image.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
pub(super) const ARCHITECTURE: &[Rule] = &[
    audit_when(&["arch_prctl"], &[Is(0, ARCH_SET_FS)], Audit::FirstCall, "glibc, musl and Go set their thread pointer once, at the very start"),
    allow(&["arch_prctl", "set_tid_address"], "threads"),
    refuse(&["iopl", "ioperm"], Errno::PERM, "reach the machine's ports"),
    refuse(&["modify_ldt"], Errno::NOSYS, "change its segment table"),
    allow(&["stat", "lstat", "access", "readlink", "getdents", "utime", "utimes", "futimesat"], "looks at what the walls let it see; times of its own files"),
    allow(&["dup2", "pipe", "poll", "select", "epoll_create", "epoll_wait", "eventfd", "signalfd", "inotify_init", "pause", "alarm", "time"], "older forms of the calls above"),
    moot_when(&["setrlimit"], &[Is(0, RLIMIT_CORE)], "the limit on cores stays, as above"),
    allow(&["fork", "vfork", "getpgrp", "getrlimit", "setrlimit"], "older forms of the calls above"),
];

/// The witness of a fresh image, and what this architecture still has of older calls.
#[cfg(target_arch = "aarch64")]
pub(super) const ARCHITECTURE: &[Rule] = &[
    audit(&["set_tid_address"], Audit::FirstCall, "glibc and musl call it once, at the very start"),
    moot_when(&["setrlimit"], &[Is(0, RLIMIT_CORE)], "the limit on cores stays, as above"),
    allow(&["getrlimit", "setrlimit"], "its share of the machine, under its limits"),
];

/// `O_ACCMODE | O_CREAT | O_TRUNC`. `O_TMPFILE` needs write access, and so is among them.
const OPENS_TO_CHANGE: u32 = 0o3 | 0o100 | 0o1000;
/// `O_CREAT | __O_TMPFILE`: the opens that read their mode.
const OPENS_WITH_MODE: u32 = 0o100 | 0o20_000_000;
/// What tells a file's opening that does not wait for a lease from a directory's (the C library's `opendir` sets both).
const WAITS: u32 = O_NONBLOCK | O_DIRECTORY;
const O_NONBLOCK: u32 = 0o4000;
#[cfg(target_arch = "x86_64")]
const O_DIRECTORY: u32 = 0o200_000;
#[cfg(target_arch = "aarch64")]
const O_DIRECTORY: u32 = 0o40_000;
const AT_EXECVE_CHECK: u32 = 0x10000;
/// `S_ISUID | S_ISGID`.
const SET_ID: u32 = 0o6000;
/// `MSG_FASTOPEN`: send that connects.
const MSG_FASTOPEN: u32 = 0x2000_0000;
/// `CLONE_NEW*` but for time: cgroup, mount, uts, ipc, user, pid, net.
pub(crate) const NAMESPACES: u32 =
    0x0200_0000 | 0x0002_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000;
/// In `clone`, this bit belongs to the exit signal; only `unshare` and `clone3` read it as the time namespace.
pub(crate) const CLONE_NEWTIME: u32 = 0x80;
const SECCOMP_SET_MODE_FILTER: u32 = 1;
const SECCOMP_NEW_LISTENER: u32 = 1 << 3;
const PR_SET_MM: u32 = 35;
#[cfg(target_arch = "x86_64")]
const ARCH_SET_FS: u32 = 0x1002;
/// `TIOCSTI`, `TIOCLINUX`, `TIOCCONS`, `TIOCSETD`.
const TERMINAL_TRICKS: &[u32] = &[0x5412, 0x541c, 0x541d, 0x5423];
/// `FS_IOC_SETFLAGS` and its 32-bit form, `FS_IOC_FSSETXATTR`, `FS_IOC_SETVERSION`, `FS_IOC_ENABLE_VERITY`,
/// `FS_IOC_SET_ENCRYPTION_POLICY`, `FS_IOC_GET_ENCRYPTION_PWSALT` (which makes one), `FS_IOC_ADD_ENCRYPTION_KEY`,
/// `FS_IOC_REMOVE_ENCRYPTION_KEY` and its form for all users (in user mode the operator's key), `EXT4_IOC_SETVERSION`,
/// `EXT4_IOC_ALLOC_DA_BLKS`; of btrfs, `SNAP_CREATE`, `SUBVOL_CREATE`, `SNAP_DESTROY`, their second versions, `SUBVOL_SETFLAGS`,
/// and `SET_RECEIVED_SUBVOL` with its 32-bit form: changes that no open for writing announces. Freezing, trimming and naming
/// a file system take a capability over it.
#[rustfmt::skip]
const FILE_FLAGS: &[u32] = &[
    0x4008_6602, 0x4004_6602, 0x401c_5820, 0x4008_7602, 0x4080_6685, 0x800c_6613, 0x4010_6614, 0xc050_6617, 0xc040_6618, 0xc040_6619,
    0x4008_6604, 0x0000_660c,
    0x5000_9401, 0x5000_940e, 0x5000_940f, 0x5000_9417, 0x5000_9418, 0x5000_943f, 0x4008_941a, 0xc0c8_9425,
    0xc0c0_9425,
];
/// `F_SETLEASE`, and `F_SETDELEG` (Linux 6.19).
const LEASES: &[u32] = &[1024, 1040];
const MAP_HUGETLB: u32 = 0x4_0000;
const MFD_HUGETLB: u32 = 0x4;
const SHM_HUGETLB: u32 = 0o4000;
/// The cell's first process, as its pid namespace numbers it.
const INIT: u32 = 1;
const PRIO_USER: u32 = 2;
const IOPRIO_WHO_USER: u32 = 3;
const RLIMIT_CORE: u32 = 4;
/// The agent's id inside, and -1 ("leave it").
const OWN_ID: &[u32] = &[AGENT_ID, u32::MAX];
/// `PER_LINUX`, and the question (0xffffffff).
const PLAIN_PERSONALITY: &[u32] = &[0, u32::MAX];
const AF_UNIX: u32 = 1;
const AF_NETLINK: u32 = 16;
/// `AF_INET`, `AF_INET6`.
const INET: &[u32] = &[2, 10];
/// The kind of a socket without `SOCK_CLOEXEC` and `SOCK_NONBLOCK` (`SOCK_TYPE_MASK`).
const SOCKET_KIND: u32 = 0xf;
const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const SOCK_RAW: u32 = 3;
const SOCK_SEQPACKET: u32 = 5;
/// A pidfd of who connected (Linux 6.5).
const SO_PEERPIDFD: u32 = 77;
const SOL_SOCKET: u32 = 1;
/// `SO_ATTACH_FILTER`, `SO_ATTACH_BPF`, `SO_ATTACH_REUSEPORT_CBPF`, `SO_ATTACH_REUSEPORT_EBPF`. Refused as by a kernel that does
/// not know them, after which libpcap filters by itself, without a word.
const SOCKET_PROGRAMS: &[u32] = &[26, 50, 51, 52];
/// The default of a stream, and `IPPROTO_TCP`.
const TCP: &[u32] = &[0, 6];
/// The default of a datagram, and `IPPROTO_UDP`.
const UDP: &[u32] = &[0, 17];
