//! How a record reaches the scribe: through a ring in shared memory, written before the act that it describes.
//!
//! Once [`Handoff::record`] has returned, the record survives SIGKILL of every process. Nothing is ever dropped: a
//! full ring makes the caller wait, and a ledger that is given up makes it fail.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use thiserror::Error;
use wardroom_kernel::ring::{self, Ring, RingError, State};
use wardroom_ledger::Producer;
use wardroom_model::Event;

use crate::{clock, fit, message};

/// The producer's half. Threads share it; each record is stamped and placed under one lock, so that the order in
/// the ring is the order in time.
#[derive(Debug)]
pub struct Handoff {
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// To a scribe.
    Ring(Mutex<Desk>),
    /// Within one process, for tests.
    Memory(Mutex<VecDeque<Event>>),
}

/// What one thread at a time may use.
#[derive(Debug)]
struct Desk {
    ring: ring::Producer,
    /// Reused, so that a record costs no allocation.
    buffer: Vec<u8>,
}

/// Proof that a record has been handed over. Only [`Handoff::record`] makes one.
#[derive(Debug)]
pub struct Receipt(());

/// Why a record could not be handed over. The act it describes must not happen.
#[derive(Debug, Error)]
pub enum HandoffError {
    /// The scribe is gone and will not come back.
    #[error("the ledger takes no more records")]
    Closed,
    /// Too long even with every text in it cut.
    #[error("the record is too long for the ledger")]
    TooLong,
    /// The ring is not one, or is another producer's.
    #[error("cannot attach to the ledger's ring")]
    Ring(#[from] RingError),
    /// The ring belongs to somebody else.
    #[error("this ring is for producer number {0}")]
    OtherProducer(u32),
}

impl Handoff {
    /// Attaches to a ring made by [`crate::create_ring`]. The descriptor is closed: a process that is taken over
    /// later cannot shorten the file.
    ///
    /// # Errors
    /// The descriptor is no ring, or the ring of another producer.
    pub fn attach(ring: OwnedFd, producer: Producer) -> Result<Self, HandoffError> {
        let mapped = Ring::open(&ring)?;
        drop(ring);
        if mapped.producer_number() != u32::from(producer.number()) {
            return Err(HandoffError::OtherProducer(mapped.producer_number()));
        }
        let desk = Desk { ring: ring::Producer::new(mapped), buffer: Vec::with_capacity(4096) };
        Ok(Self { way: Way::Ring(Mutex::new(desk)) })
    }

    /// A handoff within one process, for tests.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { way: Way::Memory(Mutex::default()) }
    }

    /// Hands one record over. Waits while the ring is full or the scribe is being restarted.
    ///
    /// # Errors
    /// [`HandoffError::Closed`] once the ledger is given up; the act must then be refused.
    pub fn record(&self, event: &Event) -> Result<Receipt, HandoffError> {
        match &self.way {
            Way::Ring(desk) => lock(desk)?.place(event),
            Way::Memory(queue) => {
                lock(queue)?.push_back(event.clone());
                Ok(Receipt(()))
            }
        }
    }

    /// Hands one record over if that is possible within a moment; none where it is not: the scribe is down, or has no
    /// room. For the keeper's own thread, which must not wait for a scribe that only it can replace.
    ///
    /// # Errors
    /// As [`Handoff::record`].
    pub fn offer(&self, event: &Event) -> Result<Option<Receipt>, HandoffError> {
        let Way::Ring(desk) = &self.way else { return self.record(event).map(Some) };
        for _ in 0..OFFERS {
            match desk.try_lock() {
                Ok(mut desk) => {
                    desk.write(event)?;
                    if let Some(receipt) = desk.push()? {
                        return Ok(Some(receipt));
                    }
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Poisoned(_)) => return Err(HandoffError::Closed),
            }
            std::thread::sleep(BETWEEN_OFFERS);
        }
        Ok(None)
    }

    /// Takes what was recorded, for tests.
    #[must_use]
    pub fn taken(&self) -> Vec<Event> {
        match &self.way {
            Way::Ring(_) => Vec::new(),
            Way::Memory(queue) => queue.lock().map(|mut queue| queue.drain(..).collect()).unwrap_or_default(),
        }
    }
}

impl Desk {
    fn place(&mut self, event: &Event) -> Result<Receipt, HandoffError> {
        self.write(event)?;
        loop {
            if let Some(receipt) = self.push()? {
                return Ok(receipt);
            }
            self.ring.wait_for_room(LOOK_AGAIN);
        }
    }

    /// Writes the message, not yet into the ring.
    fn write(&mut self, event: &Event) -> Result<(), HandoffError> {
        if !message::write(event, clock::now(), &mut self.buffer) {
            let cut = fit::cut(event);
            if !message::write(&cut, clock::now(), &mut self.buffer) {
                return Err(HandoffError::TooLong);
            }
        }
        Ok(())
    }

    /// Puts the written message into the ring, if there is room and the ring is open.
    fn push(&mut self) -> Result<Option<Receipt>, HandoffError> {
        match self.ring.state() {
            State::Closed => Err(HandoffError::Closed),
            State::Held => Ok(None),
            State::Open => {
                let check = message::check(self.ring.position(), &self.buffer);
                Ok(self.ring.push(check, &self.buffer)?.then_some(Receipt(())))
            }
        }
    }
}

/// A poisoned lock means that a thread died in the middle of a record: nothing more is promised.
fn lock<T>(mutex: &Mutex<T>) -> Result<MutexGuard<'_, T>, HandoffError> {
    mutex.lock().map_err(|_poisoned| HandoffError::Closed)
}

/// How often [`Handoff::offer`] tries. Another thread's record takes some microseconds, the scribe some milliseconds.
const OFFERS: u32 = 50;
/// How long it waits in between.
const BETWEEN_OFFERS: Duration = Duration::from_millis(1);
/// How long a waiting producer trusts that it will be woken. Wakes are never lost by design; this bounds the price
/// of a consumer that dies between making room and saying so.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The keeper's hand on a ring: whether producers may hand over.
#[derive(Debug)]
pub struct RingSwitch {
    ring: Ring,
}

impl RingSwitch {
    /// Maps the ring. The descriptor is only borrowed.
    ///
    /// # Errors
    /// The descriptor is no ring.
    pub fn new(ring: &OwnedFd) -> Result<Self, RingError> {
        Ok(Self { ring: Ring::open(ring)? })
    }

    /// The scribe is down and will be back: producers wait.
    pub fn hold(&self) {
        self.ring.set_state(State::Held);
    }

    /// Producers may hand over (again).
    pub fn open(&self) {
        self.ring.set_state(State::Open);
    }

    /// Given up: every waiting and later [`Handoff::record`] fails.
    pub fn close(&self) {
        self.ring.set_state(State::Closed);
    }

    /// Bytes handed over that no scribe has taken yet.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.ring.pending()
    }
}
