//! What the guard waits for, in one place: a call, a timer, processes that ended, the end.
//!
//! By `poll(2)` and not by epoll: the kernel's synchronous wake-up of a listener (`SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`)
//! puts the guard on the caller's processor, and an epoll instance in between loses that. On a machine whose idle
//! processors must be woken by their hypervisor, it is the difference between some 7 and some 50 microseconds a call.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use wardroom_kernel::notify::Listener;

use super::GuardError;
use super::privilege::Refusals;
use super::processes::Processes;

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    /// A call waits.
    Call,
    /// Processes ended.
    Exits,
    /// Held refusals are due.
    Timer,
    /// No process is left under the filter.
    CellEnded,
    /// The guard is told to stop.
    Stop,
}

/// Waits for the next thing to do. A timer comes before a call, or a flood would put it off forever.
pub(super) fn wait(
    listener: &Listener,
    processes: &Processes,
    refusals: &Refusals,
    stop: BorrowedFd<'_>,
) -> Result<Ready, GuardError> {
    let sources = [stop, refusals.timer(), listener.as_fd(), processes.exits()];
    let mut set = sources.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    loop {
        match poll(&mut set, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(GuardError::Kernel { what: "the guard's wait", errno }),
        }
        let [stop, timer, call, exits] = set.each_ref().map(PollFd::revents);
        if !stop.is_empty() {
            return Ok(Ready::Stop);
        }
        if !timer.is_empty() {
            return Ok(Ready::Timer);
        }
        if call.contains(PollFlags::IN) {
            return Ok(Ready::Call);
        }
        if !exits.is_empty() {
            return Ok(Ready::Exits);
        }
        if !call.is_empty() {
            return Ok(Ready::CellEnded);
        }
    }
}
