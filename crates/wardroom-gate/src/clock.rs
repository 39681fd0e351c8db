//! The gate's one door to the wall clock: certificates and credentials have dates. Everything else counts by tokio's clock.

use rustix::time::{ClockId, clock_gettime};

/// Seconds since 1970. A time before counts as 1970: such a clock is wrong in any case.
pub(crate) fn unix_now() -> u64 {
    u64::try_from(clock_gettime(ClockId::Realtime).tv_sec).unwrap_or(0)
}
