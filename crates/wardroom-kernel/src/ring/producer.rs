//! The producing side: copies a message in, publishes it, and rings the bell if someone sleeps.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

use rustix::thread::futex::{self, Timespec};

use super::{CAPACITY, MAX_MESSAGE, Ring, RingError, State, footprint, wake};

/// The one producer of a ring. Several threads share it behind a lock.
#[derive(Debug)]
pub struct Producer {
    ring: Ring,
    /// Our own count; the shared one is only published, never read back.
    head: u64,
}

impl Producer {
    /// Takes the producing side of a ring, after whatever was published before.
    #[must_use]
    pub fn new(ring: Ring) -> Self {
        let head = ring.map.header().head.value.load(Ordering::Acquire);
        Self { ring, head }
    }

    /// The position at which the next message starts.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.head
    }

    /// The ring itself.
    #[must_use]
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Publishes one message, unless the ring is full; says whether it did.
    ///
    /// `check` travels with the message; the consumer compares it with what it computes itself.
    ///
    /// # Errors
    /// The message is empty or too long.
    pub fn push(&mut self, check: u32, message: &[u8]) -> Result<bool, RingError> {
        let too_long = || RingError::MessageLength(message.len());
        if message.is_empty() || message.len() > MAX_MESSAGE {
            return Err(too_long());
        }
        let need = footprint(message.len()).ok_or_else(too_long)?;
        if self.used() + need > CAPACITY {
            return Ok(false);
        }
        let length = u32::try_from(message.len()).map_err(|_wide| too_long())?;
        self.put(self.head, u64::from(length) | (u64::from(check) << 32));
        self.copy_in(self.head + 8, message);
        self.head += need;
        let header = self.ring.map.header();
        header.head.value.store(self.head, Ordering::Release);
        // Pairs with the fence in Consumer::park: either we see its bell, or it sees our message.
        fence(Ordering::SeqCst);
        self.ring_bell(&header.bell.value);
        Ok(true)
    }

    /// Waits until there may be room, the state changes, or the time is over. Look again afterwards.
    pub fn wait_for_room(&self, at_most: Duration) {
        let header = self.ring.map.header();
        header.room.value.store(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        // A consumer that naps until the ring is half full must hear of this as well.
        if header.bell.value.swap(0, Ordering::SeqCst) != 0 {
            wake(&header.bell.value);
        }
        let timeout = Timespec {
            tv_sec: i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(at_most.subsec_nanos()),
        };
        if futex::wait(&header.room.value, futex::Flags::empty(), 1, Some(&timeout)).is_err() {
            // Timed out, interrupted, or changed already: each is a reason to look again, which the caller does.
        }
    }

    /// Whether this ring takes messages.
    #[must_use]
    pub fn state(&self) -> State {
        self.ring.state()
    }

    /// Bytes in use. A tail that makes no sense counts as a full ring: nothing is overwritten.
    fn used(&self) -> u64 {
        let tail = self.ring.map.header().tail.value.load(Ordering::Acquire);
        self.head.checked_sub(tail).unwrap_or(CAPACITY)
    }

    fn ring_bell(&self, bell: &AtomicU32) {
        let wanted = match bell.load(Ordering::Relaxed) {
            0 => false,
            1 => true,
            _ => self.used() > CAPACITY / 2,
        };
        if wanted && bell.swap(0, Ordering::SeqCst) != 0 {
            wake(bell);
        }
    }

    fn copy_in(&self, position: u64, message: &[u8]) {
        let mut at = position;
        let mut chunks = message.chunks_exact(8);
        for chunk in &mut chunks {
            self.put(at, u64::from_ne_bytes(chunk.try_into().unwrap_or([0; 8])));
            at += 8;
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(rest) {
                *to = *from;
            }
            self.put(at, u64::from_ne_bytes(word));
        }
    }

    fn put(&self, position: u64, word: u64) {
        if let Some(cell) = cell(self.ring.map.data(), position) {
            cell.store(word, Ordering::Relaxed);
        }
    }
}

/// The word of the data area at a position.
pub(super) fn cell(data: &[AtomicU64], position: u64) -> Option<&AtomicU64> {
    let index = usize::try_from((position % CAPACITY) / 8).ok()?;
    data.get(index)
}
