//! A byte ring in shared memory: one producing process, one consuming process, neither trusting the other's life.
//!
//! The ring lies in a file whose blocks exist before the first write, so that a full disk shows when the ring is
//! made and never as a fault in the middle of a record. What has been published survives SIGKILL of every process;
//! what has not been published was never there. A position is a count of bytes since the ring's random start and
//! is never reused, so (ring, position) names a message forever.
//!
//! This module never interprets a message, and never believes the other side: lengths and positions read from
//! shared memory are checked against private copies before use.

mod consumer;
mod map;
mod producer;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;

use rustix::fs::{FallocateFlags, fallocate, fstat};
use rustix::thread::futex;
use thiserror::Error;

pub use consumer::{Bell, Consumer, Malformed, Message, Region, rouse, wait_any};
pub use producer::Producer;

use map::Map;

/// Bytes of message data in a ring. 1 MiB holds some 5,000 records of 200 bytes: 25 ms of the fastest flood that
/// was measured (200,000 records a second), against naps of 2 ms in the consumer.
pub const CAPACITY: u64 = 1 << 20;

/// The longest message in bytes. A ledger frame is below 65,535 bytes, and its message is shorter.
pub const MAX_MESSAGE: usize = 65_535;

/// Bytes of the header: one page, so that the data starts aligned.
const HEADER: u64 = 4096;

/// `WRDRING` and the layout's version.
const MAGIC: u64 = u64::from_le_bytes(*b"WRDRING\x01");

/// Why a ring cannot be made or opened.
#[derive(Debug, Error)]
pub enum RingError {
    /// The kernel refused; on a full disk this says so before anything starts.
    #[error("the handover ring cannot be {doing}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The file is no ring of this version.
    #[error("the file is no handover ring: {0}")]
    NotARing(&'static str),
    /// The message is longer than [`MAX_MESSAGE`] or empty.
    #[error("a message of {0} bytes does not fit a ring")]
    MessageLength(usize),
}

/// Whether producers may hand over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Messages are taken.
    Open,
    /// The consumer is being restarted: producers wait.
    Held,
    /// Given up: nothing will be taken again.
    Closed,
}

impl State {
    fn number(self) -> u32 {
        match self {
            Self::Open => 0,
            Self::Held => 1,
            Self::Closed => 2,
        }
    }

    /// Anything unknown means closed.
    fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Open,
            1 => Self::Held,
            _ => Self::Closed,
        }
    }
}

/// A mapped ring, before it is known which side this process is on. Cheap: one mapping.
#[derive(Debug)]
pub struct Ring {
    map: Map,
}

impl Ring {
    /// Makes an empty ring in `file`, which must be empty, readable and writable. All blocks are allocated here.
    ///
    /// `start` is the first position: random, so that positions of an earlier ring are never met again. `boot` names this life
    /// of the machine.
    ///
    /// # Errors
    /// `ENOSPC` above all.
    pub fn format(file: BorrowedFd<'_>, producer: u8, start: u64, boot: u64) -> Result<Self, RingError> {
        fallocate(file, FallocateFlags::empty(), 0, HEADER + CAPACITY).map_err(system("allocated"))?;
        let ring = Self { map: Map::new(file, HEADER, CAPACITY).map_err(system("mapped"))? };
        let header = ring.map.header();
        // Top two bits clear: additions of lengths cannot overflow in the life of a machine. Messages are aligned
        // to words, so the start is too.
        let start = (start >> 2) & !7;
        header.capacity.store(CAPACITY, Ordering::Relaxed);
        header.producer.store(u32::from(producer), Ordering::Relaxed);
        header.boot.store(boot, Ordering::Relaxed);
        header.head.value.store(start, Ordering::Relaxed);
        header.tail.value.store(start, Ordering::Relaxed);
        header.state.value.store(State::Open.number(), Ordering::Relaxed);
        // Last: a crash before this line leaves a file that `open` refuses and the caller makes anew.
        header.magic.store(MAGIC, Ordering::Release);
        Ok(ring)
    }

    /// Maps an existing ring. The descriptor is not kept: a process taken over later cannot shorten the file.
    ///
    /// # Errors
    /// The file is not a whole ring of this version.
    pub fn open(file: &impl AsFd) -> Result<Self, RingError> {
        let stat = fstat(file).map_err(system("examined"))?;
        if u64::try_from(stat.st_size) != Ok(HEADER + CAPACITY) {
            return Err(RingError::NotARing("wrong size"));
        }
        // A file with holes could fault on a full disk when it is first written to.
        let allocated = u64::try_from(stat.st_blocks).is_ok_and(|blocks| blocks >= (HEADER + CAPACITY) / 512);
        if !allocated {
            return Err(RingError::NotARing("its blocks are not allocated"));
        }
        let ring = Self { map: Map::new(file.as_fd(), HEADER, CAPACITY).map_err(system("mapped"))? };
        let header = ring.map.header();
        if header.magic.load(Ordering::Acquire) != MAGIC {
            return Err(RingError::NotARing("wrong signature"));
        }
        if header.capacity.load(Ordering::Relaxed) != CAPACITY {
            return Err(RingError::NotARing("wrong capacity"));
        }
        Ok(ring)
    }

    /// The producer's number, as the ring was made.
    #[must_use]
    pub fn producer_number(&self) -> u32 {
        self.map.header().producer.load(Ordering::Relaxed)
    }

    /// The life of the machine in which it was made. After another one its pages are those that the disk happened to have, each
    /// from a time of its own.
    #[must_use]
    pub fn boot(&self) -> u64 {
        self.map.header().boot.load(Ordering::Relaxed)
    }

    /// What is published and not taken, which stays so. For a ring that nobody uses.
    #[must_use]
    pub fn left(&self) -> Region {
        let tail = self.map.header().tail.value.load(Ordering::Acquire);
        Region::copied(self, tail, self.map.header().head.value.load(Ordering::Acquire), CAPACITY)
    }

    /// Whether producers may hand over.
    #[must_use]
    pub fn state(&self) -> State {
        State::from_number(self.map.header().state.value.load(Ordering::Acquire))
    }

    /// Changes whether producers may hand over, and wakes those that wait.
    pub fn set_state(&self, state: State) {
        self.map.header().state.value.store(state.number(), Ordering::Release);
        self.wake_producer();
    }

    /// Bytes published and not yet taken.
    #[must_use]
    pub fn pending(&self) -> u64 {
        let header = self.map.header();
        let tail = header.tail.value.load(Ordering::Acquire);
        header.head.value.load(Ordering::Acquire).saturating_sub(tail)
    }

    fn wake_producer(&self) {
        let room = &self.map.header().room.value;
        room.store(0, Ordering::SeqCst);
        wake(room);
    }
}

/// Wakes whoever waits on a word. A failure would mean a bad address, which a reference is not.
fn wake(word: &std::sync::atomic::AtomicU32) {
    if futex::wake(word, futex::Flags::empty(), u32::MAX >> 1).is_err() {
        // Waiters use bounded timeouts and look again by themselves.
    }
}

fn system(doing: &'static str) -> impl FnOnce(rustix::io::Errno) -> RingError {
    move |errno| RingError::System { doing, source: errno.into() }
}

/// Bytes that a message of `length` bytes takes: a word of framing, and padding to a word.
fn footprint(length: usize) -> Option<u64> {
    let length = u64::try_from(length).ok()?;
    Some(8 + length.checked_next_multiple_of(8)?)
}

#[cfg(test)]
mod tests;
