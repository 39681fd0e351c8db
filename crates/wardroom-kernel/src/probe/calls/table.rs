//! The rows. Where success would change the machine, the arguments are wrong on purpose, in a way that the kernel
//! notices only after (or instead of) asking whether the caller may.

use rustix::io::Errno;

use super::Argument::{Negative, Number, Scratch, Text, Words};
use super::{Argument, Call};

/// Short for a row.
const fn row(
    name: &'static str,
    number: libc::c_long,
    arguments: &'static [Argument],
    reached: &'static [Errno],
) -> Call {
    Call { name, number, arguments, reached }
}

/// `socket(family, kind, protocol)`. A kernel without the family says so, which shows that it was asked.
const fn socket(name: &'static str, arguments: &'static [Argument]) -> Call {
    row(
        name,
        libc::SYS_socket,
        arguments,
        &[Errno::AFNOSUPPORT, Errno::PROTONOSUPPORT, Errno::SOCKTNOSUPPORT],
    )
}

/// `struct perf_event_attr`: a software clock counted in user mode only; type 1, size 112 (`PERF_ATTR_SIZE_VER5`),
/// `exclude_kernel` and `exclude_hv`.
const PERF_ATTR: [u64; 14] = [1 | 112 << 32, 0, 0, 0, 0, 1 << 5 | 1 << 6, 0, 0, 0, 0, 0, 0, 0, 0];

/// `struct timespec` and `struct timeval` that cannot be: a negative fraction of a second.
const IMPOSSIBLE_TIME: [u64; 2] = [0, u64::MAX];

/// `struct __user_cap_header_struct` (version 3, this process) and full sets for it.
const CAP_HEADER: [u64; 1] = [0x2008_0522];
const CAP_ALL: [u64; 3] = [0x0000_01ff_0000_01ff, 0x0000_01ff, 0];

/// `struct file_handle` of no bytes and an unknown type.
const NO_HANDLE: [u64; 2] = [0, 0];

/// `struct mount_attr` that asks for nothing.
const NO_MOUNT_ATTR: [u64; 4] = [0; 4];

/// What a `Words` argument's bytes are, for the calls that also take its size.
const NO_MOUNT_ATTR_BYTES: usize = 32;

const NOWHERE: Argument = Text(c"/wardroom-verify-nowhere");

/// Every call that `verify` attempts.
pub const CALLS: &[Call] = &[
    // --- mounts and roots (C5)
    row("mount", libc::SYS_mount, &[Text(c"none"), Text(c"/tmp"), Text(c"tmpfs"), Number(0), Number(0)], &[]),
    row(
        "mount.remount",
        libc::SYS_mount,
        &[Text(c"none"), Text(c"/"), Number(0), Number(REMOUNT), Number(0)],
        &[],
    ),
    row(
        "mount.bind",
        libc::SYS_mount,
        &[Text(c"/usr"), Text(c"/tmp"), Number(0), Number(BIND), Number(0)],
        &[],
    ),
    row("umount2", libc::SYS_umount2, &[Text(c"/tmp"), Number(0)], &[Errno::INVAL]),
    row("pivot_root", libc::SYS_pivot_root, &[Text(c"/"), Text(c"/")], &[Errno::BUSY, Errno::INVAL]),
    row("chroot", libc::SYS_chroot, &[Text(c"/")], &[]),
    row("fsopen", libc::SYS_fsopen, &[Text(c"tmpfs"), Number(0)], &[]),
    row("fspick", libc::SYS_fspick, &[Negative(-100), Text(c"/"), Number(0)], &[]),
    row("fsmount", libc::SYS_fsmount, &[Negative(-1), Number(0), Number(0)], &[Errno::BADF]),
    row("open_tree", libc::SYS_open_tree, &[Negative(-100), Text(c"/"), Number(CLONE_RECURSIVE)], &[]),
    row(
        "move_mount",
        libc::SYS_move_mount,
        &[Negative(-1), Text(c"wardroom"), Negative(-1), Text(c"wardroom"), Number(0)],
        &[Errno::BADF],
    ),
    row(
        "mount_setattr",
        libc::SYS_mount_setattr,
        &[Negative(-1), Text(c"wardroom"), Number(0), Words(&NO_MOUNT_ATTR), Number(NO_MOUNT_ATTR_BYTES)],
        &[Errno::BADF],
    ),
    // --- identities and namespaces (C3)
    row("setuid", libc::SYS_setuid, &[Number(0)], &[]),
    row("setgid", libc::SYS_setgid, &[Number(0)], &[]),
    row("setresuid", libc::SYS_setresuid, &[Number(0), Number(0), Number(0)], &[]),
    row("capset", libc::SYS_capset, &[Words(&CAP_HEADER), Words(&CAP_ALL)], &[]),
    row("unshare.user", libc::SYS_unshare, &[Number(NEW_USER)], &[]),
    row("unshare.mount", libc::SYS_unshare, &[Number(NEW_MOUNT)], &[]),
    row("unshare.net", libc::SYS_unshare, &[Number(NEW_NET)], &[]),
    row("sethostname", libc::SYS_sethostname, &[Text(c""), Number(4096)], &[Errno::INVAL]),
    // --- the kernel's own levers (C7)
    row("bpf", libc::SYS_bpf, &[Number(0x7fff_ffff), Scratch, Number(16)], &[Errno::INVAL]),
    row(
        "perf_event_open",
        libc::SYS_perf_event_open,
        &[Words(&PERF_ATTR), Number(0), Negative(-1), Negative(-1), Number(0)],
        &[Errno::NOENT, Errno::OPNOTSUPP],
    ),
    row("userfaultfd", libc::SYS_userfaultfd, &[Number(1)], &[]),
    row("io_uring_setup", libc::SYS_io_uring_setup, &[Number(1), Scratch], &[]),
    row("keyctl", libc::SYS_keyctl, &[Number(0), Negative(-3), Number(0)], &[Errno::NOKEY]),
    row(
        "add_key",
        libc::SYS_add_key,
        &[Text(c"user"), Text(c"wardroom-verify"), Text(c"x"), Number(1), Negative(-2)],
        &[],
    ),
    row(
        "request_key",
        libc::SYS_request_key,
        &[Text(c"user"), Text(c"wardroom-verify"), Number(0), Number(0)],
        &[Errno::NOKEY],
    ),
    row(
        "kexec_load",
        libc::SYS_kexec_load,
        &[Number(0), Number(0), Number(0), Number(usize::MAX)],
        &[Errno::NOSYS, Errno::INVAL],
    ),
    row(
        "init_module",
        libc::SYS_init_module,
        &[Text(c""), Number(1), Text(c"")],
        &[Errno::NOEXEC, Errno::NOSYS],
    ),
    row(
        "finit_module",
        libc::SYS_finit_module,
        &[Negative(-1), Text(c""), Number(0)],
        &[Errno::BADF, Errno::NOSYS],
    ),
    row(
        "delete_module",
        libc::SYS_delete_module,
        &[Text(c"wardroom_verify_none"), Number(NON_BLOCKING)],
        &[Errno::NOENT, Errno::NOSYS],
    ),
    row(
        "open_by_handle_at",
        libc::SYS_open_by_handle_at,
        &[Negative(-100), Words(&NO_HANDLE), Number(0)],
        &[Errno::INVAL, Errno::STALE],
    ),
    row("fanotify_init", libc::SYS_fanotify_init, &[Number(0x200), Number(0)], &[]),
    row(
        "quotactl",
        libc::SYS_quotactl,
        &[Number(0x8000_0100), Number(0), Number(0), Number(0)],
        &[Errno::NOSYS],
    ),
    row("swapon", libc::SYS_swapon, &[NOWHERE, Number(0x4000_0000)], &[Errno::INVAL]),
    row("reboot", libc::SYS_reboot, &[Number(0), Number(0), Number(0), Number(0)], &[Errno::INVAL]),
    row("settimeofday", libc::SYS_settimeofday, &[Words(&IMPOSSIBLE_TIME), Number(0)], &[Errno::INVAL]),
    row("clock_settime", libc::SYS_clock_settime, &[Number(0), Number(0)], &[Errno::FAULT]),
    row("personality", libc::SYS_personality, &[Number(READ_IMPLIES_EXEC)], &[]),
    #[cfg(target_arch = "x86_64")]
    row("iopl", libc::SYS_iopl, &[Number(4)], &[Errno::INVAL, Errno::NOSYS]),
    #[cfg(target_arch = "x86_64")]
    row(
        "ioperm",
        libc::SYS_ioperm,
        &[Number(usize::MAX), Number(1), Number(1)],
        &[Errno::INVAL, Errno::NOSYS],
    ),
    // --- other system-call tables (C8): the x32 number of getpid
    #[cfg(target_arch = "x86_64")]
    row("x32", 0x4000_0000 | libc::SYS_getpid, &[], &[Errno::NOSYS]),
    // --- other processes (C6); the ones that need a victim's pid are functions of `process`
    row("ptrace.traceme", libc::SYS_ptrace, &[Number(0), Number(0), Number(0), Number(0)], &[]),
    // --- sockets other than TCP, UDP, Unix and route netlink (N5, N21)
    socket("socket.icmp-raw", &[Number(2), Number(3), Number(1)]),
    socket("socket.icmp6-raw", &[Number(10), Number(3), Number(58)]),
    row("socket.ping", libc::SYS_socket, &[Number(2), Number(2), Number(1)], &[Errno::ACCESS]),
    socket("socket.raw", &[Number(2), Number(3), Number(255)]),
    socket("socket.packet", &[Number(17), Number(3), Number(0x0300)]),
    socket("socket.sctp", &[Number(2), Number(1), Number(132)]),
    socket("socket.dccp", &[Number(2), Number(6), Number(33)]),
    socket("socket.mptcp", &[Number(2), Number(1), Number(262)]),
    socket("socket.vsock", &[Number(40), Number(1), Number(0)]),
    socket("socket.alg", &[Number(38), Number(5), Number(0)]),
    socket("socket.netlink-netfilter", &[Number(16), Number(3), Number(12)]),
    socket("socket.netlink-audit", &[Number(16), Number(3), Number(9)]),
    socket("socket.netlink-generic", &[Number(16), Number(3), Number(16)]),
    socket("socket.bluetooth", &[Number(31), Number(3), Number(1)]),
    socket("socket.rxrpc", &[Number(33), Number(2), Number(2)]),
    socket("socket.xdp", &[Number(44), Number(3), Number(0)]),
    socket("socket.tipc", &[Number(30), Number(1), Number(0)]),
];

/// `MS_REMOUNT | MS_BIND`: on a cell's read-only root, the remount that would make it writable.
const REMOUNT: usize = 0x20 | BIND;
/// `MS_BIND`.
const BIND: usize = 0x1000;
/// `OPEN_TREE_CLONE | AT_RECURSIVE`.
const CLONE_RECURSIVE: usize = 0x8001;
/// `CLONE_NEWUSER`, `CLONE_NEWNS`, `CLONE_NEWNET`.
const NEW_USER: usize = 0x1000_0000;
const NEW_MOUNT: usize = 0x0002_0000;
const NEW_NET: usize = 0x4000_0000;
/// `O_NONBLOCK`.
const NON_BLOCKING: usize = 0o4000;
/// `READ_IMPLIES_EXEC` of personality(2).
const READ_IMPLIES_EXEC: usize = 0x0040_0000;
