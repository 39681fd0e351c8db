//! The scribe's loop: take what is in the rings, store it, give the room back, sign now and then.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use thiserror::Error;
use wardroom_kernel::ring::{Bell, Consumer, Region, Ring, RingError, wait_any};
use wardroom_ledger::{Head, Producer, layout};
use wardroom_model::event::{LedgerNote, Recovery};
use wardroom_model::{Event, Stamp};

use crate::control::{Control, FromScribe};
use crate::key::{self, KeyError};
use crate::open::{self, Opened};
use crate::place::{Place, PlaceError};
use crate::store::{Store, StoreError};
use crate::{clock, message};

/// What a scribe needs.
#[derive(Debug)]
pub struct ScribeSetup {
    /// Where the ledger lies. Made with mode 0700 if it does not exist.
    pub ledger_dir: PathBuf,
    /// Where the host's signing key lies.
    pub key_dir: PathBuf,
    /// `host/agent`: which ledger this is, everywhere and forever.
    pub origin: String,
    /// The rings made by [`crate::create_ring`].
    pub rings: Vec<(Producer, OwnedFd)>,
    /// The connection to the keeper.
    pub control: OwnedFd,
}

/// Why a scribe ended other than by being told to.
#[derive(Debug, Error)]
pub enum ScribeError {
    /// The ledger's directory.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The signing key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The ledger.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A ring.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The control connection.
    #[error("cannot listen to the keeper")]
    Control(#[source] io::Error),
    /// Told to finish while the disk takes nothing. What is in the rings stays there for the next start.
    #[error("records are left in the rings")]
    LeftInRings(#[source] PlaceError),
}

/// Runs the scribe until the keeper says so, or is gone.
///
/// # Errors
/// The ledger cannot be opened, or could not be finished. Nothing that was handed over is lost by that.
pub fn serve(setup: ScribeSetup) -> Result<(), ScribeError> {
    let ScribeSetup { ledger_dir, key_dir, origin, rings, control } = setup;
    let place = Place::open_or_create(&ledger_dir)?;
    place.lock()?;
    let signer = key::host_key(&key_dir, &origin)?;
    let Opened { store, unclean, cut_bytes, done } = open::open(place, signer)?;
    let kept = store.next();
    let mut scribe =
        Scribe::new(store, rings, &done, Control::listen(control).map_err(ScribeError::Control)?)?;
    scribe.control.tell(&FromScribe::Ready { records: kept, recovered: unclean });
    scribe.publish_key()?;
    if unclean {
        let from_handoff = scribe.drain()?;
        let recovery = Recovery { kept, cut_bytes, from_handoff };
        scribe.note(&Event::Ledger(LedgerNote::Recovered(recovery)))?;
    }
    scribe.run()
}

struct Scribe {
    store: Store,
    consumers: Vec<Consumer>,
    /// Beside each consumer.
    desks: Vec<Desk>,
    region: Region,
    control: Control,
    clocks: Stamp,
    last_commit: u64,
}

/// What is known of one producer.
struct Desk {
    producer: Producer,
    /// Not to be drained before this time, because it handed over nonsense.
    paused_until: u64,
}

/// Where a producer parses hostile bytes, its records are decoded in full before they are stored.
fn is_exposed(producer: Producer) -> bool {
    match producer {
        Producer::Gate => true,
        Producer::Keeper | Producer::Operator | Producer::Scribe => false,
    }
}

impl Scribe {
    fn new(
        store: Store,
        rings: Vec<(Producer, OwnedFd)>,
        done: &BTreeMap<u8, u64>,
        control: Control,
    ) -> Result<Self, ScribeError> {
        let mut consumers = Vec::new();
        let mut desks = Vec::new();
        for (producer, fd) in rings {
            consumers.push(Consumer::new(Ring::open(&fd)?, done.get(&producer.number()).copied()));
            desks.push(Desk { producer, paused_until: 0 });
        }
        let clocks = clock::now();
        let region = Region::default();
        Ok(Self { store, consumers, desks, region, control, clocks, last_commit: clocks.monotonic })
    }

    fn run(&mut self) -> Result<(), ScribeError> {
        let mut quiet = 0_u32;
        loop {
            self.watch_clocks()?;
            let finishing = self.control.finishing();
            let taken = self.drain()?;
            quiet = if taken == 0 { quiet.saturating_add(1) } else { 0 };
            if finishing && taken == 0 {
                return self.finish();
            }
            if self.commit_is_due(quiet) {
                self.commit()?;
            }
            self.rest(quiet);
        }
    }

    /// Takes everything that is in the rings and stores it. Returns the number of records.
    fn drain(&mut self) -> Result<u64, ScribeError> {
        let before = self.store.next();
        for at in 0..self.consumers.len() {
            let (Some(consumer), Some(desk)) = (self.consumers.get_mut(at), self.desks.get_mut(at)) else {
                break;
            };
            if consumer.is_empty() || desk.paused_until > self.clocks.monotonic {
                continue;
            }
            consumer.copy_out(&mut self.region);
            let garbled = stage(&mut self.store, &self.region, desk.producer);
            if let Some(what) = garbled {
                desk.paused_until = self.clocks.monotonic + PAUSE_AFTER_NONSENSE;
                let producer = desk.producer.number();
                self.note(&Event::Ledger(LedgerNote::Garbled { producer, what }))?;
            }
            self.write()?;
            if let Some(consumer) = self.consumers.get_mut(at) {
                consumer.advance(self.region.end());
            }
        }
        Ok(self.store.next() - before)
    }

    fn write(&mut self) -> Result<(), ScribeError> {
        self.insist(Store::write)
    }

    fn commit(&mut self) -> Result<(), ScribeError> {
        self.insist(Store::commit)?;
        self.last_commit = self.clocks.monotonic;
        Ok(())
    }

    /// Does something with the disk, however long the disk takes to allow it. Producers wait meanwhile.
    ///
    /// Only a failed sync is fatal: the kernel may have dropped what it could not write, and only a new opening
    /// tells what is there.
    fn insist(&mut self, act: impl Fn(&mut Store) -> Result<(), PlaceError>) -> Result<(), ScribeError> {
        let mut attempts = 0_u32;
        while let Err(error) = act(&mut self.store) {
            if error.is_failed_sync() {
                return Err(error.into());
            }
            if attempts == 0 {
                self.control.tell(&FromScribe::Trouble(describe(&error)));
            }
            attempts = attempts.saturating_add(1);
            if self.control.finishing() && attempts > GIVE_UP_AFTER {
                return Err(ScribeError::LeftInRings(error));
            }
            thread::sleep(RETRY);
        }
        if attempts > 0 {
            self.control.tell(&FromScribe::Relieved);
        }
        Ok(())
    }

    fn commit_is_due(&self, quiet: u32) -> bool {
        let age = self.clocks.monotonic.saturating_sub(self.last_commit);
        self.store.uncommitted() && (age > COMMIT_EVERY || quiet == COMMIT_WHEN_QUIET)
    }

    /// Sleeps: shortly while records come, so that they gather and nobody pays for waking us; else until the first.
    fn rest(&self, quiet: u32) {
        let (bell, at_most) = if quiet < COMMIT_WHEN_QUIET {
            (Bell::Filling, NAP)
        } else {
            (Bell::Any, if self.store.uncommitted() { NAP } else { LOOK_AT_CLOCKS })
        };
        let slept = wait_any(&self.consumers, self.control.word(), bell, at_most);
        // No futex_waitv here (before Linux 5.16), or a producer that rings without end: sleep all the same.
        if slept.is_err() || self.desks.iter().any(|desk| desk.paused_until > self.clocks.monotonic) {
            thread::sleep(NAP);
        }
    }

    fn watch_clocks(&mut self) -> Result<(), ScribeError> {
        let now = clock::now();
        let step = drift(now).saturating_sub(drift(self.clocks));
        self.clocks = now;
        if step.unsigned_abs() > CLOCK_STEP {
            self.note(&Event::Ledger(LedgerNote::ClockStep { nanos: step }))?;
        }
        Ok(())
    }

    fn note(&mut self, event: &Event) -> Result<(), ScribeError> {
        // Notes are short by construction; one that were not would be no reason to stop taking records.
        if self.store.note(clock::now(), event).is_ok() { self.write() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<(), ScribeError> {
        if self.store.uncommitted() {
            self.commit()?;
        }
        self.store.hint(true)?;
        self.control.tell(&FromScribe::Finished { records: self.store.next() });
        Ok(())
    }

    /// Puts the public key beside the ledger, for convenience; a verifier should have it from elsewhere.
    fn publish_key(&self) -> Result<(), ScribeError> {
        if self.store.place.readable(layout::VERIFIER)?.is_none() {
            self.store.replace(layout::VERIFIER, &format!("{}\n", self.store.signer.verifier()))?;
        }
        Ok(())
    }
}

/// Stages the records of a region; says what was no record, if anything.
fn stage(store: &mut Store, region: &Region, producer: Producer) -> Option<String> {
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

/// Wall clock minus monotonic clock.
fn drift(stamp: Stamp) -> i64 {
    let (wall, monotonic) = (i128::from(stamp.wall), i128::from(stamp.monotonic));
    i64::try_from(wall - monotonic).unwrap_or(i64::MAX)
}

fn describe(error: &PlaceError) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// How often a write that failed is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// Attempts after which a scribe that was told to finish leaves the rest in the rings: five seconds.
const GIVE_UP_AFTER: u32 = 50;

/// How long records may gather. At 200,000 records a second a ring of 1 MiB lasts ten times as long.
const NAP: Duration = Duration::from_millis(2);

/// Naps without a record after which the scribe signs and lies down: 100 ms.
const COMMIT_WHEN_QUIET: u32 = 50;

/// The longest time between commits while records come, in nanoseconds.
const COMMIT_EVERY: u64 = 1_000_000_000;

/// How often an idle scribe compares the clocks.
const LOOK_AT_CLOCKS: Duration = Duration::from_secs(60);

/// A difference between the clocks' progress that is a step of the wall clock, in nanoseconds. NTP slews at most
/// 0.5 ms a second, 30 ms in the longest sleep.
const CLOCK_STEP: u64 = 1_000_000_000;

/// How long a producer that handed over nonsense is left alone, in nanoseconds.
const PAUSE_AFTER_NONSENSE: u64 = 100_000_000;
