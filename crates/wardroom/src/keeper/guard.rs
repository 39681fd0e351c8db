//! The guard's thread. It is the only thread that answers the cell's system calls; when it ends, for whatever reason,
//! every call that would be asked about fails.

use std::os::fd::BorrowedFd;

use anyhow::anyhow;
use wardroom_cell::guard::{Guard, GuardEnd, GuardError, GuardSetup};
use wardroom_model::exit::Exit;

use super::worker::Worker;
use crate::failure::{Failure, OrExit};

/// A guard at work.
#[derive(Debug)]
pub(super) struct GuardThread(Worker<Result<GuardEnd, GuardError>>);

impl GuardThread {
    /// Starts it.
    pub(super) fn start(setup: GuardSetup) -> Result<Self, Failure> {
        let guard = Guard::new(setup).or_exit(Exit::CannotContain)?;
        Worker::start("guard", move |stop| guard.run(stop)).map(Self).or_exit(Exit::Internal)
    }

    /// Readable (hung up) once the guard has ended.
    pub(super) fn ended(&self) -> BorrowedFd<'_> {
        self.0.ended()
    }

    /// Asks it to stop, without waiting.
    pub(super) fn stop(&mut self) {
        self.0.stop();
    }

    /// Stops it, and says how it ended. Once only.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        match self.0.finish() {
            Some(Ok(Ok(GuardEnd::CellEnded(_) | GuardEnd::Stopped(_)))) | None => Ok(()),
            Some(Ok(Err(error))) => Err(error.into()),
            Some(Err(_panic)) => Err(anyhow!("the guard's thread panicked")),
        }
    }
}
