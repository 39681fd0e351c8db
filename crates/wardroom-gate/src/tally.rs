//! Counting what repeats: the first of a kind is on record at once, its repetitions a second later as one exact number.
//!
//! A flood of one kind costs one record a second; a flood of many kinds is told individually up to a bound, and
//! beyond it by a coarser kind. No count is ever lost or rounded.

use std::collections::BTreeMap;

/// Kinds told individually within one interval. At one interval a second and some 100 bytes a record, the worst flood
/// writes 100 KiB a second.
pub(crate) const KINDS: usize = 1_024;

/// What a sighting was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sighting {
    /// The first of its kind in this interval: to be recorded now, with count 1.
    First,
    /// Another one: counted.
    Counted,
    /// One kind too many for this interval: to be seen again as a coarser kind.
    TooMany,
}

/// Counts by kind, each with what its record needs besides.
#[derive(Debug)]
pub(crate) struct Tally<K, V> {
    seen: BTreeMap<K, (u64, V)>,
    bound: usize,
}

/// How fine the kind is that is shown to a tally.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grain {
    /// The thing itself. A tally takes as many as its bound.
    Fine,
    /// A family of things. A tally takes as many again.
    Coarse,
    /// Everything. There is always room for it.
    All,
}

impl<K: Ord, V> Tally<K, V> {
    /// An empty tally of at most this many kinds.
    pub(crate) fn new(bound: usize) -> Self {
        Self { seen: BTreeMap::new(), bound }
    }

    /// Notes one. `detail` is kept from the first.
    pub(crate) fn see(&mut self, kind: K, grain: Grain, detail: V) -> Sighting {
        if let Some((count, _)) = self.seen.get_mut(&kind) {
            *count += 1;
            return Sighting::Counted;
        }
        let room = match grain {
            Grain::Fine => self.seen.len() < self.bound,
            Grain::Coarse => self.seen.len() < self.bound * 2,
            Grain::All => true,
        };
        if !room {
            return Sighting::TooMany;
        }
        self.seen.insert(kind, (0, detail));
        Sighting::First
    }

    /// Ends the interval: what was counted and is not yet on record.
    pub(crate) fn take(&mut self) -> Vec<(K, u64, V)> {
        let seen = std::mem::take(&mut self.seen);
        seen.into_iter()
            .filter(|(_, (count, _))| *count > 0)
            .map(|(kind, (count, detail))| (kind, count, detail))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firsts_and_counts_add_up_exactly() {
        let mut tally = Tally::new(2);
        let mut recorded = 0;
        for kind in ["a", "b", "a", "a", "c", "b"] {
            match tally.see(kind, Grain::Fine, ()) {
                Sighting::First => recorded += 1,
                Sighting::Counted => {}
                Sighting::TooMany => assert_eq!(kind, "c"),
            }
        }
        assert_eq!(recorded, 2);
        assert_eq!(tally.take(), [("a", 2, ()), ("b", 1, ())]);
        assert_eq!(tally.see("c", Grain::Fine, ()), Sighting::First);
        assert!(tally.take().is_empty());
    }
}
