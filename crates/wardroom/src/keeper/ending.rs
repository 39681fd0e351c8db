//! The end of a run: cell, guard, gate, broker and scribe, in this order. Nothing that was handed over is lost on the way.

use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wardroom_model::Event;
use wardroom_model::event::{Session, SessionEnd};
use wardroom_model::exit::Exit;

use super::canary::CanaryThread;
use super::scribe::Scribe;
use super::start::{self, Crew};
use super::supervise::Run;
use crate::failure::{Done, Failure, OrExit};

impl Run<'_> {
    /// Looks after the scribe until guard and canaries have put their last records down, for which they may have to wait.
    fn await_watchers(&mut self) -> anyhow::Result<()> {
        self.crew.guard.stop();
        self.crew.canaries.iter_mut().for_each(CanaryThread::stop);
        self.await_end(|crew| Some(crew.guard.ended()))?;
        self.await_end(|crew| crew.canaries.as_ref().map(CanaryThread::ended))
    }

    fn await_end(&mut self, of: impl Fn(&Crew) -> Option<BorrowedFd<'_>>) -> anyhow::Result<()> {
        loop {
            let Some(ended) = of(&self.crew) else { return Ok(()) };
            // One that is given up would be heard of for ever.
            let scribe = Some(&self.crew.scribe).filter(|scribe| !scribe.is_given_up()).map(Scribe::control);
            let entry = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
            let mut set: Vec<_> = [ended].into_iter().chain(scribe).map(entry).collect();
            match poll(&mut set, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ready: Vec<bool> = set.iter().map(|entry| !entry.revents().is_empty()).collect();
            if ready.get(1) == Some(&true) {
                self.hear_scribe();
            }
            if ready.first() == Some(&true) {
                self.record_notes();
                return Ok(());
            }
            self.check_deadlines();
            self.check_heartbeats();
        }
    }

    /// Ends cell, guard, gate, broker and scribe, in this order, and says how it went.
    pub(super) fn end(mut self) -> Done {
        self.crew.cell.kill().or_exit(Exit::Internal)?;
        // Nobody is left whom it could serve; it records what is open while the kernel takes the cell apart.
        self.crew.gate.dismiss();
        // Then the ends of all that was killed are there for the guard to record.
        self.await_end(|crew| Some(crew.cell.pidfd())).or_exit(Exit::Internal)?;
        // Nothing more can come: a gate that has not begun does so only if something is left to record.
        if self.crew.gate.is_awaited().or_exit(Exit::Internal)? {
            self.crew.gate.begin().or_exit(Exit::Supervision)?;
        }
        self.await_watchers().or_exit(Exit::Internal)?;
        let Some(outcome) = self.outcome else {
            return Err(Failure::new(Exit::Internal, "the cell was ended before its command was"));
        };
        let Crew { cell, mut guard, canaries, gate, broker, handoff, scribe } = self.crew;
        let given_up = outcome.failure.is_some();
        let mut problems: Vec<String> = Vec::new();
        let mut note = |what: &str, result: anyhow::Result<()>| {
            problems.extend(result.err().map(|error| format!("{what}: {error:#}")));
        };
        note("the cell", cell.end().map_err(Into::into));
        note("the guard", guard.finish());
        if let Some(mut canaries) = canaries {
            note("the canaries", canaries.finish());
        }
        note("the gate", gate.finish());
        let mut last = Vec::new();
        note("the broker", broker.finish(&mut last));
        let end =
            Event::Session(Session::Ended(SessionEnd { status: outcome.status, because: outcome.because }));
        for event in last.iter().chain([&end]) {
            note("the last records", start::record(&handoff, event));
        }
        note("the ledger", scribe.finish());
        self.operators.farewell();
        if let Some(failure) = outcome.failure {
            return Err(failure);
        }
        if !problems.is_empty() && !given_up {
            return Err(Failure::new(
                Exit::Supervision,
                format!("the agent ended, but not everything ended well: {}", problems.join("; ")),
            ));
        }
        Ok(u8::try_from(outcome.status).unwrap_or(u8::MAX))
    }
}
