//! The consuming side. It copies everything out of shared memory first and only then looks at it, so that a
//! producer that scribbles while we read can make nonsense, but never two different truths.

use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::futex::{self, Timespec, Wait, WaitFlags, WaitPtr, WaitvFlags};
use rustix::time::{ClockId, clock_gettime};

use super::producer::cell;
use super::{CAPACITY, MAX_MESSAGE, Ring, State, footprint, wake};

/// The one consumer of a ring.
#[derive(Debug)]
pub struct Consumer {
    ring: Ring,
    /// Our own count; a producer that changes the shared one deceives nobody.
    tail: u64,
}

/// What was in a ring at one moment, copied out.
#[derive(Debug, Default)]
pub struct Region {
    start: u64,
    bytes: Vec<u8>,
}

/// One message of a [`Region`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// The position at which it starts.
    pub start: u64,
    /// The position after it.
    pub end: u64,
    /// What the producer computed over it.
    pub check: u32,
    /// The message itself.
    pub bytes: &'a [u8],
}

/// The rest of a region that cannot be divided into messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// Where it starts.
    pub start: u64,
    /// Its length in bytes.
    pub bytes: usize,
}

impl Consumer {
    /// Takes the consuming side of a ring. `done` is the end of the last message that is known to be stored: if
    /// the consumer before us died after storing it and before saying so, it is not taken a second time.
    #[must_use]
    pub fn new(ring: Ring, done: Option<u64>) -> Self {
        let header = ring.map.header();
        let head = header.head.value.load(Ordering::Acquire);
        let tail = header.tail.value.load(Ordering::Acquire);
        let tail = match done {
            Some(done) if (tail..=head).contains(&done) => done,
            Some(_) | None => tail,
        };
        let mut consumer = Self { ring, tail };
        consumer.advance(tail);
        consumer
    }

    /// The ring itself.
    #[must_use]
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Copies out what is published and not taken, or as much of it as is taken at once. A head that makes no sense gives a region that
    /// consists of one malformed rest, and the next call starts behind it.
    pub fn copy_out(&mut self, into: &mut Region) {
        let head = self.ring.map.header().head.value.load(Ordering::Acquire);
        into.copy(&self.ring, self.tail, head, AT_ONCE);
    }

    /// Gives the room before `position` back to the producer, and wakes it if it waits.
    pub fn advance(&mut self, position: u64) {
        self.tail = position;
        let header = self.ring.map.header();
        header.tail.value.store(position, Ordering::Release);
        fence(Ordering::SeqCst);
        if header.room.value.load(Ordering::Relaxed) != 0 {
            self.ring.wake_producer();
        }
    }

    /// Whether there is nothing to take.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.map.header().head.value.load(Ordering::Acquire) == self.tail
    }

    /// Whether producers may hand over.
    #[must_use]
    pub fn state(&self) -> State {
        self.ring.state()
    }
}

impl Region {
    pub(super) fn copied(ring: &Ring, tail: u64, head: u64, at_most: u64) -> Self {
        let mut region = Self::default();
        region.copy(ring, tail, head, at_most);
        region
    }

    fn copy(&mut self, ring: &Ring, tail: u64, head: u64, at_most: u64) {
        self.bytes.clear();
        self.start = tail;
        let sound = head.checked_sub(tail).filter(|used| *used <= CAPACITY && used % 8 == 0);
        let Some(used) = sound else {
            // One word of zeros is no message. Then go on from where the producer claims to be.
            self.bytes.extend_from_slice(&[0; 8]);
            self.start = head.wrapping_sub(8);
            return;
        };
        let data = ring.map.data();
        for offset in (0..used.min(at_most)).step_by(8) {
            let word = cell(data, tail + offset).map_or(0, |cell| cell.load(Ordering::Relaxed));
            self.bytes.extend_from_slice(&word.to_ne_bytes());
        }
        if used > at_most {
            self.end_with_a_message();
        }
    }

    /// The messages in order. After a malformed rest there is nothing more.
    pub fn messages(&self) -> impl Iterator<Item = Result<Message<'_>, Malformed>> {
        let mut at = 0_usize;
        std::iter::from_fn(move || {
            let rest = self.bytes.get(at..).filter(|rest| !rest.is_empty())?;
            let start = self.start.wrapping_add(u64::try_from(at).ok()?);
            match split(rest, start) {
                Some((message, taken)) => {
                    at += taken;
                    Some(Ok(message))
                }
                None => {
                    at = self.bytes.len();
                    Some(Err(Malformed { start, bytes: rest.len() }))
                }
            }
        })
    }

    /// Leaves what lies behind the last whole message for the next time.
    fn end_with_a_message(&mut self) {
        let mut whole = 0;
        while let Some((_, taken)) = self.bytes.get(whole..).and_then(|rest| split(rest, 0)) {
            whole += taken;
        }
        // Nothing whole in so many bytes is nonsense, and shows as such.
        if whole > 0 {
            self.bytes.truncate(whole);
        }
    }

    /// The position after the region.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start.wrapping_add(u64::try_from(self.bytes.len()).unwrap_or(0))
    }

    /// Whether nothing was there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

fn split(bytes: &[u8], start: u64) -> Option<(Message<'_>, usize)> {
    let word = u64::from_ne_bytes(*bytes.first_chunk()?);
    let length = usize::try_from(word & u64::from(u32::MAX)).ok()?;
    let check = u32::try_from(word >> 32).ok()?;
    if length == 0 || length > MAX_MESSAGE {
        return None;
    }
    let taken = usize::try_from(footprint(length)?).ok()?;
    if taken > bytes.len() {
        return None;
    }
    let end = start.wrapping_add(u64::try_from(taken).ok()?);
    Some((Message { start, end, check, bytes: bytes.get(8..8 + length)? }, taken))
}

/// Bytes taken at once: at least one message of the longest kind, and few enough that producers soon get room back
/// and that a consumer which is killed again and again still makes progress.
const AT_ONCE: u64 = 128 << 10;

/// What a sleeping consumer is to be woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bell {
    /// Only a ring that fills: a short nap that lets records gather, during which producers pay for no wake.
    Filling,
    /// Any message.
    Any,
}

/// Sleeps until one of the rings has what `bell` says, `also` is no longer 0, or the time is over.
///
/// # Errors
/// `ENOSYS` before Linux 5.16, which has no `futex_waitv`.
pub fn wait_any(rings: &[Consumer], also: &AtomicU32, bell: Bell, at_most: Duration) -> Result<(), Errno> {
    let number = match bell {
        Bell::Any => 1,
        Bell::Filling => 2,
    };
    for consumer in rings {
        consumer.ring.map.header().bell.value.store(number, Ordering::SeqCst);
    }
    // Pairs with the fence in Producer::push.
    fence(Ordering::SeqCst);
    let ready = bell == Bell::Any && rings.iter().any(|consumer| !consumer.is_empty());
    let slept = if ready { Ok(()) } else { sleep(rings, also, number, at_most) };
    for consumer in rings {
        consumer.ring.map.header().bell.value.store(0, Ordering::SeqCst);
    }
    slept
}

fn sleep(rings: &[Consumer], also: &AtomicU32, number: u32, at_most: Duration) -> Result<(), Errno> {
    let bells = rings.iter().map(|consumer| waiter(&consumer.ring.map.header().bell.value, number));
    let waiters: Vec<Wait> = bells.chain([waiter(also, 0)]).collect();
    let now = clock_gettime(ClockId::Monotonic);
    let until = now
        + Timespec {
            tv_sec: i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX / 2),
            tv_nsec: i64::from(at_most.subsec_nanos()),
        };
    match futex::waitv(&waiters, WaitvFlags::empty(), Some(&until), ClockId::Monotonic) {
        Ok(_) | Err(Errno::AGAIN | Errno::TIMEDOUT | Errno::INTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn waiter(word: &AtomicU32, expected: u32) -> Wait {
    let mut wait = Wait::new();
    wait.val = u64::from(expected);
    wait.uaddr = WaitPtr::new(word.as_ptr().cast());
    wait.flags = WaitFlags::SIZE_U32;
    wait
}

/// Wakes a consumer in [`wait_any`] through its `also` word.
pub fn rouse(also: &AtomicU32) {
    also.store(1, Ordering::SeqCst);
    wake(also);
}
