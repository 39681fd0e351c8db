//! Limits of one agent at its gate. Each agent has a gate of its own, so reaching one is felt by nobody else.

use std::cell::Cell;
use std::fmt::{self, Display};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

/// Connections that have not yet shown their ClientHello: each may hold up to 64 KiB.
const WAITING: usize = 256;
/// New connections a second, on average, and at once. Measured: a gate decides and records about ten times as many.
const RATE: f64 = 1_000.0;
const BURST: f64 = 2_048.0;
/// Names looked up outside for the first time: on average and at once. A name below an allowed wildcard can carry
/// some 200 bytes to whoever runs its name server, so an agent gets few of them.
const NEW_NAMES: f64 = 0.5;
const NEW_NAMES_BURST: f64 = 128.0;

/// Connections to servers for each inspected connection that may be open, on average: its own, and one more for a WebSocket or
/// for streams of HTTP/2 side by side, which a server of HTTP/1.1 alone takes one each. All of them together, for few use more.
const EACH: usize = 2;

/// What time a peer has to show its ClientHello. TLS clients send it in their first flight.
pub(crate) const HELLO_TIME: Duration = Duration::from_secs(10);
/// What time a server has to begin its answer to a ClientHello: as much as it has to be reached ([`DIAL_TIME`]).
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(30);
/// What time the host's resolvers have: two attempts of the usual 5 seconds (`resolv.conf(5)`).
pub(crate) const LOOKUP_TIME: Duration = Duration::from_secs(10);
/// What time all addresses of a name together have to be reached.
pub(crate) const DIAL_TIME: Duration = Duration::from_secs(30);

/// The counters of one gate.
#[derive(Debug)]
pub(crate) struct Limits {
    open: Rc<Cell<usize>>,
    inspecting: Rc<Cell<usize>>,
    waiting: Rc<Cell<usize>>,
    rate: Bucket,
    new_names: Bucket,
    spent: Cell<Spent>,
}

/// Whether the budget of new names is used up: what a channel through name servers looks like, so somebody should hear of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spent {
    No,
    Untold,
    Told,
}

/// A place within a limit, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place(Rc<Cell<usize>>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// A limit that is reached, in words for the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    /// The policy's limit on open connections.
    Open(u32),
    /// Connections to servers for inspected requests: [`EACH`] for each that the policy's limit permits.
    Inspecting(usize),
    /// [`WAITING`].
    Waiting,
    /// [`RATE`].
    Rate,
    /// [`NEW_NAMES`].
    NewNames,
}

impl Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(limit) => write!(f, "{limit} open connections"),
            Self::Inspecting(limit) => write!(f, "{limit} connections to servers for inspected requests"),
            Self::Waiting => write!(f, "{WAITING} connections that have not spoken"),
            Self::Rate => write!(f, "{RATE} new connections a second"),
            Self::NewNames => write!(f, "{NEW_NAMES_BURST} names never looked up before"),
        }
    }
}

impl Limits {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            open: Rc::default(),
            inspecting: Rc::default(),
            waiting: Rc::default(),
            rate: Bucket::new(RATE, BURST, now),
            new_names: Bucket::new(NEW_NAMES, NEW_NAMES_BURST, now),
            spent: Cell::new(Spent::No),
        }
    }

    /// A place for one more connection, of as many as the policy says.
    pub(crate) fn open(&self, now: Instant, limit: u32) -> Result<Place, Reached> {
        if !self.rate.take(now) {
            return Err(Reached::Rate);
        }
        place(&self.open, usize::try_from(limit).unwrap_or(usize::MAX)).ok_or(Reached::Open(limit))
    }

    /// A place for one more connection to a server for inspected requests, where `limit` is the policy's on open connections.
    pub(crate) fn inspecting(&self, limit: u32) -> Result<Place, Reached> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).saturating_mul(EACH);
        place(&self.inspecting, limit).ok_or(Reached::Inspecting(limit))
    }

    /// Whether any connection is open.
    pub(crate) fn any_open(&self) -> bool {
        self.open.get() > 0
    }

    /// A place among those that have yet to speak.
    pub(crate) fn waiting(&self) -> Result<Place, Reached> {
        place(&self.waiting, WAITING).ok_or(Reached::Waiting)
    }

    /// Leave to look up one name that was not looked up before.
    pub(crate) fn new_name(&self, now: Instant) -> Result<(), Reached> {
        if self.new_names.take(now) {
            // A token that trickled in is no end of it; a budget that has recovered is.
            if self.new_names.left() > NEW_NAMES_BURST / 2.0 {
                self.spent.set(Spent::No);
            }
            return Ok(());
        }
        if self.spent.get() == Spent::No {
            self.spent.set(Spent::Untold);
        }
        Err(Reached::NewNames)
    }

    /// What to tell the operator, once, when the budget of new names is used up.
    pub(crate) fn alarm(&self) -> Option<String> {
        if self.spent.get() != Spent::Untold {
            return None;
        }
        self.spent.set(Spent::Told);
        Some(format!(
            "alert: more than {NEW_NAMES_BURST} names below allowed wildcards were dialled for the first time within minutes: \
             names can carry data out; more are refused"
        ))
    }
}

fn place(count: &Rc<Cell<usize>>, limit: usize) -> Option<Place> {
    if count.get() >= limit {
        return None;
    }
    count.set(count.get() + 1);
    Some(Place(Rc::clone(count)))
}

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    rate: f64,
    burst: f64,
    state: Cell<(f64, Instant)>,
}

impl Bucket {
    fn new(rate: f64, burst: f64, now: Instant) -> Self {
        Self { rate, burst, state: Cell::new((burst, now)) }
    }

    fn left(&self) -> f64 {
        self.state.get().0
    }

    fn take(&self, now: Instant) -> bool {
        let (tokens, then) = self.state.get();
        let tokens = (now.duration_since(then).as_secs_f64().mul_add(self.rate, tokens)).min(self.burst);
        let taken = tokens >= 1.0;
        self.state.set((if taken { tokens - 1.0 } else { tokens }, now));
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n8_a_spent_budget_of_names_is_told_once_until_it_has_recovered() {
        let now = Instant::now();
        let limits = Limits::new(now);
        while limits.new_name(now).is_ok() {}
        assert!(limits.alarm().is_some());
        assert_eq!(limits.new_name(now), Err(Reached::NewNames));
        assert!(limits.alarm().is_none());
        let later = now + Duration::from_secs(3_600);
        while limits.new_name(later).is_ok() {}
        assert!(limits.alarm().is_some());
    }

    #[test]
    fn places_come_back_and_tokens_with_time() {
        let now = Instant::now();
        let limits = Limits::new(now);
        let places: Vec<_> = (0..3).map(|_| limits.open(now, 3).unwrap()).collect();
        assert_eq!(limits.open(now, 3).unwrap_err(), Reached::Open(3));
        drop(places);
        while limits.open(now, 3).is_ok() {}
        assert_eq!(limits.open(now, 3).unwrap_err(), Reached::Rate);
        assert!(limits.open(now + Duration::from_secs(1), 3).is_ok());
        let places: Vec<_> = (0..3 * EACH).map(|_| limits.inspecting(3).unwrap()).collect();
        assert_eq!(limits.inspecting(3).unwrap_err(), Reached::Inspecting(6));
        drop(places);
        assert!(limits.inspecting(3).is_ok());
    }
}
