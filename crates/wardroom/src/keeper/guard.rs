//! The guard's thread. It is the only thread that answers the cell's system calls; when it ends, for whatever reason,
//! every call that would be asked about fails.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::{self, JoinHandle};

use anyhow::anyhow;
use rustix::pipe::{PipeFlags, pipe_with};
use wardroom_cell::guard::{Guard, GuardEnd, GuardError, GuardSetup};
use wardroom_model::exit::Exit;

use crate::failure::{Failure, OrExit};

/// A guard at work.
#[derive(Debug)]
pub(super) struct GuardThread {
    /// Closed to ask the guard to stop.
    stop: Option<OwnedFd>,
    /// Hangs up when the guard has ended.
    ended: OwnedFd,
    thread: Option<JoinHandle<Result<GuardEnd, GuardError>>>,
}

impl GuardThread {
    /// Starts it.
    pub(super) fn start(setup: GuardSetup) -> Result<Self, Failure> {
        let (stopped, stop) = pipe_with(PipeFlags::CLOEXEC).or_exit(Exit::Internal)?;
        let (ended, alive) = pipe_with(PipeFlags::CLOEXEC).or_exit(Exit::Internal)?;
        let guard = Guard::new(setup).or_exit(Exit::CannotContain)?;
        let thread = thread::Builder::new().name("guard".to_owned());
        let thread = thread
            .spawn(move || {
                let end = guard.run(stopped.as_fd());
                drop(alive);
                end
            })
            .or_exit(Exit::Internal)?;
        Ok(Self { stop: Some(stop), ended, thread: Some(thread) })
    }

    /// Readable (hung up) once the guard has ended.
    pub(super) fn ended(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }

    /// Asks it to stop, without waiting.
    pub(super) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Stops it, and says how it ended. Once only.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        self.stop();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Ok(GuardEnd::CellEnded(_) | GuardEnd::Stopped(_)))) | None => Ok(()),
            Some(Ok(Err(error))) => Err(error.into()),
            Some(Err(_panic)) => Err(anyhow!("the guard's thread panicked")),
        }
    }
}
