//! The keeper's loop: one poll over everything that can happen to a running agent, until its command ends or
//! something that protects it cannot be replaced. Every reaction only tightens.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use wardroom_cell::{CellEvent, Spawn, SpawnId};
use wardroom_gate::control::{self, Answer};
use wardroom_model::Event;
use wardroom_model::event::Supervision;
use wardroom_model::exit::Exit;
use wardroom_model::plan::CellPlan;
use wardroom_scribe::control::{FromScribe, hear};

use super::heartbeat::Heartbeats;
use super::operator::Operators;
use super::policy_change::PolicyFile;
use super::start::Crew;
use super::streams::{environment, not_started, streams};
use super::{RunRequest, before};
use crate::clock::Deadline;
use crate::failure::{Done, Failure, OrExit};
use crate::places::AgentPlaces;
use crate::{screen, signals};

/// How long a command has to end by itself once the operator wants it to, before the cell is killed.
const GRACE: Duration = Duration::from_secs(10);
/// How long the ledger may be unable to take records before the cell is ended. An agent that waits does no harm, but
/// an operator must hear of it while there is something to save.
const PATIENCE: Duration = Duration::from_secs(300);

/// A run in progress.
pub(super) struct Run<'a> {
    pub(super) crew: Crew,
    pub(super) plan: &'a CellPlan,
    pub(super) main: SpawnId,
    pub(super) heartbeats: Heartbeats,
    pub(super) operators: Operators,
    policy: PolicyFile,
    signals: Vec<(Signal, UnixStream)>,
    stopping: Option<Deadline>,
    trouble: Option<Deadline>,
    /// None while the agent runs.
    pub(super) outcome: Option<Outcome>,
    /// Records about Wardroom's own processes that the ledger has not taken yet.
    notes: Vec<Event>,
}

/// How a run ended.
pub(super) struct Outcome {
    pub(super) status: u32,
    pub(super) because: Option<String>,
    pub(super) failure: Option<Failure>,
}

/// What there is to look after, in the order of the poll set.
enum Source {
    Cell,
    Scribe,
    Gate,
    /// Somebody in the cell needs the gate, which has not begun.
    Network,
    Broker,
    Guard,
    Canaries,
    Policy,
    Caller,
    Signal(Signal),
    Conversation(u64),
}

/// Starts the command and looks after it to the end.
pub(super) fn supervise(mut crew: Crew, agent: &AgentPlaces, plan: &CellPlan, request: RunRequest) -> Done {
    screen::waits_for_nobody();
    let operators = Operators::listen(agent, plan).or_exit(Exit::Internal)?;
    let policy = PolicyFile::watch(&request.source).or_exit(Exit::Internal)?;
    let signals = signals::heard().or_exit(Exit::Internal)?;
    let (stdio, relay, on_terminal) = streams(&crew, request.streams)?;
    let spawn = Spawn {
        argv: plan.command.clone(),
        env: environment(plan, None),
        directory: plan.directory.clone(),
        stdio,
        terminal: on_terminal,
    };
    before::run(&mut crew.cell, plan)?;
    let main = crew.cell.spawn(spawn).or_exit(Exit::CannotContain)?;
    let mut run = Run {
        crew,
        plan,
        main,
        heartbeats: Heartbeats::new(),
        operators,
        policy,
        signals,
        stopping: None,
        trouble: None,
        outcome: None,
        notes: Vec::new(),
    };
    while run.outcome.is_none() {
        run.turn()?;
    }
    run.end(relay)
}

impl Run<'_> {
    /// Waits for something to happen, and reacts.
    fn turn(&mut self) -> Result<(), Failure> {
        for ready in self.wait().or_exit(Exit::Internal)? {
            match ready {
                Source::Cell => self.hear_cell().or_exit(Exit::Internal)?,
                Source::Scribe => self.hear_scribe(),
                Source::Gate => self.hear_gate(),
                Source::Network => self.begin_gate(),
                Source::Broker => self.hear_broker(),
                Source::Guard => self.give_up("the guard ended"),
                Source::Canaries => self.give_up("the watch over the canaries ended"),
                Source::Policy => self.policy.reread(&mut self.crew),
                Source::Caller => self.operators.accept(),
                Source::Signal(signal) => self.pass_on(signal).or_exit(Exit::Internal)?,
                Source::Conversation(id) => self.converse(id),
            }
        }
        self.check_deadlines();
        self.check_heartbeats();
        self.record_notes();
        Ok(())
    }

    /// What is ready now; empty when a deadline came first.
    fn wait(&self) -> anyhow::Result<Vec<Source>> {
        let crew = &self.crew;
        let mut sources: Vec<(Source, BorrowedFd<'_>)> = vec![
            (Source::Cell, crew.cell.events()),
            (Source::Scribe, crew.scribe.control()),
            (Source::Gate, crew.gate.control()),
            (Source::Guard, crew.guard.ended()),
        ];
        sources.extend(self.operators.listener().map(|listener| (Source::Caller, listener)));
        sources.extend(crew.gate.awaited().map(|socket| (Source::Network, socket)));
        sources.extend(crew.canaries.iter().map(|canaries| (Source::Canaries, canaries.ended())));
        sources.extend(crew.broker.controls().map(|control| (Source::Broker, control)));
        sources.extend(self.policy.notices().map(|notices| (Source::Policy, notices)));
        sources.extend(self.signals.iter().map(|(signal, heard)| (Source::Signal(*signal), heard.as_fd())));
        sources.extend(self.operators.conversations().map(|(id, line)| (Source::Conversation(id), line)));
        let mut set: Vec<PollFd<'_>> =
            sources.iter().map(|(_, fd)| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        let deadlines =
            [self.stopping, self.trouble, crew.gate.due(), crew.gate.starting(), self.operators.deaf()];
        let next = deadlines
            .into_iter()
            .flatten()
            .chain(self.heartbeats.next())
            .map(|deadline| deadline.left().unwrap_or_default())
            .min();
        let timeout = next.map(Timespec::try_from).transpose().context("a deadline too far away")?;
        match poll(&mut set, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = set.iter().map(|entry| !entry.revents().is_empty()).collect();
        Ok(sources
            .into_iter()
            .zip(ready)
            .filter(|(_, ready)| *ready)
            .map(|((source, _), _)| source)
            .collect())
    }

    fn hear_cell(&mut self) -> std::io::Result<()> {
        match self.crew.cell.next_event()? {
            CellEvent::SpawnFailed { id, errno, what } => {
                let why = not_started(errno, &what);
                if id == self.main {
                    let name =
                        String::from_utf8_lossy(self.plan.command.first().map_or(&[][..], Vec::as_slice));
                    screen::talk(&format!("wardroom: {name}: {why}"));
                } else {
                    self.operators.not_started(id, &why);
                }
            }
            CellEvent::Exited { id, status } if id == self.main => self.finish(status, None, None),
            CellEvent::Exited { id, status } => self.operators.ended(id, status),
            CellEvent::Ended => {
                let failure = Failure::new(
                    Exit::Supervision,
                    "the cell's init ended, and with it everything in the cell",
                );
                self.finish(137, Some("the cell's init ended".to_owned()), Some(failure));
            }
        }
        Ok(())
    }

    pub(super) fn hear_scribe(&mut self) {
        self.heartbeats.scribe.heard();
        match hear::<FromScribe>(self.crew.scribe.control()) {
            Ok(Some(FromScribe::Trouble(what))) => {
                screen::talk(&format!("wardroom: the ledger cannot be written, so the agent waits: {what}"));
                self.trouble.get_or_insert_with(|| Deadline::after(PATIENCE));
            }
            Ok(Some(FromScribe::Relieved)) => {
                screen::talk("wardroom: the ledger can be written again, and the agent goes on");
                self.trouble = None;
            }
            // Another scribe finds out what is there, and records the end. The agent does not go on beside a disk like that.
            Ok(Some(FromScribe::Lost(what))) => {
                self.give_up(&format!("the disk did not keep records of the ledger ({what})"));
            }
            Ok(Some(FromScribe::Ready { .. } | FromScribe::Finished { .. } | FromScribe::Pong)) => {}
            Ok(None) | Err(_) => match self.crew.scribe.replace() {
                Ok(before) => self.note(
                    "scribe",
                    &format!("ended ({before}) and was started again; meanwhile the agent waited"),
                ),
                Err(error) => self.give_up(&format!("the scribe cannot be started again: {error:#}")),
            },
        }
    }

    fn hear_gate(&mut self) {
        self.heartbeats.gate.heard();
        match control::receive(self.crew.gate.control()) {
            Ok(Some(Answer::Ready)) => self.crew.gate.serves(),
            Ok(Some(Answer::Pong | Answer::PolicyInForce(_))) => {}
            Ok(Some(Answer::PolicyRefused(why))) => {
                self.give_up(&format!("the gate refused a policy that is valid: {why}"));
            }
            Ok(None) | Err(_) => match self.crew.gate.replace() {
                Ok(before) => {
                    if let Err(error) = self.crew.broker.supply(&self.crew.gate) {
                        self.give_up(&format!("the new gate cannot be supplied with credentials: {error:#}"));
                    }
                    self.note(
                        "gate",
                        &format!("ended ({before}) and was started again; meanwhile nothing passed"),
                    );
                }
                Err(error) => self.give_up(&format!("the gate cannot be started again: {error:#}")),
            },
        }
    }

    /// Until it serves, nothing passes.
    fn begin_gate(&mut self) {
        if let Err(error) = self.crew.gate.begin() {
            self.give_up(&format!("the gate cannot be started: {error:#}"));
        }
    }

    fn hear_broker(&mut self) {
        self.heartbeats.broker.heard();
        let alive = self.crew.broker.hear();
        self.notes.append(&mut self.crew.broker.notes());
        if alive {
            return;
        }
        match self.crew.broker.replace(&self.crew.gate) {
            Ok(before) => self.note(
                "broker",
                &format!("ended ({before}) and was started again; meanwhile no credential could be used"),
            ),
            Err(error) => self.give_up(&format!("the broker cannot be started again: {error:#}")),
        }
    }

    /// Passes a signal of the operator's on to the command; being asked to end also sets a deadline.
    fn pass_on(&mut self, signal: Signal) -> std::io::Result<()> {
        for (own, heard) in &mut self.signals {
            if *own == signal {
                while std::io::Read::read(heard, &mut [0; 16]).is_ok_and(|n| n > 0) {}
            }
        }
        if matches!(signal, Signal::TERM | Signal::HUP) {
            self.stopping.get_or_insert_with(|| Deadline::after(GRACE));
        }
        self.crew.cell.signal(self.main, signal)
    }

    fn converse(&mut self, id: u64) {
        if self.operators.converse(id, &mut self.crew, self.plan) && self.stopping.is_none() {
            self.stopping = Some(Deadline::after(GRACE));
            if let Err(error) = self.crew.cell.signal(self.main, Signal::TERM) {
                self.give_up(&format!("the command cannot be signalled: {error}"));
            }
        }
    }

    pub(super) fn check_deadlines(&mut self) {
        let over = |deadline: Option<Deadline>| deadline.is_some_and(|deadline| deadline.left().is_none());
        // Nobody waits for these once the run ends.
        if self.outcome.is_none() {
            if over(self.stopping) {
                self.finish(143, Some("the operator ended it".to_owned()), None);
            }
            if over(self.crew.gate.due()) {
                self.begin_gate();
            }
            if over(self.crew.gate.starting()) {
                self.give_up("the gate did not serve in time");
            }
        }
        if over(self.trouble) {
            self.trouble = None;
            self.crew.scribe.give_up();
            self.give_up(&format!("the ledger could not be written for {} s", PATIENCE.as_secs()));
        }
    }

    /// Says something about Wardroom's own processes, and has it recorded as soon as the ledger takes it.
    pub(super) fn note(&mut self, process: &str, what: &str) {
        screen::talk(&format!("wardroom: the {process} {what}"));
        self.notes
            .push(Event::Supervision(Supervision { process: process.to_owned(), what: what.to_owned() }));
    }

    /// Records what there is to note. While the ledger takes nothing, the notes wait, and the keeper goes on.
    pub(super) fn record_notes(&mut self) {
        while let Some(event) = self.notes.first() {
            match self.crew.handoff.offer(event) {
                Ok(Some(_receipt)) => drop(self.notes.remove(0)),
                Ok(None) => return,
                Err(error) => {
                    self.notes.clear();
                    self.give_up(&format!("a record could not be handed over: {error}"));
                }
            }
        }
    }

    /// A protection is gone and cannot be replaced: the cell is frozen at once, and ended. Where it ends already, that is how.
    pub(super) fn give_up(&mut self, why: &str) {
        let failure = Failure::new(Exit::Supervision, format!("{why}; the cell was ended"));
        if let Some(ending) = &mut self.outcome {
            ending.failure.get_or_insert(failure);
            return;
        }
        if let Err(error) = self.crew.cell.freeze() {
            screen::talk(&format!("wardroom: the cell could not be frozen and is killed: {error}"));
        }
        self.finish(137, Some(why.to_owned()), Some(failure));
    }

    /// Remembers how the run ended. The first reason counts.
    fn finish(&mut self, status: u32, because: Option<String>, failure: Option<Failure>) {
        if self.outcome.is_none() {
            self.outcome = Some(Outcome { status, because, failure });
        }
    }
}
