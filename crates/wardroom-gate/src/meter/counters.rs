//! What was used, kept in a file that outlives every process: mapped shared, two copies of each account.
//!
//! An account is written over the older of its two copies, which counts only once its checksum fits. A process that is
//! killed in the middle leaves the newer copy as it was, so nothing that was settled is lost and nothing torn is believed.
//! A file that is none, or an account of which no copy is whole, is an error: the limits then have nothing to count with,
//! and what is limited is refused.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use sha2::{Digest, Sha256};
use thiserror::Error;
use wardroom_kernel::shared::Words;

use super::account::{Account, Amount};
use super::clock::{Clock, DAY, now};
use super::window::Window;

/// Words of one copy. The layout below takes 41; a power of two keeps a copy within its page.
const COPY: usize = 64;
/// Accounts of one agent. A policy with more credentials than this at one host each has other problems.
const ACCOUNTS: usize = 63;
/// The first 1024 bytes hold the signature alone.
const WORDS: usize = (ACCOUNTS + 1) * 2 * COPY;
/// `WRDCOUNT` and the layout's version.
const MAGIC: [u64; 2] = [u64::from_le_bytes(*b"WRDCOUNT"), 1];
/// Words of a copy that mean something: checksum, sequence, two of the name, second, three amounts, said, newest, 31 of
/// the window.
const USED: usize = 10 + 31;

/// Why the counters cannot be used.
#[derive(Debug, Error)]
pub enum CountersError {
    /// The file cannot be mapped, or has another size.
    #[error("the file of counters cannot be used: {0}")]
    File(#[from] io::Error),
    /// It begins with something else.
    #[error("the file holds no counters of this version")]
    NotCounters,
    /// Neither copy of an account is whole.
    #[error("account {0} of the counters is damaged")]
    Damaged(usize),
    /// All accounts are in use today.
    #[error("the counters have room for {ACCOUNTS} credentials")]
    Full,
}

/// The accounts of one agent.
#[derive(Debug)]
pub struct Counters {
    words: Words,
}

/// What a credential has used. What is reserved by requests that are not over counts as used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Requests in the last minute.
    pub requests: u64,
    /// Bytes of bodies today, both ways.
    pub bytes: u64,
    /// Tokens of models today.
    pub tokens: u64,
    /// Millionths of a US dollar today.
    pub micro_usd: u64,
}

/// A credential's place in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(usize);

/// A credential, as the file names it.
type Name = [u64; 2];

struct Copy {
    sequence: u64,
    name: Name,
    account: Account,
}

impl Counters {
    /// Makes counters in an empty file, all at nothing.
    ///
    /// # Errors
    /// See [`CountersError`].
    pub fn format(file: &impl AsFd) -> Result<Self, CountersError> {
        let words = Words::format(file, WORDS)?;
        // Last, so that a crash before it leaves a file that `open` refuses.
        for (word, value) in words.words().iter().zip(MAGIC) {
            word.store(value, Ordering::Release);
        }
        Ok(Self { words })
    }

    /// Maps counters that exist. Every account must be whole.
    ///
    /// # Errors
    /// See [`CountersError`].
    pub fn open(file: &impl AsFd) -> Result<Self, CountersError> {
        let counters = Self { words: Words::open(file, WORDS)? };
        let begins = counters.words.words().iter().zip(MAGIC);
        if !begins.into_iter().all(|(word, value)| word.load(Ordering::Acquire) == value) {
            return Err(CountersError::NotCounters);
        }
        for place in 0..ACCOUNTS {
            counters.read(place)?;
        }
        Ok(counters)
    }

    /// The latest second of any account.
    pub(crate) fn latest(&self) -> u64 {
        let copies = (0..ACCOUNTS).filter_map(|place| self.read(place).ok().flatten());
        copies.map(|copy| copy.account.second).max().unwrap_or_default()
    }

    /// The place of a credential and what it holds; a new one has used nothing. The place of one that is gone from the
    /// policy is taken only when its day is over.
    pub(crate) fn find(&self, credential: &str, second: u64) -> Result<(Place, Account), CountersError> {
        let name = name(credential);
        let mut free = None;
        for place in 0..ACCOUNTS {
            match self.read(place)? {
                Some(copy) if copy.name == name => return Ok((Place(place), copy.account)),
                Some(copy) if copy.account.second / DAY < second / DAY => free = free.or(Some(place)),
                None => free = free.or(Some(place)),
                Some(_) => {}
            }
        }
        let place = Place(free.ok_or(CountersError::Full)?);
        self.store(place, credential, &Account::EMPTY)?;
        Ok((place, Account::EMPTY))
    }

    /// What a credential has used today and in the last minute, by counters that may be in use. Everything is zero for one
    /// that was never used.
    ///
    /// # Errors
    /// See [`CountersError`].
    pub fn used(&self, credential: &str) -> Result<Usage, CountersError> {
        // The writer may overtake a reader twice, which then has seen no copy whole.
        let account = self.look(credential).or_else(|_torn| self.look(credential))?;
        let mut account = account.unwrap_or(Account::EMPTY);
        account.advance(Clock::new(self.latest(), now()).read(now()));
        let Amount { bytes, tokens, micro_usd } = account.used;
        Ok(Usage { requests: account.window.used(), bytes, tokens, micro_usd })
    }

    pub(crate) fn look(&self, credential: &str) -> Result<Option<Account>, CountersError> {
        let name = name(credential);
        for place in 0..ACCOUNTS {
            if let Some(copy) = self.read(place)?.filter(|copy| copy.name == name) {
                return Ok(Some(copy.account));
            }
        }
        Ok(None)
    }

    /// Keeps an account. One writer at a time: the gate of the agent.
    pub(crate) fn store(
        &self,
        place: Place,
        credential: &str,
        account: &Account,
    ) -> Result<(), CountersError> {
        let (older, sequence) = match self.copies(place.0) {
            // Nothing was written yet, or what was is damaged: that stays as it is.
            [None, None] => self.read(place.0).map(|_nothing| (0, 0))?,
            [Some(first), None] => (1, first.sequence),
            [None, Some(second)] => (0, second.sequence),
            [Some(first), Some(second)] if first.sequence < second.sequence => (0, second.sequence),
            [Some(first), Some(_)] => (1, first.sequence),
        };
        let words = self.copy(place.0, older).ok_or(CountersError::Damaged(place.0))?;
        let values = encode(&Copy { sequence: sequence + 1, name: name(credential), account: *account });
        // The checksum goes away first and comes back last: what is between never looks whole.
        if let [checksum, ..] = words {
            checksum.store(0, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            for (word, value) in words.iter().zip(&values).skip(1) {
                word.store(*value, Ordering::Relaxed);
            }
            fence(Ordering::SeqCst);
            checksum.store(seal(&values), Ordering::Release);
        }
        Ok(())
    }

    /// The newer whole copy. None where nothing was ever written.
    fn read(&self, place: usize) -> Result<Option<Copy>, CountersError> {
        match self.copies(place) {
            [None, None] => {
                let untouched = |which| {
                    let words = self.copy(place, which).unwrap_or_default();
                    words.iter().all(|word| word.load(Ordering::Relaxed) == 0)
                };
                // The very first copy may be cut off in the middle: the second is then untouched, and nothing was used.
                if untouched(1) { Ok(None) } else { Err(CountersError::Damaged(place)) }
            }
            [Some(first), Some(second)] if first.sequence < second.sequence => Ok(Some(second)),
            [Some(copy), _] | [None, Some(copy)] => Ok(Some(copy)),
        }
    }

    fn copies(&self, place: usize) -> [Option<Copy>; 2] {
        [0, 1].map(|which| self.copy(place, which).and_then(decode))
    }

    fn copy(&self, place: usize, which: usize) -> Option<&[AtomicU64]> {
        let begin = ((place + 1) * 2 + which) * COPY;
        self.words.words().get(begin..begin + USED)
    }
}

fn name(credential: &str) -> Name {
    let digest: [u8; 32] = Sha256::digest(credential).into();
    let mut words = digest.chunks_exact(8).map(|chunk| chunk.try_into().map_or(0, u64::from_le_bytes));
    [(); 2].map(|()| words.next().unwrap_or_default())
}

/// The words of a copy; the first is left for the checksum.
fn encode(copy: &Copy) -> Vec<u64> {
    let Account { second, used: Amount { bytes, tokens, micro_usd }, said, window } = copy.account;
    let [high, low] = copy.name;
    let mut words = vec![0, copy.sequence, high, low, second, bytes, tokens, micro_usd, said, window.newest];
    words.extend(window.counts.chunks(2).map(|pair| {
        let mut counts = pair.iter().copied().map(u64::from);
        counts.next().unwrap_or_default() | counts.next().unwrap_or_default() << 32
    }));
    words
}

/// The checksum that stands in the first word: never zero.
fn seal(words: &[u64]) -> u64 {
    let bytes: Vec<u8> = words.iter().skip(1).flat_map(|word| word.to_le_bytes()).collect();
    u64::from(crc32c::crc32c(&bytes)) | 1 << 32
}

fn decode(words: &[AtomicU64]) -> Option<Copy> {
    let values: Vec<u64> = words.iter().map(|word| word.load(Ordering::Acquire)).collect();
    let seal = seal(&values);
    let [checksum, sequence, high, low, second, bytes, tokens, micro_usd, said, newest, rest @ ..] =
        values.as_slice()
    else {
        return None;
    };
    if *checksum != seal {
        return None;
    }
    let mut window = Window { newest: *newest, ..Window::EMPTY };
    let halves = rest.iter().flat_map(|word| [word & u64::from(u32::MAX), word >> 32]);
    for (count, half) in window.counts.iter_mut().zip(halves) {
        *count = u32::try_from(half).ok()?;
    }
    let used = Amount { bytes: *bytes, tokens: *tokens, micro_usd: *micro_usd };
    let account = Account { second: *second, used, said: *said, window };
    Some(Copy { sequence: *sequence, name: [*high, *low], account })
}

#[cfg(test)]
mod tests;
