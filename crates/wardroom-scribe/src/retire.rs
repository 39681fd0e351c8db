//! Retention: old segments go when the operator's rule says so, never without a record of it, and never their hashes:
//! what is left can still be proven to be the rest of the same ledger.

use wardroom_ledger::frame;
use wardroom_ledger::layout::{self, Part};
use wardroom_model::RuleRef;

use crate::place::{Place, PlaceError};
use crate::seal;
use crate::segment::{self, Stream};

/// How long a ledger is kept. Nothing given means forever.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retention {
    /// The most bytes that sealed segments may take.
    pub most_bytes: Option<u64>,
    /// The longest time in nanoseconds since a segment's last record.
    pub longest: Option<u64>,
    /// The rule that says so.
    pub rule: Option<RuleRef>,
}

/// The record before which everything may go, at the wall time `now`; `None` where nothing may.
pub(crate) fn due(place: &Place, retention: &Retention, now: u64) -> Result<Option<u64>, PlaceError> {
    if retention.most_bytes.is_none() && retention.longest.is_none() {
        return Ok(None);
    }
    let firsts = segment::firsts(place)?;
    let mut sealed = Vec::new();
    for (first, next) in firsts.iter().zip(firsts.iter().skip(1)) {
        let Some(file) = place.readable(&layout::name(*first, Part::Sealed))? else { break };
        let bytes = file.metadata().map_err(|source| place.io("examine", "a segment", source))?.len();
        let blocks = seal::read_index(place, *first)?.unwrap_or_default();
        // Without an index its age is not known, and what is not known is kept.
        let latest = blocks.iter().map(|block| block.latest).max().unwrap_or(u64::MAX);
        sealed.push((*next, bytes, latest));
    }
    let mut total: u64 = sealed.iter().map(|(_, bytes, _)| bytes).sum();
    let mut before = None;
    for (next, bytes, latest) in sealed {
        let too_much = retention.most_bytes.is_some_and(|most| total > most);
        let too_old =
            retention.longest.is_some_and(|longest| now.saturating_sub(latest) > longest && latest < now);
        if !(too_much || too_old) {
            break;
        }
        total -= bytes;
        before = Some(next);
    }
    Ok(before)
}

/// When a segment began, by its first record; nothing where it has none, or it cannot be read.
pub(crate) fn began(place: &Place, first: u64) -> Option<u64> {
    let mut stream = Stream::open(place, first).ok()?;
    let found = frame::read(stream.rest().ok()?).ok()?;
    Some(found.head.stamp.wall)
}

/// Removes the segments before a record. To be called once the record that says so is committed.
pub(crate) fn remove(place: &Place, before: u64) -> Result<(), PlaceError> {
    for first in segment::firsts(place)?.into_iter().filter(|first| *first < before) {
        for part in [Part::Plain, Part::Sealed, Part::Index] {
            place.remove(&layout::name(first, part))?;
        }
    }
    place.sync()
}
