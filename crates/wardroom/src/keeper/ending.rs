//! The end of a run: cell, guard, gate, broker and scribe, in this order, but that init may take its last moment beside them. Nothing that
//! was handed over is lost on the way.

use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wardroom_model::Event;
use wardroom_model::event::{Session, SessionEnd};
use wardroom_model::exit::Exit;

use super::canary::CanaryThread;
use super::scribe::Scribe;
use super::start::{self, Crew};
use super::supervise::Run;
use super::terminal::Relay;
use crate::failure::{Done, Failure, OrExit};

impl Run<'_> {
    /// Looks after the scribe until guard and canaries have put their last records down, for which they may have to wait.
    fn await_watchers(&mut self) -> anyhow::Result<()> {
        self.crew.guard.stop();
        self.crew.canaries.iter_mut().for_each(CanaryThread::stop);
        self.await_end(|crew| vec![crew.guard.ended()])?;
        self.await_end(|crew| crew.canaries.iter().map(CanaryThread::ended).collect())
    }

    /// Waits until one of these has ended, if there are any.
    fn await_end(&mut self, of: impl Fn(&Crew) -> Vec<BorrowedFd<'_>>) -> anyhow::Result<()> {
        loop {
            let ends = of(&self.crew);
            if ends.is_empty() {
                return Ok(());
            }
            // One that is given up would be heard of for ever.
            let scribe = Some(&self.crew.scribe).filter(|scribe| !scribe.is_given_up()).map(Scribe::control);
            let entry = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
            let mut set: Vec<_> = scribe.into_iter().chain(ends).map(entry).collect();
            match poll(&mut set, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ready: Vec<bool> = set.iter().map(|entry| !entry.revents().is_empty()).collect();
            let (scribe, ends) = ready.split_at(usize::from(scribe.is_some()));
            let ended = ends.contains(&true);
            if scribe.contains(&true) {
                self.hear_scribe();
            }
            if ended {
                self.record_notes();
                return Ok(());
            }
            self.check_deadlines();
            self.check_heartbeats();
        }
    }

    /// Ends cell, guard, gate, broker and scribe, in this order, and says how it went.
    pub(super) fn end(mut self, relay: Option<Relay>) -> Done {
        self.crew.cell.kill().or_exit(Exit::Internal)?;
        // Nobody is left whom it could serve; it records what is open while the kernel takes the cell apart.
        self.crew.gate.dismiss();
        // A guard ends by itself once nobody is left under its filter: from then on nothing of the agent's runs. What remains is
        // init's own end, for which the kernel takes a millisecond, and the ledger can be finished meanwhile.
        self.await_end(|crew| vec![crew.guard.ended(), crew.cell.pidfd()]).or_exit(Exit::Internal)?;
        if !self.crew.guard.saw_the_cell_end().or_exit(Exit::Internal)? {
            // Then the ends of all that was killed are there for the guard to record.
            self.await_end(|crew| vec![crew.cell.pidfd()]).or_exit(Exit::Internal)?;
        }
        // Nobody writes to the agent's terminal any more. Before its end an agent could keep it busy, and itself alive.
        drop(relay);
        // Nothing more can come: a gate that has not begun does so only if something is left to record.
        if self.crew.gate.is_awaited().or_exit(Exit::Internal)? {
            self.crew.gate.begin().or_exit(Exit::Supervision)?;
        }
        self.await_watchers().or_exit(Exit::Internal)?;
        let Some(outcome) = self.outcome else {
            return Err(Failure::new(Exit::Internal, "the cell was ended before its command was"));
        };
        let Crew { cell, guard, canaries, gate, broker, handoff, scribe } = self.crew;
        let given_up = outcome.failure.is_some();
        let mut problems: Vec<String> = Vec::new();
        let mut note = |what: &str, result: anyhow::Result<()>| {
            problems.extend(result.err().map(|error| format!("{what}: {error:#}")));
        };
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
        scribe.dismiss();
        note("the cell", cell.end().map_err(Into::into));
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
