//! Attempts on a terminal (attack C9): pushing input into it, as if the operator had typed it.

#![expect(unsafe_code, reason = "ioctl requests that no library wraps, for good reason")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::io::{Errno, Result};

/// Pushes one byte into a terminal's input (`TIOCSTI`).
///
/// # Errors
/// `EPERM` and `EACCES` where it is refused, `EIO` where the kernel has it switched off (`dev.tty.legacy_tiocsti`).
pub fn push_input(terminal: BorrowedFd<'_>) -> Result<()> {
    let byte = b'\n';
    // SAFETY: TIOCSTI reads one byte behind the pointer, which is alive; the descriptor is borrowed.
    let returned = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSTI, &raw const byte) };
    if returned == 0 { Ok(()) } else { Err(super::process::last_errno()) }
}

/// Asks the console for its shift state (`TIOCLINUX`, subcode 6): harmless, and it passes the same gate as pasting.
///
/// # Errors
/// `ENOTTY` from the kernel where the terminal is no console, `EPERM` where it is refused.
pub fn console_request(terminal: BorrowedFd<'_>) -> Result<()> {
    let mut request = [6_u8; 8];
    // SAFETY: TIOCLINUX subcode 6 reads and writes one byte behind the pointer, and the buffer has eight.
    let returned = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCLINUX, request.as_mut_ptr()) };
    if returned == 0 { Ok(()) } else { Err(super::process::last_errno()) }
}

/// The ends of this process's own terminal.
static KEPT: OnceLock<(OwnedFd, OwnedFd)> = OnceLock::new();

/// A new pseudoterminal, made the controlling terminal of a new session of this process: its slave's end. Both
/// ends stay open until the process ends: closing the master would hang the session up, and this process with it.
///
/// # Errors
/// Those of posix_openpt(3), setsid(2) and `TIOCSCTTY`.
pub fn own_terminal() -> Result<BorrowedFd<'static>> {
    use rustix::fs::{Mode, OFlags};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    match rustix::process::setsid() {
        Ok(_) | Err(Errno::PERM) => {}
        Err(other) => return Err(other),
    }
    let slave = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?;
    rustix::process::ioctl_tiocsctty(&slave)?;
    Ok(KEPT.get_or_init(|| (master, slave)).1.as_fd())
}
