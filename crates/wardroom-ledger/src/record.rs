//! A record as readers see it.

use wardroom_model::{Event, Kind, Outcome};

use crate::facets;
use crate::frame::{Frame, Head};
use crate::index::{Block, Kinds, Outcomes};

/// One entry of a ledger, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Position, times, producer.
    pub head: Head,
    /// What it says; `None` where this version cannot decode it.
    pub event: Option<Event>,
}

impl Record {
    /// Decodes a frame's payload.
    #[must_use]
    pub fn decode(frame: &Frame<'_>) -> Self {
        Self { head: frame.head, event: minicbor::decode(frame.payload).ok() }
    }
}

/// A question about a ledger. Every part that is given must hold; the default asks for everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// Not before this wall time, in nanoseconds since the Unix epoch.
    pub since: Option<u64>,
    /// Not after this wall time.
    pub until: Option<u64>,
    /// Any of these kinds; empty means all.
    pub kinds: Vec<Kind>,
    /// Any of these outcomes; empty means all, and records without one.
    pub outcomes: Vec<Outcome>,
    /// The program's path, or its last component.
    pub program: Option<String>,
    /// The host or address, or a name that it lies below.
    pub host: Option<String>,
    /// The path, or a directory that it lies in.
    pub path: Option<String>,
    /// The process id.
    pub pid: Option<u32>,
    /// Not before this record.
    pub from: u64,
}

/// A [`Query`] made ready.
#[derive(Debug, Clone)]
pub struct Filter {
    query: Query,
    kinds: Option<Kinds>,
    outcomes: Option<Outcomes>,
}

impl From<Query> for Filter {
    fn from(query: Query) -> Self {
        let kinds = (!query.kinds.is_empty()).then(|| Kinds::of(&query.kinds));
        let outcomes = (!query.outcomes.is_empty()).then(|| Outcomes::of(&query.outcomes));
        Self { query, kinds, outcomes }
    }
}

impl Filter {
    /// Whether a block can hold an answer.
    #[must_use]
    pub fn may_hold(&self, block: &Block) -> bool {
        self.query.since.is_none_or(|since| block.latest >= since)
            && self.query.until.is_none_or(|until| block.earliest <= until)
            && self.query.from < block.first + u64::from(block.records)
            && self.kinds.is_none_or(|kinds| kinds.meets(block.kinds))
            && self.outcomes.is_none_or(|outcomes| outcomes.meets(block.outcomes))
    }

    /// Whether a record can be an answer, by its head alone.
    #[must_use]
    pub fn may_be(&self, head: &Head) -> bool {
        self.query.since.is_none_or(|since| head.stamp.wall >= since)
            && self.query.until.is_none_or(|until| head.stamp.wall <= until)
            && self.query.from <= head.sequence
            && self.kinds.is_none_or(|kinds| kinds.has(head.kind))
            && self.outcomes.is_none_or(|outcomes| outcomes.has(head.outcome))
    }

    /// Whether a record, whose head may be an answer, is one.
    #[must_use]
    pub fn is(&self, record: &Record) -> bool {
        let Query { program, host, path, pid, .. } = &self.query;
        let Some(event) = &record.event else {
            return program.is_none() && host.is_none() && path.is_none() && pid.is_none();
        };
        let actor = facets::actor(event);
        pid.is_none_or(|pid| actor.is_some_and(|actor| actor.pid == pid))
            && program.as_ref().is_none_or(|wanted| {
                actor.is_some_and(|actor| is_program(actor.program.path.shown(), wanted.as_bytes()))
            })
            && host
                .as_ref()
                .is_none_or(|wanted| facets::host(event).is_some_and(|host| is_host(&host, wanted)))
            && path.as_ref().is_none_or(|wanted| {
                facets::paths(event).any(|path| is_beneath(path.shown(), wanted.as_bytes()))
            })
    }
}

fn is_program(path: &[u8], wanted: &[u8]) -> bool {
    path == wanted || (!wanted.contains(&b'/') && path.rsplit(|byte| *byte == b'/').next() == Some(wanted))
}

fn is_host(host: &str, wanted: &str) -> bool {
    let wanted = wanted.to_ascii_lowercase();
    host.eq_ignore_ascii_case(&wanted)
        || host.to_ascii_lowercase().strip_suffix(&wanted).is_some_and(|above| above.ends_with('.'))
}

fn is_beneath(path: &[u8], wanted: &[u8]) -> bool {
    let directory = wanted.strip_suffix(b"/").unwrap_or(wanted);
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_never_matches_by_accident() {
        assert!(is_program(b"/usr/bin/git", b"git") && is_program(b"/usr/bin/git", b"/usr/bin/git"));
        assert!(!is_program(b"/usr/bin/legit", b"git") && !is_program(b"/usr/bin/git", b""));
        assert!(is_host("a.example.com", "Example.com") && is_host("example.com", "example.com"));
        assert!(!is_host("badexample.com", "example.com"));
        assert!(is_beneath(b"/a/b", b"/a") && is_beneath(b"/a/b", b"/a/") && is_beneath(b"/a", b"/a"));
        assert!(!is_beneath(b"/ab", b"/a"));
    }
}
