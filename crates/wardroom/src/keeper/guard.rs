//! The guard's thread. It is the only thread that answers the cell's system calls; when it ends, for whatever reason,
//! every call that would be asked about fails.

use std::os::fd::BorrowedFd;

use anyhow::anyhow;
use wardroom_cell::guard::{Guard, GuardEnd, GuardError, GuardSetup};
use wardroom_model::exit::Exit;

use super::processes;
use super::worker::Worker;
use crate::failure::{Failure, OrExit};

/// A guard at work.
#[derive(Debug)]
pub(super) struct GuardThread {
    worker: Worker<Result<GuardEnd, GuardError>>,
    /// How it ended, once that was asked.
    end: Option<anyhow::Result<GuardEnd>>,
}

impl GuardThread {
    /// Starts it.
    pub(super) fn start(setup: GuardSetup) -> Result<Self, Failure> {
        let guard = Guard::new(setup).or_exit(Exit::CannotContain)?;
        let worker = Worker::start("guard", move |stop| guard.run(stop)).or_exit(Exit::Internal)?;
        Ok(Self { worker, end: None })
    }

    /// Readable (hung up) once the guard has ended.
    pub(super) fn ended(&self) -> BorrowedFd<'_> {
        self.worker.ended()
    }

    /// Asks it to stop, without waiting.
    pub(super) fn stop(&mut self) {
        self.worker.stop();
    }

    /// Whether it has ended because nobody is left under its filter.
    pub(super) fn saw_the_cell_end(&mut self) -> anyhow::Result<bool> {
        if processes::is_readable(self.ended())? {
            self.join();
        }
        Ok(matches!(self.end, Some(Ok(GuardEnd::CellEnded(_)))))
    }

    /// Stops it, and says how it ended.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        self.join();
        self.end.transpose().map(drop)
    }

    fn join(&mut self) {
        let joined = self.worker.finish().map(|end| match end {
            Ok(end) => Ok(end?),
            Err(_panic) => Err(anyhow!("the guard's thread panicked")),
        });
        self.end = self.end.take().or(joined);
    }
}
