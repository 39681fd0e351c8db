//! Processes and threads held by descriptor, so that a number that comes back is not mistaken for who had it before.
#![expect(unsafe_code, reason = "PIDFD_GET_INFO and PIDFD_THREAD have no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdGetfdFlags};

/// A process, or one thread of one.
#[derive(Debug)]
pub struct Pidfd(OwnedFd);

/// What the kernel tells of a process (Linux 6.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// The thread group; none once the process is reaped.
    pub process: Option<Pid>,
    /// How it ended, once it is reaped (Linux 6.15): 0 to 255, or 128 + signal.
    pub status: Option<u32>,
}

impl Pidfd {
    /// Opens a process. `thread` must lead its group.
    ///
    /// # Errors
    /// It does not lead one, or is gone.
    pub fn process(leader: Pid) -> io::Result<Self> {
        Self::open(leader, 0)
    }

    /// Opens one thread (Linux 6.9).
    ///
    /// # Errors
    /// The kernel is older, or the thread is gone.
    pub fn thread(thread: Pid) -> io::Result<Self> {
        Self::open(thread, PIDFD_THREAD)
    }

    /// A copy of a descriptor that it holds, close-on-exec (Linux 5.6).
    ///
    /// # Errors
    /// It holds none of this number, or may not be traced.
    pub fn descriptor(&self, fd: u32) -> rustix::io::Result<OwnedFd> {
        let fd = i32::try_from(fd).map_err(|_range| Errno::BADF)?;
        rustix::process::pidfd_getfd(&self.0, fd, PidfdGetfdFlags::empty())
    }

    fn open(pid: Pid, flags: u32) -> io::Result<Self> {
        // SAFETY: pidfd_open takes two integers.
        let got = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw_nonzero().get(), flags) };
        let Ok(fd @ 0..) = i32::try_from(got) else { return Err(io::Error::last_os_error()) };
        // SAFETY: the kernel just made this descriptor, close-on-exec, and nothing else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Asks the kernel about it.
    ///
    /// # Errors
    /// The kernel cannot tell: it is older than 6.13, or the process is reaped and the kernel older than 6.15.
    pub fn info(&self) -> io::Result<Info> {
        let mut raw = RawInfo { mask: INFO_PID | INFO_EXIT, ..RawInfo::default() };
        // SAFETY: the ioctl's number carries the size of the struct, and the kernel writes at most that.
        let got = unsafe { libc::ioctl(self.0.as_raw_fd(), PIDFD_GET_INFO, &raw mut raw) };
        if got != 0 {
            return Err(io::Error::last_os_error());
        }
        let process = (raw.mask & INFO_PID != 0)
            .then(|| i32::try_from(raw.tgid).ok().and_then(Pid::from_raw))
            .flatten();
        let status = (raw.mask & INFO_EXIT != 0).then(|| shell_status(raw.exit_code));
        Ok(Info { process, status })
    }
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A wait status as shells number it.
fn shell_status(wait: i32) -> u32 {
    let signal = wait & 0x7f;
    let code = if signal == 0 { (wait >> 8) & 0xff } else { 128 + signal };
    u32::try_from(code).unwrap_or(u32::MAX)
}

/// `struct pidfd_info` of `linux/pidfd.h`, at the size of Linux 6.15 (`PIDFD_INFO_SIZE_VER0` and the core dump mask).
#[repr(C)]
#[derive(Default)]
struct RawInfo {
    mask: u64,
    cgroupid: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    ids: [u32; 8],
    exit_code: i32,
}

const _: () = assert!(size_of::<RawInfo>() == 64, "PIDFD_INFO_SIZE_VER0");

/// `PIDFD_THREAD`: the thread itself, not its group.
const PIDFD_THREAD: u32 = 0o200;
const INFO_PID: u64 = 1;
const INFO_EXIT: u64 = 1 << 3;
/// `_IOWR(0xFF, 11, struct pidfd_info)` with 64 bytes.
const PIDFD_GET_INFO: libc::Ioctl = 0xc040_ff0b;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::print_stderr, reason = "a skip is counted by xtask")]
    fn a_process_is_opened_by_its_leader_and_a_thread_by_itself() {
        let own = rustix::process::getpid();
        assert!(Pidfd::process(own).is_ok());
        let thread = std::thread::spawn(|| {
            let thread = rustix::thread::gettid();
            (Pidfd::process(thread).is_err(), Pidfd::thread(thread).and_then(|fd| fd.info()))
        });
        let (refused, info) = thread.join().unwrap();
        assert!(refused);
        match info {
            Ok(info) => assert_eq!(info, Info { process: Some(own), status: None }),
            Err(error) => eprintln!("SKIPPED: pidfd of a thread: {error}"),
        }
    }

    #[test]
    fn statuses_are_numbered_as_shells_do() {
        assert_eq!(
            [shell_status(0), shell_status(3 << 8), shell_status(9), shell_status(0x8b)],
            [0, 3, 137, 139]
        );
    }
}
