//! The scribe's loop: take what is in the rings, store it, give the room back, sign now and then.

use std::error::Error;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thiserror::Error;
use wardroom_kernel::ring::{Bell, CAPACITY, Region, RingError, wait_any};
use wardroom_ledger::Producer;
use wardroom_ledger::layout::{self, Part};
use wardroom_model::event::{LedgerNote, Recovery};
use wardroom_model::{Event, Stamp};

use crate::confine::{self, ConfineError};
use crate::control::{Control, FromScribe};
use crate::desks::{Desks, stage};
use crate::key::{self, KeyError};
use crate::open::{self, Opened};
use crate::place::{Place, PlaceError};
use crate::retire::{self, Retention};
use crate::store::{SEGMENT_BYTES, Store, StoreError};
use crate::{clock, seal, segment};

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
    /// It could not give up what it does not need.
    #[error(transparent)]
    Confine(#[from] ConfineError),
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

/// How a ledger is kept. The default is what `serve` uses; tests make small segments.
#[derive(Debug, Clone)]
pub struct Keeping {
    /// Bytes after which a segment is complete.
    pub segment_bytes: u64,
    /// When old segments go.
    pub retention: Retention,
    /// What it takes for the machine's clocks; another only where a clock that is set is rehearsed.
    pub clocks: fn() -> Stamp,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES, retention: Retention::default(), clocks: clock::now }
    }
}

/// Confines this process to the two directories, and runs the scribe until the keeper says so, or is gone.
///
/// # Errors
/// As [`serve_keeping`].
pub fn serve(setup: ScribeSetup, retention: Retention) -> Result<(), ScribeError> {
    confine::confine(&[Place::open_or_create(&setup.ledger_dir)?, Place::open_or_create(&setup.key_dir)?])?;
    serve_keeping(setup, Keeping { retention, ..Keeping::default() })
}

/// Runs the scribe until the keeper says so, or is gone.
///
/// # Errors
/// The ledger cannot be opened, or could not be finished. Nothing that was handed over is lost by that.
pub fn serve_keeping(setup: ScribeSetup, keeping: Keeping) -> Result<(), ScribeError> {
    let ScribeSetup { ledger_dir, key_dir, origin, rings, control } = setup;
    let place = Place::open_or_create(&ledger_dir)?;
    place.lock()?;
    let signer = key::host_key(&key_dir, &origin)?;
    let Opened { store, unclean, cut_bytes, done } = open::open(place, signer)?;
    let kept = store.next();
    let control = Control::listen(control).map_err(ScribeError::Control)?;
    let mut scribe = Scribe::new(store, Desks::open(rings, &done)?, control, keeping);
    scribe.control.tell(&FromScribe::Ready { records: kept, recovered: unclean });
    scribe.publish_key()?;
    if unclean {
        let from_handoff = scribe.take_backlog()?;
        let recovery = Recovery { kept, cut_bytes, from_handoff };
        scribe.note(&Event::Ledger(LedgerNote::Recovered(recovery)))?;
    }
    scribe.run()
}

struct Scribe {
    store: Store,
    desks: Desks,
    region: Region,
    control: Control,
    keeping: Keeping,
    sealer: Option<JoinHandle<()>>,
    clocks: Stamp,
    last_commit: u64,
    /// When the growing segment began, by the wall clock.
    began: u64,
}

impl Scribe {
    fn new(store: Store, desks: Desks, control: Control, keeping: Keeping) -> Self {
        let clocks = (keeping.clocks)();
        let region = Region::default();
        let aged = keeping.retention.longest.and_then(|_| retire::began(&store.place, store.segment.first));
        let began = aged.unwrap_or(clocks.wall);
        let last_commit = clocks.monotonic;
        Self { store, desks, region, control, keeping, sealer: None, clocks, last_commit, began }
    }

    fn run(&mut self) -> Result<(), ScribeError> {
        let mut quiet = 0_u32;
        self.retire()?;
        loop {
            self.watch_clocks()?;
            let finishing = self.control.finishing();
            let taken = self.drain()?;
            quiet = if taken == 0 { quiet.saturating_add(1) } else { 0 };
            if finishing && taken == 0 {
                return self.finish();
            }
            if self.is_complete() {
                self.turn_over()?;
            }
            if self.commit_is_due(quiet) {
                self.commit()?;
            }
            if quiet == COMMIT_WHEN_QUIET {
                self.seal_complete();
            }
            self.rest(quiet);
        }
    }

    /// Takes what was in the rings when this began. Producers that go on meanwhile do not prolong it.
    fn take_backlog(&mut self) -> Result<u64, ScribeError> {
        let most = self.desks.consumers.iter().map(|consumer| consumer.ring().pending()).max().unwrap_or(0);
        let mut records = 0;
        for _ in 0..=most.min(CAPACITY) / LEAST_AT_ONCE {
            records += self.drain()?;
        }
        Ok(records)
    }

    /// Takes what is in the rings, a bounded part of each, and stores it. Returns the number of records.
    fn drain(&mut self) -> Result<u64, ScribeError> {
        let before = self.store.next();
        for at in 0..self.desks.consumers.len() {
            let (consumer, desk) = (self.desks.consumers.get_mut(at), self.desks.producers.get_mut(at));
            let (Some(consumer), Some(desk)) = (consumer, desk) else { break };
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
            if let Some(consumer) = self.desks.consumers.get_mut(at) {
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
    /// Only a failed sync is fatal: the kernel has marked as written what it could not write, and would say so of a second
    /// attempt. Only a new opening, which reads from the disk, tells what is there.
    fn insist(&mut self, act: impl Fn(&mut Store) -> Result<(), PlaceError>) -> Result<(), ScribeError> {
        let mut attempts = 0_u32;
        while let Err(error) = act(&mut self.store) {
            if error.is_failed_sync() {
                self.control.tell(&FromScribe::Lost(describe(&error)));
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

    /// The segment is complete: begins the next one, and does what waits for such a moment.
    fn turn_over(&mut self) -> Result<(), ScribeError> {
        let first = self.store.segment.first;
        self.insist(Store::rotate)?;
        let records = self.store.next() - first;
        self.began = self.clocks.wall;
        self.note(&Event::Ledger(LedgerNote::Sealed { first, records }))?;
        self.retire()?;
        self.seal_complete();
        Ok(())
    }

    /// Whether the growing segment is complete: full, or so old that what it holds would be kept far too long.
    fn is_complete(&self) -> bool {
        let age = self.clocks.wall.saturating_sub(self.began);
        let old = self.keeping.retention.longest.is_some_and(|longest| age > longest / SEGMENTS_KEPT);
        let length = self.store.segment.length;
        length >= self.keeping.segment_bytes || (old && length > 0)
    }

    /// Removes what the operator's rule says is old, once the record that says so is on disk.
    fn retire(&mut self) -> Result<(), ScribeError> {
        let place = &self.store.place;
        if let Some(before) = retire::due(place, &self.keeping.retention, self.clocks.wall)? {
            let rule = self.keeping.retention.rule.clone();
            self.note(&Event::Ledger(LedgerNote::Retired { before, rule }))?;
            self.commit()?;
            retire::remove(&self.store.place, before)?;
        }
        Ok(())
    }

    /// Seals every complete segment that is still plain, unless that is being done already. What cannot be listed
    /// now is listed the next time.
    fn seal_complete(&mut self) {
        let place = &self.store.place;
        if self.sealer.as_ref().is_some_and(|sealer| !sealer.is_finished()) {
            return;
        }
        let growing = self.store.segment.first;
        let plain =
            |first: &u64| place.readable(&layout::name(*first, Part::Plain)).is_ok_and(|file| file.is_some());
        let complete =
            segment::firsts(place).unwrap_or_default().into_iter().filter(|first| *first < growing);
        self.sealer = seal::in_background(place.path().to_owned(), complete.filter(plain).collect());
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
        let slept = wait_any(&self.desks.consumers, self.control.word(), bell, at_most);
        // No futex_waitv here (before Linux 5.16), or a producer that rings without end: sleep all the same.
        if slept.is_err() || self.desks.any_paused(self.clocks.monotonic) {
            thread::sleep(NAP);
        }
    }

    fn watch_clocks(&mut self) -> Result<(), ScribeError> {
        let now = (self.keeping.clocks)();
        let step = step_between(self.clocks, now);
        self.clocks = now;
        match step {
            Some(nanos) => self.note(&Event::Ledger(LedgerNote::ClockStep { nanos })),
            None => Ok(()),
        }
    }

    fn note(&mut self, event: &Event) -> Result<(), ScribeError> {
        // Notes are short by construction; one that were not would be no reason to stop taking records.
        if self.store.note((self.keeping.clocks)(), event).is_ok() { self.write() } else { Ok(()) }
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

/// By how many nanoseconds the wall clock was set between two readings, where it was.
fn step_between(before: Stamp, now: Stamp) -> Option<i64> {
    let step = drift(now).saturating_sub(drift(before));
    (step.unsigned_abs() > CLOCK_STEP).then_some(step)
}

/// Wall clock minus monotonic clock.
fn drift(stamp: Stamp) -> i64 {
    let (wall, monotonic) = (i128::from(stamp.wall), i128::from(stamp.monotonic));
    i64::try_from(wall - monotonic).unwrap_or(i64::MAX)
}

fn describe(error: &PlaceError) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// Bytes that a ring gives at least at once, where it holds them: what it takes at once, less one longest message.
const LEAST_AT_ONCE: u64 = 64 << 10;

/// How often a write that failed is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// Attempts after which a scribe that was told to finish leaves the rest in the rings: five seconds.
const GIVE_UP_AFTER: u32 = 50;

/// Into how many segments a ledger that is kept for a time is divided at least: records stay an eighth longer at most,
/// and until the next start or the end of a segment.
const SEGMENTS_KEPT: u64 = 8;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_is_noticed_in_both_directions_and_slewing_is_not() {
        let before = Stamp { monotonic: 10_000_000_000, wall: 1_000_000_000_000 };
        let after = |wall| step_between(before, Stamp { monotonic: 70_000_000_000, wall });
        assert_eq!(after(1_060_000_000_000), None);
        assert_eq!(after(1_060_030_000_000), None);
        assert_eq!(after(1_055_000_000_000), Some(-5_000_000_000));
        assert_eq!(after(4_660_000_000_000), Some(3_600_000_000_000));
        assert_eq!(after(0), Some(-1_060_000_000_000));
    }
}
