//! Whether the gate, the scribe and the broker are still alive: each is asked every second. One that is frozen, or loops, closes no
//! socket; it is killed when it has not answered for too long, and what follows is the same as when it had ended.
//!
//! A helper that cannot answer for a good reason is left alone: a gate waits while the ledger takes nothing.

use std::io;
use std::time::Duration;

use wardroom_gate::control;
use wardroom_scribe::control::{ToScribe, say};

use super::supervise::Run;
use crate::clock::Deadline;

/// How often a helper is asked. Waking two processes once a second costs some 0.01 % of a core.
const EVERY: Duration = Duration::from_secs(1);
/// How long a helper may be silent. Both answer within a millisecond; a machine under load takes longer.
const SILENCE: Duration = Duration::from_secs(5);

/// One helper's.
#[derive(Debug)]
pub(super) struct Heartbeat {
    next: Deadline,
    /// When its silence will have been too long. None while no answer is due.
    patience: Option<Deadline>,
}

impl Heartbeat {
    pub(super) fn new() -> Self {
        Self { next: Deadline::after(EVERY), patience: None }
    }

    /// When to look again.
    pub(super) fn next(&self) -> Deadline {
        self.next
    }

    /// It said something, or there is a good reason why it does not.
    pub(super) fn heard(&mut self) {
        self.patience = None;
    }

    /// Asks, where it is time to. False when there was no answer for too long.
    fn beat(&mut self, ask: impl FnOnce() -> io::Result<()>) -> bool {
        if self.next.left().is_some() {
            return true;
        }
        self.next = Deadline::after(EVERY);
        if self.patience.is_some_and(|patience| patience.left().is_none()) {
            self.patience = None;
            return false;
        }
        // One that is gone closes its socket, and one whose queue is full does not answer: either way it will be noticed.
        let _noticed_otherwise = ask();
        self.patience.get_or_insert_with(|| Deadline::after(SILENCE));
        true
    }
}

impl Run<'_> {
    /// Asks all helpers, where it is time to, and kills the one that is silent. The end of its socket does the rest.
    pub(super) fn check_heartbeats(&mut self) {
        if self.crew.scribe.is_given_up() {
            self.heartbeats.scribe.heard();
        }
        if self.crew.scribe.gate_waits() || self.crew.gate.is_dismissed() {
            self.heartbeats.gate.heard();
        }
        let gate = &mut self.crew.gate;
        if !self.heartbeats.gate.beat(|| control::send_ping(gate.control())) {
            let killed = gate.kill();
            self.silent("gate", killed);
        }
        let scribe = &mut self.crew.scribe;
        if !self.heartbeats.scribe.beat(|| say(scribe.control(), &ToScribe::Ping)) {
            let killed = scribe.kill();
            self.silent("scribe", killed);
        }
        self.check_broker();
    }

    /// The broker, where there is one; and whether the operator has unlocked its store.
    fn check_broker(&mut self) {
        let broker = &mut self.crew.broker;
        // While the run ends, what it says waits until it is asked to end as well.
        if !broker.runs() || self.outcome.is_some() {
            self.heartbeats.broker.heard();
        } else if self.heartbeats.broker.next.left().is_none() {
            broker.look_for_key();
        }
        if !self.heartbeats.broker.beat(|| broker.ping()) {
            let killed = broker.kill();
            self.silent("broker", killed);
        }
    }

    fn silent(&mut self, process: &str, killed: io::Result<()>) {
        match killed {
            Ok(()) => {
                self.note(process, &format!("did not answer for {} s and was killed", SILENCE.as_secs()));
            }
            Err(error) => {
                self.give_up(&format!("the {process} does not answer and cannot be killed: {error}"));
            }
        }
    }
}

/// Those of all helpers.
#[derive(Debug)]
pub(super) struct Heartbeats {
    pub(super) gate: Heartbeat,
    pub(super) scribe: Heartbeat,
    pub(super) broker: Heartbeat,
}

impl Heartbeats {
    pub(super) fn new() -> Self {
        Self { gate: Heartbeat::new(), scribe: Heartbeat::new(), broker: Heartbeat::new() }
    }

    /// When to look again at the earliest.
    pub(super) fn next(&self) -> [Deadline; 3] {
        [self.gate.next(), self.scribe.next(), self.broker.next()]
    }
}
