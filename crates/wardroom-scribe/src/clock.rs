//! The one door to the clocks of this crate.

use rustix::time::{ClockId, Timespec, clock_gettime};
use wardroom_model::Stamp;

/// Now, by both clocks. Neither call enters the kernel (vDSO) on the hardware that Wardroom is made for.
#[must_use]
pub fn now() -> Stamp {
    Stamp {
        monotonic: nanos(clock_gettime(ClockId::Boottime)),
        wall: nanos(clock_gettime(ClockId::Realtime)),
    }
}

/// A time before 1970 counts as 1970: such a clock is wrong in any case.
fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
