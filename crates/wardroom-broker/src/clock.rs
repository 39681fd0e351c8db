//! The one place of this crate that reads a clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds since the epoch; 0 where the clock stands before it, which makes everything too old.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the clock's door")]
pub fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// The clock that only goes forward.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the clock's door")]
pub fn steady() -> Instant {
    Instant::now()
}

/// What is left until a moment.
#[must_use]
pub fn left(until: Instant) -> Duration {
    until.saturating_duration_since(steady())
}
