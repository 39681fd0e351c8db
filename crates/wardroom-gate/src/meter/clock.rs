//! Which second it is for a budget. A clock that is set back gives no budget again.
//!
//! The time of a budget is the wall clock's, but it never goes back, and it goes on with the machine's own clock while the
//! wall clock is behind: after a step into the future and back, days last as long as ever and only begin at another time.

use rustix::time::{ClockId, clock_gettime};

/// Seconds of a day of UTC.
pub(crate) const DAY: u64 = 86_400;

/// What two clocks say, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    /// `CLOCK_REALTIME`, since the epoch.
    pub(crate) wall: u64,
    /// `CLOCK_BOOTTIME`.
    pub(crate) boot: u64,
}

/// The door to the clocks.
pub(crate) fn now() -> Now {
    let read = |id| {
        let time = clock_gettime(id);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        seconds * 1_000 + u64::try_from(time.tv_nsec / 1_000_000).unwrap_or_default()
    };
    Now { wall: read(ClockId::Realtime), boot: read(ClockId::Boottime) }
}

/// A second of the budgets' time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Since the epoch; never less than before.
    pub(crate) second: u64,
    /// By how much that is ahead of the wall clock.
    pub(crate) ahead: u64,
}

impl Moment {
    /// The wall clock's second when the day of this moment ends.
    pub(crate) fn day_ends(self) -> u64 {
        ((self.second / DAY + 1) * DAY).saturating_sub(self.ahead)
    }

    /// The wall clock's second.
    pub(crate) fn wall(self) -> u64 {
        self.second.saturating_sub(self.ahead)
    }
}

/// The highest time that was seen.
#[derive(Debug)]
pub(crate) struct Clock {
    high: u64,
    boot: u64,
}

impl Clock {
    /// `second` is the latest that any counter has seen.
    pub(crate) fn new(second: u64, now: Now) -> Self {
        Self { high: now.wall.max(second.saturating_mul(1_000)), boot: now.boot }
    }

    pub(crate) fn read(&mut self, now: Now) -> Moment {
        let passed = now.boot.saturating_sub(self.boot);
        self.high = now.wall.max(self.high.saturating_add(passed));
        self.boot = self.boot.max(now.boot);
        Moment { second: self.high / 1_000, ahead: (self.high - now.wall) / 1_000 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall: u64, boot: u64) -> Now {
        Now { wall: wall * 1_000, boot: boot * 1_000 }
    }

    #[test]
    fn a_clock_set_back_goes_on_from_where_it_was() {
        let mut clock = Clock::new(0, at(1_000_000, 10));
        assert_eq!(clock.read(at(1_000_060, 70)), Moment { second: 1_000_060, ahead: 0 });
        assert_eq!(clock.read(at(900_000, 75)), Moment { second: 1_000_065, ahead: 100_065 });
        assert_eq!(clock.read(at(900_010, 85)), Moment { second: 1_000_075, ahead: 100_065 });
        assert_eq!(clock.read(at(2_000_000, 90)), Moment { second: 2_000_000, ahead: 0 });
    }

    #[test]
    fn a_start_with_a_clock_set_back_does_not_go_behind_the_counters() {
        let mut clock = Clock::new(1_000_000, at(5, 0));
        assert_eq!(clock.read(at(6, 1)).second, 1_000_001);
    }

    #[test]
    fn the_end_of_the_day_is_said_in_the_wall_clocks_time() {
        assert_eq!(Moment { second: DAY + 1, ahead: 0 }.day_ends(), 2 * DAY);
        assert_eq!(Moment { second: DAY + 1, ahead: 100 }.day_ends(), 2 * DAY - 100);
    }

    #[test]
    fn the_door_reads_both_clocks() {
        let now = now();
        assert!(now.wall > 1_700_000_000_000 && now.boot > 0);
    }
}
