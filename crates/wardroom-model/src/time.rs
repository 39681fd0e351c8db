//! Time as a record carries it. This crate never reads a clock; a stamp is made by whoever saw the event.

use minicbor::{Decode, Encode};

/// When something happened, by two clocks.
///
/// `CLOCK_BOOTTIME` orders (it never goes back, and goes on while the machine sleeps); the wall clock informs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Stamp {
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    #[n(0)]
    pub monotonic: u64,
    /// Nanoseconds since the Unix epoch, by `CLOCK_REALTIME`.
    #[n(1)]
    pub wall: u64,
}
