//! Attempts on processes (attacks C3, C6, C8, C13), and what a probe needs of its own process.

#![expect(unsafe_code, reason = "fork, clone, ptrace and their kin")]

use std::io::IoSliceMut;
use std::time::Duration;

use rustix::io::{Errno, Result};
use rustix::process::Pid;
use rustix::time::{ClockId, clock_gettime};

/// The error of the call just made.
pub(super) fn last_errno() -> Errno {
    std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}

/// Turns the result of a libc function into an error.
fn checked(returned: libc::c_long) -> Result<libc::c_long> {
    if returned < 0 { Err(last_errno()) } else { Ok(returned) }
}

/// Nanoseconds of `CLOCK_BOOTTIME`, the clock by which records are ordered.
#[must_use]
pub fn boottime() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
        .as_nanos()
        .try_into()
        .unwrap_or(u64::MAX)
}

/// Has this process killed by `SIGALRM` after that many seconds: no attempt may hang.
pub fn end_after(seconds: u32) {
    // SAFETY: alarm(2) has no conditions; no handler is installed, so the default action ends the process.
    unsafe { libc::alarm(seconds) };
}

/// Lets any process trace this one, where Yama would confine that to ancestors: for a victim that the controls need.
///
/// # Errors
/// `EINVAL` where the kernel has no Yama, which needs no permission then.
pub fn permit_tracing() -> Result<()> {
    // SAFETY: PR_SET_PTRACER takes numbers only.
    let returned = unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY, 0, 0, 0) };
    checked(returned.into()).map(drop)
}

/// Splits this process in two; the caller must be single-threaded. `None` in the child.
///
/// # Errors
/// Those of fork(2).
pub fn split() -> Result<Option<Pid>> {
    // SAFETY: fork(2) in a single-threaded process has no further conditions; every caller is a probe process of its
    // own, which starts no threads before it comes here.
    let returned = unsafe { libc::fork() };
    checked(returned.into())?;
    Ok(Pid::from_raw(returned))
}

/// Ends this process at once, running nothing.
pub fn end(status: i32) -> ! {
    // SAFETY: _exit(2) has no conditions.
    unsafe { libc::_exit(status) }
}

/// clone(2) with a new user namespace; the child ends at once.
///
/// # Errors
/// The kernel's, or the filter's, refusal.
pub fn clone_user_namespace() -> Result<()> {
    let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
    // SAFETY: without CLONE_VM and with a null stack this is fork(2); the child only calls _exit.
    let returned = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    born(returned)
}

/// clone3(2) with a new user namespace; the child ends at once.
///
/// # Errors
/// The kernel's, or the filter's, refusal.
pub fn clone3_user_namespace() -> Result<()> {
    // struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls.
    let arguments = [0x1000_0000_u64, 0, 0, 0, 17, 0, 0, 0];
    let size = size_of_val(&arguments);
    // SAFETY: the structure is alive and has the size stated; without CLONE_VM and with a null stack this is fork(2),
    // and the child only calls _exit.
    let returned = unsafe { libc::syscall(libc::SYS_clone3, arguments.as_ptr(), size) };
    born(returned)
}

/// Ends the child of a raw clone, and awaits it in the parent.
fn born(returned: libc::c_long) -> Result<()> {
    match checked(returned)? {
        0 => end(0),
        child => {
            let pid = i32::try_from(child).ok().and_then(Pid::from_raw);
            rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).map(drop)
        }
    }
}

/// Enters a namespace of its own again, through its file below `/proc/self/ns`.
///
/// # Errors
/// `EPERM` without the privilege.
pub fn enter_namespace(file: std::os::fd::BorrowedFd<'_>) -> Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: setns(2) takes a borrowed descriptor and a number.
    let returned = unsafe { libc::setns(file.as_raw_fd(), 0) };
    checked(returned.into()).map(drop)
}

/// Attaches to a process as a debugger, and lets go of it again.
///
/// # Errors
/// `EPERM` where it is refused, `ESRCH` where the process is not to be seen.
pub fn attach(pid: Pid) -> Result<()> {
    let pid = pid.as_raw_nonzero().get();
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: PTRACE_SEIZE uses a pid and numbers; the target is not stopped by it.
    let returned = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, none, none) };
    checked(returned).map(drop)
}

/// Reads one byte of another process's memory at an address that is never mapped: `EFAULT` shows that reading was
/// permitted.
///
/// # Errors
/// `EFAULT` where it was permitted; `EPERM` or `ESRCH` where not.
pub fn read_memory(pid: Pid) -> Result<usize> {
    let mut byte = [0_u8; 1];
    let mut local = [IoSliceMut::new(&mut byte)];
    let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(8), iov_len: 1 };
    let pid = pid.as_raw_nonzero().get();
    // SAFETY: IoSliceMut has the layout of iovec; the local buffer is one byte, alive and ours to write; the remote
    // vector is only interpreted in the other process.
    let returned =
        unsafe { libc::process_vm_readv(pid, local.as_mut_ptr().cast(), 1, &raw const remote, 1, 0) };
    checked(libc::c_long::try_from(returned).unwrap_or(-1)).map(|read| usize::try_from(read).unwrap_or(0))
}

/// Writes one byte to another process's memory, at an address that is never mapped.
///
/// # Errors
/// `EFAULT` where it was permitted; `EPERM` or `ESRCH` where not.
pub fn write_memory(pid: Pid) -> Result<usize> {
    let mut byte = [0_u8; 1];
    let mut local = [IoSliceMut::new(&mut byte)];
    let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(8), iov_len: 1 };
    let pid = pid.as_raw_nonzero().get();
    // SAFETY: as for read_memory; the local byte is only read.
    let returned =
        unsafe { libc::process_vm_writev(pid, local.as_mut_ptr().cast(), 1, &raw const remote, 1, 0) };
    checked(libc::c_long::try_from(returned).unwrap_or(-1)).map(|sent| usize::try_from(sent).unwrap_or(0))
}

/// Takes a copy of another process's standard input, through its pidfd.
///
/// # Errors
/// `EPERM` where it is refused; those of pidfd_open(2), such as `ESRCH`.
pub fn take_descriptor(pid: Pid) -> Result<()> {
    use std::os::fd::AsRawFd;
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    // SAFETY: pidfd_getfd(2) takes a borrowed descriptor and numbers.
    let returned = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), 0, 0) };
    checked(returned).map(drop)
}

/// Compares an object of another process with one of ours (`KCMP_VM`).
///
/// # Errors
/// `EPERM` where it is refused, `ESRCH` where the process is not to be seen, `ENOSYS` where the kernel has no kcmp.
pub fn compare(pid: Pid) -> Result<()> {
    let ours = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: kcmp(2) takes numbers only; 1 is KCMP_VM.
    let returned = unsafe { libc::syscall(libc::SYS_kcmp, ours, pid.as_raw_nonzero().get(), 1, 0, 0) };
    checked(returned).map(drop)
}

/// The 32-bit getpid(2), through `int 0x80`.
///
/// # Errors
/// `ENOSYS` where the kernel answers so; without 32-bit support the process dies of `SIGSEGV`.
#[cfg(target_arch = "x86_64")]
pub fn ia32_getpid() -> Result<i64> {
    let mut value: i64 = 20;
    // SAFETY: `int 0x80` with eax 20 is getpid: it reads no memory and returns in rax. The kernel clears r8 to r11
    // on the way, which are declared as clobbered.
    unsafe {
        std::arch::asm!("int 0x80", inout("rax") value, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    if value < 0 {
        Err(Errno::from_raw_os_error(i32::try_from(-value).unwrap_or(i32::MAX)))
    } else {
        Ok(value)
    }
}

/// `TCP_FASTOPEN_CONNECT`: connect(2) returns at once, and the first bytes written travel with the SYN.
///
/// # Errors
/// Those of setsockopt(2).
pub fn fastopen_connect(socket: std::os::fd::BorrowedFd<'_>) -> Result<()> {
    use std::os::fd::AsRawFd;
    let on: libc::c_int = 1;
    let size = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or(4);
    let option = libc::TCP_FASTOPEN_CONNECT;
    let fd = socket.as_raw_fd();
    // SAFETY: the option value is an int that is alive, and the length stated is its own.
    let returned = unsafe { libc::setsockopt(fd, libc::IPPROTO_TCP, option, (&raw const on).cast(), size) };
    checked(returned.into()).map(drop)
}
