//! The one place of the binary that reads a clock.

use std::time::{Duration, Instant};

/// Now, by the wall.
pub(crate) fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// A point in time after which waiting ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// That much time from now.
    #[expect(clippy::disallowed_methods, reason = "this module is the binary's clock")]
    pub(crate) fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration)
    }

    /// What is left, or nothing.
    #[expect(clippy::disallowed_methods, reason = "this module is the binary's clock")]
    pub(crate) fn left(self) -> Option<Duration> {
        self.0.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }
}
