//! Making, replacing and ending processes: the one place where this workspace forks.
//!
//! Nothing here decides anything, and nothing here returns into a process with more than one thread: a copy of a
//! threaded process may hold locks that nobody will ever release.
#![expect(unsafe_code, reason = "clone3, fork, execve and signal dispositions have no safe wrapper")]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::process::Pid;

/// Both sides of a clone.
#[derive(Debug)]
pub enum Cloned {
    /// The caller, which now has a child.
    Parent {
        /// The child's process id in the caller's namespace.
        pid: Pid,
        /// A descriptor for the child.
        pidfd: OwnedFd,
    },
    /// The child.
    Child,
}

/// Both sides of a fork.
#[derive(Debug)]
pub enum Forked {
    /// The caller, with its child's process id.
    Parent(Pid),
    /// The child.
    Child,
}

/// The kernel's `struct clone_args`, first version (64 bytes, Linux 5.3).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// The size that belongs to [`CloneArgs`].
const CLONE_ARGS_SIZE: usize = size_of::<CloneArgs>();

/// Clones the calling process into new user, mount, pid, ipc and uts namespaces (Linux 5.3). A network namespace takes as long
/// as all of these together, and the child can make its own ([`unshare_network_namespace`]) while the caller goes on.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when the caller has more than one thread; else what `clone3(2)` says.
pub fn clone_into_namespaces() -> io::Result<Cloned> {
    clone_with(
        libc::CLONE_NEWUSER
            | libc::CLONE_NEWNS
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUTS,
    )
}

/// Starts a process that rests in a new user namespace until it is killed, by the caller or by the caller's end. It shares the
/// caller's memory, of which a copy would cost several times the rest, and has a stack of its own there.
///
/// # Errors
/// What `clone(2)` says.
pub fn resting_in_user_namespace() -> io::Result<(Pid, OwnedFd)> {
    // Never freed: nobody here could say when the process has left it. A start needs one for each directory that the agent owns.
    let stack = Vec::leak(vec![0_u8; RESTING_STACK]).as_mut_ptr_range();
    let flags =
        libc::CLONE_VM | libc::CLONE_NEWUSER | libc::CLONE_PIDFD | libc::CLONE_UNTRACED | libc::SIGCHLD;
    let ourselves = usize::try_from(rustix::process::getpid().as_raw_nonzero().get()).unwrap_or_default();
    let ourselves = ptr::without_provenance_mut(ourselves);
    let mut raw_pidfd: RawFd = -1;
    // It inherits the mask: a handler of the caller's would run on a stack that is too small for it, in the caller's memory.
    let before = swap_mask(&full_set())?;
    // SAFETY: `rest` runs on a stack that nobody else uses and that is never freed; `raw_pidfd` is a live int, which the kernel
    // writes before the call returns.
    let result =
        unsafe { libc::clone(rest, aligned(stack.end).cast(), flags, ourselves, &raw mut raw_pidfd) };
    let pid = pid_from(i64::from(result));
    swap_mask(&before)?;
    let pid = pid?.ok_or_else(|| io::Error::from(io::ErrorKind::Other))?;
    // SAFETY: clone succeeded, so the kernel stored a descriptor that nobody else owns.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(raw_pidfd) }))
}

/// Two calls deep, and no signal is handled there: all are blocked.
const RESTING_STACK: usize = 16 * 1024;

/// The stack pointer that a C function expects: a multiple of 16 at or below.
fn aligned(end: *mut u8) -> *mut u8 {
    end.wrapping_sub(end.addr() % 16)
}

/// What such a process does. It owns nothing and touches no memory but its stack; `errno` neither, for no call fails.
extern "C" fn rest(parent: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the call takes plain numbers.
    let dies = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } == 0;
    // A parent that was gone by then sends no signal any more.
    // SAFETY: the call takes nothing.
    let orphan = usize::try_from(unsafe { libc::getppid() }) != Ok(parent.addr());
    if !dies || orphan {
        return 1;
    }
    loop {
        // SAFETY: `pause` has no conditions.
        unsafe { libc::pause() };
    }
}

fn clone_with(namespaces: libc::c_int) -> io::Result<Cloned> {
    if !is_single_threaded()? {
        return Err(io::Error::new(io::ErrorKind::WouldBlock, "the process has more than one thread"));
    }
    let flags = namespaces | libc::CLONE_PIDFD;
    let mut raw_pidfd: RawFd = -1;
    let args = CloneArgs {
        flags: u64::from(flags.cast_unsigned()),
        pidfd: u64::try_from((&raw mut raw_pidfd).addr()).unwrap_or(0),
        exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()),
        ..CloneArgs::default()
    };
    // SAFETY: the arguments outlive the call, `pidfd` points to a live int, no stack is given, so the child goes on
    // with a copy of ours (as after fork); the caller has one thread, so no lock is held by another.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, CLONE_ARGS_SIZE) };
    match pid_from(result)? {
        None => Ok(Cloned::Child),
        Some(pid) => {
            // SAFETY: clone3 succeeded in the parent, so the kernel stored a descriptor that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(raw_pidfd) };
            Ok(Cloned::Parent { pid, pidfd })
        }
    }
}

/// Forks.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when the caller has more than one thread; else what `fork(2)` says.
pub fn fork_checked() -> io::Result<Forked> {
    if !is_single_threaded()? {
        return Err(io::Error::new(io::ErrorKind::WouldBlock, "the process has more than one thread"));
    }
    fork_init()
}

/// Forks a cell's init, which never has a second thread and may not read `/proc` any more.
///
/// # Errors
/// What `fork(2)` says.
pub fn fork_init() -> io::Result<Forked> {
    // SAFETY: called where only one thread exists (see above), so the child may go on like any process.
    let result = unsafe { libc::fork() };
    Ok(match pid_from(i64::from(result))? {
        None => Forked::Child,
        Some(pid) => Forked::Parent(pid),
    })
}

fn pid_from(result: i64) -> io::Result<Option<Pid>> {
    match result {
        0 => Ok(None),
        n => match i32::try_from(n).ok().filter(|n| *n > 0).and_then(Pid::from_raw) {
            Some(pid) => Ok(Some(pid)),
            None => Err(io::Error::last_os_error()),
        },
    }
}

/// Whether the calling process has exactly one thread: `/proc/self/task` has two links and one more for each.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn is_single_threaded() -> io::Result<bool> {
    Ok(rustix::fs::stat("/proc/self/task")?.st_nlink == 3)
}

/// Ends the process at once: no destructors, no exit handlers, no flushing of buffers that belong to another copy.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no conditions.
    unsafe { libc::_exit(code) }
}

/// Replaces the process image. Returns only if it failed.
///
/// `tag` stands in the register of a fourth argument, which `execve(2)` does not look at and a seccomp listener sees.
#[must_use]
pub fn exec(path: &CStr, argv: &[CString], env: &[CString], tag: u64) -> rustix::io::Errno {
    let argv = pointers(argv);
    let env = pointers(env);
    // SAFETY: `path` and both arrays are NUL-terminated, as are the strings in them, and all outlive the call.
    unsafe { libc::syscall(libc::SYS_execve, path.as_ptr(), argv.as_ptr(), env.as_ptr(), tag) };
    last_errno()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
}

fn last_errno() -> rustix::io::Errno {
    let error = io::Error::last_os_error();
    rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::INVAL)
}

/// Blocks every signal and returns a descriptor that reports `SIGCHLD` instead.
///
/// # Errors
/// What `sigprocmask(2)` and `signalfd(2)` say.
pub fn children_as_descriptor() -> io::Result<OwnedFd> {
    set_mask(true)?;
    let mut set = empty_set();
    // SAFETY: `set` is an initialised set and SIGCHLD a valid signal.
    unsafe { libc::sigaddset(&raw mut set, libc::SIGCHLD) };
    // SAFETY: `set` is initialised and outlives the call; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: signalfd succeeded, so the descriptor is new and ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Blocks all signals, or none.
///
/// # Errors
/// What `sigprocmask(2)` says.
pub fn set_mask(block: bool) -> io::Result<()> {
    swap_mask(&if block { full_set() } else { empty_set() }).map(|_before| ())
}

/// Sets which signals are blocked, and returns which were before.
fn swap_mask(to: &libc::sigset_t) -> io::Result<libc::sigset_t> {
    let mut before = empty_set();
    // SAFETY: both are initialised sets that outlive the call.
    match unsafe { libc::sigprocmask(libc::SIG_SETMASK, to, &raw mut before) } {
        0 => Ok(before),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives every signal its default meaning again. An ignored signal (Rust ignores `SIGPIPE`) would outlive an exec.
pub fn reset_dispositions() {
    // The kernel's own `struct sigaction`, zero: the default, no flags, no mask. The C library's wrapper would refuse its
    // two internal signals, which a careless parent may have ignored.
    let default = [0_u64; 4];
    let none: *const u64 = ptr::null();
    // 64 is the highest signal on Linux; the two that cannot be changed answer EINVAL.
    for signal in 1..=64 {
        // SAFETY: the kernel reads the zeroed structure, which is no smaller than its own; the default runs no code.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, size_of::<u64>()) };
    }
}

fn full_set() -> libc::sigset_t {
    let mut set = empty_set();
    // SAFETY: `set` is a valid place for a set.
    unsafe { libc::sigfillset(&raw mut set) };
    set
}

fn empty_set() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the pointer is valid for a set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: sigemptyset initialised it.
    unsafe { set.assume_init() }
}

/// Makes the caller's control group the root of what it and its descendants see of control groups.
///
/// # Errors
/// What `unshare(2)` says.
pub fn unshare_cgroup_namespace() -> io::Result<()> {
    unshare(libc::CLONE_NEWCGROUP)
}

/// Takes the caller, and what it starts, to a new network namespace, empty and owned by its user namespace.
///
/// # Errors
/// What `unshare(2)` says.
pub fn unshare_network_namespace() -> io::Result<()> {
    unshare(libc::CLONE_NEWNET)
}

fn unshare(namespace: libc::c_int) -> io::Result<()> {
    // SAFETY: none of the flags above touches memory or descriptors of the caller.
    match unsafe { libc::unshare(namespace) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Joins a new, empty session keyring, so that no key of the caller's is reachable. `Ok(false)`: this kernel has no keys.
///
/// # Errors
/// What `keyctl(2)` says.
pub fn join_new_keyring() -> io::Result<bool> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    let none: *const libc::c_char = ptr::null();
    // SAFETY: a null name asks for a new anonymous keyring; no memory is read or written.
    if unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, none) } >= 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ENOSYS) { Ok(false) } else { Err(error) }
}

/// Closes every descriptor but those in `keep` (which is sorted here), so that nothing is inherited by accident.
///
/// The caller must not own any other descriptor that it will use or close again: it never returns to its former self.
///
/// # Errors
/// What `close_range(2)` says (Linux 5.9).
pub fn close_all_but(keep: &mut [RawFd]) -> io::Result<()> {
    keep.sort_unstable();
    let mut next: u32 = 0;
    for fd in keep.iter().filter_map(|fd| u32::try_from(*fd).ok()) {
        if fd > next {
            close_range(next, fd - 1, 0)?;
        }
        next = fd.saturating_add(1);
    }
    close_range(next, u32::MAX, 0)
}

/// Marks every descriptor from 3 on as closed at the next exec.
///
/// # Errors
/// What `close_range(2)` says (Linux 5.11).
pub fn close_at_exec() -> io::Result<()> {
    close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: u32, last: u32, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: no memory is passed; the callers above own the decision to close.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes `/dev/null` the standard input, output and error of a process that has closed them.
///
/// # Errors
/// What `open(2)` and `dup2(2)` say.
pub fn stand_on_null() -> io::Result<()> {
    let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?;
    for number in 0..=2 {
        place_descriptor(&null, number)?;
    }
    // The lowest number was free, so this is 0 itself, which must stay open.
    let number = std::os::fd::IntoRawFd::into_raw_fd(null);
    if number > 2 { close_range(number.cast_unsigned(), number.cast_unsigned(), 0) } else { Ok(()) }
}

/// Sends a signal to every process that the caller may signal, but itself; for pid 1, to all of its namespace.
///
/// # Errors
/// What `kill(2)` says; `ESRCH` when there is none.
pub fn signal_all(signal: rustix::process::Signal) -> rustix::io::Result<()> {
    // SAFETY: `kill` takes plain numbers.
    match unsafe { libc::kill(-1, signal.as_raw()) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

/// Puts `from` at the number `to`, open across an exec.
///
/// # Errors
/// What `dup3(2)` and `fcntl(2)` say.
pub fn place_descriptor(from: &OwnedFd, to: RawFd) -> io::Result<()> {
    if from.as_raw_fd() == to {
        rustix::io::fcntl_setfd(from, rustix::io::FdFlags::empty())?;
        return Ok(());
    }
    // SAFETY: both are plain numbers; the caller owns `to` (0 to 2 in a process that is about to exec).
    match unsafe { libc::dup2(from.as_raw_fd(), to) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Takes ownership of a descriptor that this process was started with, and closes it at the next exec.
///
/// To be called once for a number: whoever started us gave it to us under that number, and nothing here owns it yet.
/// The standard streams are never handed over this way.
///
/// # Errors
/// `EBADF` where nothing is open under this number, `EINVAL` for a standard stream.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: `fcntl` with F_SETFD takes plain numbers; it fails where nothing is open.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, and by the contract above nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threaded_process_is_never_cloned() {
        let handle = std::thread::spawn(|| clone_into_namespaces().map(|_| ()).unwrap_err().kind());
        assert_eq!(handle.join().unwrap(), io::ErrorKind::WouldBlock);
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a skip is counted by xtask")]
    fn what_rests_handles_no_signal_and_leaves_its_caller_s_mask_as_it_was() {
        let blocked = |process: &str| {
            let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
            let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
            u64::from_str_radix(mask, 16).unwrap()
        };
        let before = blocked("thread-self");
        let Ok((pid, pidfd)) = resting_in_user_namespace() else {
            eprintln!("SKIPPED: what_rests_handles_no_signal: no user namespaces here");
            return;
        };
        assert_eq!(blocked("thread-self"), before);
        let asking = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGCHLD];
        let theirs = blocked(&pid.to_string());
        assert!(asking.iter().all(|signal| theirs >> (signal - 1) & 1 == 1), "{theirs:x}");
        rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL).unwrap();
        let who = rustix::process::WaitId::PidFd(std::os::fd::AsFd::as_fd(&pidfd));
        rustix::process::waitid(who, rustix::process::WaitIdOptions::EXITED).unwrap();
    }
}
