//! What the guard waits for, in one place: a call, a timer, processes that ended, the end.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
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

/// One epoll instance over everything.
#[derive(Debug)]
pub(super) struct Watch(OwnedFd);

impl Watch {
    pub(super) fn new(
        listener: &Listener,
        processes: &Processes,
        refusals: &Refusals,
        stop: BorrowedFd<'_>,
    ) -> Result<Self, GuardError> {
        let what = "setting up the guard's wait";
        let epoll =
            epoll::create(CreateFlags::CLOEXEC).map_err(|errno| GuardError::Kernel { what, errno })?;
        for (fd, token) in
            [(listener.as_fd(), CALL), (processes.exits(), EXITS), (refusals.timer(), TIMER), (stop, STOP)]
        {
            epoll::add(&epoll, fd, EventData::new_u64(token), EventFlags::IN)
                .map_err(|errno| GuardError::Kernel { what, errno })?;
        }
        Ok(Self(epoll))
    }

    /// Waits for the next thing to do. A timer comes before a call, or a flood would put it off forever.
    pub(super) fn wait(&self) -> Result<Ready, GuardError> {
        loop {
            let mut space = [const { MaybeUninit::<Event>::uninit() }; 4];
            let ready = match epoll::wait(self.0.as_fd(), &mut space, None) {
                Ok((ready, _)) => ready,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(GuardError::Kernel { what: "the guard's wait", errno }),
            };
            let next = ready.iter().filter_map(meaning).min_by_key(|next| match next {
                Ready::Stop => 0,
                Ready::Timer => 1,
                Ready::Call => 2,
                Ready::Exits => 3,
                Ready::CellEnded => 4,
            });
            if let Some(next) = next {
                return Ok(next);
            }
        }
    }
}

fn meaning(event: &Event) -> Option<Ready> {
    let flags = event.flags;
    match event.data.u64() {
        CALL if flags.contains(EventFlags::IN) => Some(Ready::Call),
        CALL => Some(Ready::CellEnded),
        EXITS => Some(Ready::Exits),
        TIMER => Some(Ready::Timer),
        STOP => Some(Ready::Stop),
        _ => None,
    }
}

const CALL: u64 = 0;
const EXITS: u64 = 1;
const TIMER: u64 = 2;
const STOP: u64 = 3;
