//! A timer that is set for once, and can be waited for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::GuardError;

#[derive(Debug)]
pub(super) struct Alarm(OwnedFd);

impl Alarm {
    pub(super) fn new(clock: TimerfdClockId) -> Result<Self, GuardError> {
        timerfd_create(clock, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
            .map(Self)
            .map_err(|errno| GuardError::Kernel { what: "making a timer", errno })
    }

    /// Readable after this time, until it is set again; never when it is zero.
    pub(super) fn set(&self, after: Timespec) -> Result<(), GuardError> {
        let once = Itimerspec { it_interval: Timespec::default(), it_value: after };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)
            .map(|_before| ())
            .map_err(|errno| GuardError::Kernel { what: "setting a timer", errno })
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
