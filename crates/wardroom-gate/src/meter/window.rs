//! Requests of the last minute: a sliding window of whole seconds, never more than the limit in any sixty of them.

/// Sixty seconds and the one that is not over: a request counts for at least sixty seconds and at most 61.
pub(crate) const SECONDS: usize = 61;

/// Counts by second. The slot of a second is its remainder by [`SECONDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) counts: [u32; SECONDS],
    /// The latest second that was counted.
    pub(crate) newest: u64,
}

impl Window {
    pub(crate) const EMPTY: Self = Self { counts: [0; SECONDS], newest: 0 };

    /// Forgets what is over at `second`.
    pub(crate) fn advance(&mut self, second: u64) {
        let over = second.saturating_sub(self.newest).min(WIDTH);
        for ago in 0..over {
            self.change(second - ago, |_over| 0);
        }
        self.newest = self.newest.max(second);
    }

    /// Requests in the window.
    pub(crate) fn used(&self) -> u64 {
        self.counts.iter().copied().map(u64::from).sum()
    }

    /// One more in the newest second.
    pub(crate) fn count(&mut self) {
        self.change(self.newest, |count| count.saturating_add(1));
    }

    /// Seconds until fewer than `limit` are left, if nothing comes.
    pub(crate) fn wait(&self, limit: u64) -> u64 {
        let mut used = self.used();
        for later in 1..=WIDTH {
            if used < limit {
                return later - 1;
            }
            // The second that leaves the window `later` from now took the place that is used again then.
            used -= u64::from(self.counts.get(index(self.newest + later)).copied().unwrap_or_default());
        }
        WIDTH
    }

    fn change(&mut self, second: u64, to: impl FnOnce(u32) -> u32) {
        // There is a slot for every remainder.
        if let Some(slot) = self.counts.get_mut(index(second)) {
            *slot = to(*slot);
        }
    }
}

const WIDTH: u64 = 61;

fn index(second: u64) -> usize {
    usize::try_from(second % WIDTH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_sixty_seconds_hold_more_than_the_limit(steps in prop::collection::vec((0_u64..50, 1_u8..6), 1..80)) {
            const LIMIT: u64 = 5;
            let mut window = Window::EMPTY;
            let mut second = 1_000_000;
            let mut taken: Vec<u64> = Vec::new();
            for (later, tries) in steps {
                second += later;
                for _ in 0..tries {
                    window.advance(second);
                    if window.used() < LIMIT {
                        window.count();
                        taken.push(second);
                    } else {
                        let wait = window.wait(LIMIT);
                        let mut then = window;
                        then.advance(second + wait);
                        prop_assert!(wait > 0 && then.used() < LIMIT);
                        let mut before = window;
                        before.advance(second + wait - 1);
                        prop_assert!(before.used() >= LIMIT, "it says the first second that has room");
                    }
                }
            }
            for at in &taken {
                let minute = taken.iter().filter(|other| (*at..at + 60).contains(other)).count();
                prop_assert!(minute <= 5);
            }
        }
    }

    #[test]
    fn a_minute_later_there_is_room_again() {
        let mut window = Window::EMPTY;
        window.advance(500);
        window.count();
        assert_eq!((window.used(), window.wait(1)), (1, 61));
        window.advance(560);
        assert_eq!(window.used(), 1);
        window.advance(561);
        assert_eq!(window.used(), 0);
    }

    #[test]
    fn a_second_from_before_is_counted_now() {
        let mut window = Window::EMPTY;
        window.advance(500);
        window.advance(400);
        window.count();
        assert_eq!((window.newest, window.used()), (500, 1));
    }
}
