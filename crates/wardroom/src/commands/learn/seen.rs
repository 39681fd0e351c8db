//! How often something was seen, by whom, first and last.

use std::collections::BTreeSet;

/// Programs that are kept by name at most; more are counted on screen as "and others".
const PROGRAMS: usize = 4;

/// How often, by whom, first and last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// 0 where only questions were seen that go with another one.
    pub(super) count: u64,
    /// Escaped, as they are shown.
    pub(super) programs: BTreeSet<String>,
    pub(super) others: bool,
    /// Wall time, in nanoseconds since the epoch.
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Seen {
    pub(super) fn times(count: u64, wall: u64, by: Option<String>) -> Self {
        Self { count, programs: by.into_iter().collect(), others: false, first: wall, last: wall }
    }

    /// Takes more sightings of the same into account.
    pub(super) fn and(&mut self, more: &Self) {
        self.first = if self.first == 0 { more.first } else { self.first.min(more.first) };
        self.last = self.last.max(more.last);
        self.count = self.count.saturating_add(more.count);
        self.others |= more.others;
        for program in &more.programs {
            if self.programs.len() < PROGRAMS || self.programs.contains(program) {
                self.programs.insert(program.clone());
            } else {
                self.others = true;
            }
        }
    }

    /// By whom, in words.
    pub(super) fn by(&self) -> String {
        let mut names: Vec<&str> = self.programs.iter().map(String::as_str).collect();
        if self.others {
            names.push("others");
        }
        if names.is_empty() { "a program that is not known".to_owned() } else { names.join(", ") }
    }
}
