//! Which of the calls that a cell is built from the running kernel has, found by calling each in a way that can only
//! fail: `ENOSYS` says that it is not there.
#![expect(unsafe_code, reason = "calls are probed by number")]

use std::io;

use crate::landlock;

/// What the kernel has. A test makes one up to see what an older kernel would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one call that is there or not")]
pub struct KernelFeatures {
    /// `clone3` (Linux 5.3).
    pub clone3: bool,
    /// `pidfd_open` (Linux 5.3).
    pub pidfd: bool,
    /// `openat2` (Linux 5.6).
    pub openat2: bool,
    /// `close_range` (Linux 5.9).
    pub close_range: bool,
    /// `open_tree`, `move_mount`, `fsopen` (Linux 5.2) and `mount_setattr` (Linux 5.12).
    pub mount_setattr: bool,
    /// User notification of system calls that a signal does not repeat (`WAIT_KILLABLE_RECV`, Linux 5.19 or 6.0).
    pub notification: bool,
    /// The level of Landlock; 0 is none.
    pub landlock: u32,
}

impl KernelFeatures {
    /// Asks the running kernel.
    #[must_use]
    pub fn of_this_kernel() -> Self {
        Self {
            clone3: exists(libc::SYS_clone3),
            pidfd: exists(libc::SYS_pidfd_open),
            openat2: exists(libc::SYS_openat2),
            close_range: exists_close_range(),
            mount_setattr: exists(libc::SYS_mount_setattr),
            notification: has_notification(),
            landlock: landlock::level(),
        }
    }
}

/// Every call probed here refuses these arguments: a null structure of size 0, or the descriptor or process -1.
fn exists(number: libc::c_long) -> bool {
    const NONE: libc::c_long = -1;
    // clone3 takes a pointer first, the others a descriptor or process; for clone3 the address -1 is no address.
    // SAFETY: invalid arguments only, so the call fails before it has an effect.
    let result = unsafe { libc::syscall(number, NONE, 0_usize, 0_usize, 0_usize, 0_usize) };
    result >= 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS)
}

fn exists_close_range() -> bool {
    // An empty range from high to low is refused with EINVAL.
    // SAFETY: no descriptor is in the range.
    let result = unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, 0_u32, 0_u32) };
    result >= 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS)
}

fn has_notification() -> bool {
    const GET_ACTION_AVAIL: libc::c_uint = 2;
    const USER_NOTIF: u32 = 0x7fc0_0000;
    let action = USER_NOTIF;
    // SAFETY: the kernel reads four bytes from a live integer.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0_u32, &raw const action) };
    result == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_answers_for_every_feature() {
        let features = KernelFeatures::of_this_kernel();
        assert!(
            features.clone3 && features.pidfd && features.openat2 && features.close_range,
            "{features:?}"
        );
    }
}
