//! What the gate puts on record, and how repetitions are counted.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::sync::Notify;
use wardroom_kernel::nflog::Target;
use wardroom_model::event::{Actor, NameQuery, Packet, Supervision};
use wardroom_model::{Captured, Event, Outcome, Verdict};
use wardroom_scribe::{Handoff, HandoffError, Receipt};

use crate::tally::{Grain, KINDS, Sighting, Tally};

/// The longest name that is kept of a question: a DNS name has at most 255 bytes, escaped four times that.
const NAME_BOUND: usize = 1_020;

/// Name, type, and outcome: an answered name is never counted among the refused.
type Question = (Captured, u16, Outcome);
/// Where to, and who.
type Refused = (Target, Option<Actor>);

/// The gate's pen. Once a record could not be handed over, the gate is over: see [`Recorder::failure`].
#[derive(Debug)]
pub(crate) struct Recorder {
    handoff: Arc<Handoff>,
    names: RefCell<Tally<Question, Verdict>>,
    packets: RefCell<Tally<Refused, Verdict>>,
    lost: Cell<u64>,
    dirty: Notify,
    failed: RefCell<Option<HandoffError>>,
    failure: Notify,
}

impl Recorder {
    pub(crate) fn new(handoff: Arc<Handoff>) -> Self {
        Self {
            handoff,
            names: RefCell::new(Tally::new(KINDS)),
            packets: RefCell::new(Tally::new(KINDS)),
            lost: Cell::new(0),
            dirty: Notify::new(),
            failed: RefCell::default(),
            failure: Notify::new(),
        }
    }

    /// Hands one record over and returns the proof. None means that there is no ledger any more, and the act must not
    /// happen; the gate ends.
    pub(crate) fn record(&self, event: &Event) -> Option<Receipt> {
        match self.handoff.record(event) {
            Ok(receipt) => Some(receipt),
            Err(error) => {
                *self.failed.borrow_mut() = Some(error);
                self.failure.notify_one();
                None
            }
        }
    }

    /// Waits until a record could not be handed over.
    pub(crate) async fn failure(&self) -> HandoffError {
        loop {
            if let Some(error) = self.failed.borrow_mut().take() {
                return error;
            }
            self.failure.notified().await;
        }
    }

    /// A question to the resolver.
    pub(crate) fn name(&self, name: &str, rtype: u16, verdict: Verdict) {
        let outcome = verdict.outcome;
        let exact = Captured::cut(name.as_bytes(), NAME_BOUND);
        // In a flood of names: by the last two labels, then all together.
        let parent = name.rsplitn(3, '.').take(2).collect::<Vec<_>>();
        let below = parent.iter().rev().fold("*".to_owned(), |all, label| all + "." + label);
        let below = Captured::cut(below.as_bytes(), NAME_BOUND);
        let grains =
            [(exact, rtype, Grain::Fine), (below, 0, Grain::Coarse), (Captured::from("*"), 0, Grain::All)];
        for (name, rtype, grain) in grains {
            let sighting =
                self.names.borrow_mut().see((name.clone(), rtype, outcome), grain, verdict.clone());
            match sighting {
                Sighting::First => {
                    return self.now(&Event::Name(question((name, rtype, outcome), 1, verdict)));
                }
                Sighting::Counted => return self.dirty.notify_one(),
                Sighting::TooMany => {}
            }
        }
    }

    /// A packet that the firewall refused, or a connection refused at the door.
    pub(crate) fn packet(&self, target: Target, actor: Option<Actor>, verdict: Verdict) {
        let any: IpAddr = match target.destination {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let coarse = Target { destination: SocketAddr::new(any, 0), ..target };
        // In a flood of destinations: by program, then all together. 256 protocols, of two families: always room.
        let grains = [
            ((target, actor.clone()), Grain::Fine),
            ((coarse, actor), Grain::Coarse),
            ((coarse, None), Grain::All),
        ];
        for (refused, grain) in grains {
            let sighting = self.packets.borrow_mut().see(refused.clone(), grain, verdict.clone());
            match sighting {
                Sighting::First => return self.now(&Event::Packet(packet(refused, 1, verdict))),
                Sighting::Counted => return self.dirty.notify_one(),
                Sighting::TooMany => {}
            }
        }
    }

    /// Reports of refused packets that the kernel could not deliver.
    pub(crate) fn lost_reports(&self, count: u64) {
        self.lost.set(self.lost.get().saturating_add(count));
        self.dirty.notify_one();
    }

    /// Waits until there is something that [`Self::flush`] would write.
    pub(crate) async fn something_counted(&self) {
        self.dirty.notified().await;
    }

    /// Writes what was counted since the last time.
    pub(crate) fn flush(&self) {
        let names = self.names.borrow_mut().take();
        for (key, count, verdict) in names {
            self.now(&Event::Name(question(key, count, verdict)));
        }
        let packets = self.packets.borrow_mut().take();
        for (refused, count, verdict) in packets {
            self.now(&Event::Packet(packet(refused, count, verdict)));
        }
        let lost = self.lost.take();
        if lost > 0 {
            self.note(format!("the kernel could not deliver {lost} reports of refused packets"));
        }
    }

    /// Something about the gate itself.
    pub(crate) fn note(&self, what: String) {
        self.now(&Event::Supervision(Supervision { process: "gate".to_owned(), what }));
    }

    /// For records that no act waits for; a failure ends the gate all the same.
    pub(crate) fn now(&self, event: &Event) {
        let _recorded = self.record(event);
    }
}

fn question((name, rtype, _): Question, count: u64, verdict: Verdict) -> NameQuery {
    NameQuery { name, rtype, count, verdict }
}

fn packet((target, actor): Refused, count: u64, verdict: Verdict) -> Packet {
    let Target { protocol, destination } = target;
    Packet { protocol, destination, count, actor, verdict }
}
