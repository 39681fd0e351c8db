//! A thread of the keeper's that works until it is asked to stop, and whose end is noticed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::{self, JoinHandle};

use rustix::pipe::{PipeFlags, pipe_with};

/// A thread at work. Dropping it asks it to stop.
#[derive(Debug)]
pub(super) struct Worker<T> {
    /// Closed to ask it to stop.
    stop: Option<OwnedFd>,
    /// Hangs up when it has ended.
    ended: OwnedFd,
    thread: Option<JoinHandle<T>>,
}

impl<T: Send + 'static> Worker<T> {
    /// Starts it. What `work` is given hangs up when it is to stop.
    pub(super) fn start(
        name: &str,
        work: impl FnOnce(BorrowedFd<'_>) -> T + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (stopped, stop) = pipe_with(PipeFlags::CLOEXEC)?;
        let (ended, alive) = pipe_with(PipeFlags::CLOEXEC)?;
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            let end = work(stopped.as_fd());
            drop(alive);
            end
        })?;
        Ok(Self { stop: Some(stop), ended, thread: Some(thread) })
    }

    /// Readable (hung up) once it has ended.
    pub(super) fn ended(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }

    /// Asks it to stop, without waiting.
    pub(super) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Stops it, and gives what it ended with. Nothing at any later time.
    pub(super) fn finish(&mut self) -> Option<thread::Result<T>> {
        self.stop();
        self.thread.take().map(JoinHandle::join)
    }
}
