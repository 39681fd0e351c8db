//! The rings of a scribe: what each producer hands over becomes frames, or one record that says it was none.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use wardroom_kernel::ring::{Consumer, Region, Ring, RingError};
use wardroom_ledger::{Head, Producer};

use crate::message;
use crate::store::Store;

/// The rings, and beside each what is known of its producer.
pub(crate) struct Desks {
    pub(crate) consumers: Vec<Consumer>,
    pub(crate) producers: Vec<Desk>,
}

impl Desks {
    pub(crate) fn open(rings: Vec<(Producer, OwnedFd)>, done: &BTreeMap<u8, u64>) -> Result<Self, RingError> {
        let mut desks = Self { consumers: Vec::new(), producers: Vec::new() };
        for (producer, fd) in rings {
            desks.consumers.push(Consumer::new(Ring::open(&fd)?, done.get(&producer.number()).copied()));
            desks.producers.push(Desk { producer, paused_until: 0 });
        }
        Ok(desks)
    }

    pub(crate) fn any_paused(&self, now: u64) -> bool {
        self.producers.iter().any(|desk| desk.paused_until > now)
    }
}

/// What is known of one producer.
pub(crate) struct Desk {
    pub(crate) producer: Producer,
    /// Not to be drained before this time, because it handed over nonsense.
    pub(crate) paused_until: u64,
}

/// Where a producer parses hostile bytes, its records are decoded in full before they are stored.
fn is_exposed(producer: Producer) -> bool {
    match producer {
        Producer::Gate => true,
        Producer::Keeper | Producer::Operator | Producer::Scribe => false,
    }
}

/// Stages the records of a region; says what was no record, if anything.
pub(crate) fn stage(store: &mut Store, region: &Region, producer: Producer) -> Option<String> {
    let (mut bad, mut first_fault) = (0_u64, "");
    for found in region.messages() {
        let staged = match found {
            Err(_rest) => Err("the ring's framing is broken"),
            Ok(found) if message::check(found.start, found.bytes) != found.check => {
                Err("the check does not match")
            }
            Ok(found) => message::read(found.bytes, is_exposed(producer)).and_then(|message| {
                let head = Head {
                    sequence: 0,
                    stamp: message.stamp,
                    kind: message.kind,
                    producer: producer.number(),
                    outcome: message.outcome,
                    ring: found.end,
                };
                store.stage(head, message.payload).map_err(|_fault| "too long for a frame")
            }),
        };
        if let Err(fault) = staged {
            first_fault = if bad == 0 { fault } else { first_fault };
            bad += 1;
        }
    }
    (bad > 0).then(|| format!("{bad} messages that are no records, the first because {first_fault}"))
}
