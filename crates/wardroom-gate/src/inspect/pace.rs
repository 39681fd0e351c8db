//! Who stands still for too long: told by looking once a round, so that no request needs a timer of its own.
//!
//! Nothing here knows the time; a round is [`super::limits::ROUND`].

use super::limits::{HEAD_TIME, ROUND, SILENCE};

/// Rounds in a silence, and in the time for a head.
const SILENT: u64 = SILENCE.as_secs() / ROUND.as_secs();
const HEADLESS: u64 = HEAD_TIME.as_secs() / ROUND.as_secs();

/// A request on its way: still while none of its bytes move.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Still {
    moved: u64,
    rounds: u64,
}

impl Still {
    /// After one more round; true once it has been still for too long.
    pub(super) fn round(&mut self, moved: u64) -> bool {
        self.rounds = if moved == self.moved { self.rounds + 1 } else { 0 };
        self.moved = moved;
        self.rounds > SILENT
    }
}

/// A connection: quiet while there is no request.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    requests: u64,
    sent: u64,
    rounds: u64,
}

/// Why a quiet connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// Nobody wants anything.
    Idle,
    /// Something was sent, and is no request yet.
    TooSlow,
}

impl Quiet {
    /// After one more round: how many requests there were so far, whether one is on its way, and how many bytes have come.
    pub(super) fn round(&mut self, requests: u64, busy: bool, sent: u64) -> Option<Over> {
        if busy || requests != self.requests {
            *self = Self { requests, sent, rounds: 0 };
            return None;
        }
        self.rounds += 1;
        match (self.rounds > HEADLESS, sent == self.sent) {
            (false, _) => None,
            (true, true) => Some(Over::Idle),
            (true, false) => Some(Over::TooSlow),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_whose_bytes_do_not_move_is_still_after_fifteen_minutes_and_no_sooner() {
        let mut still = Still::default();
        assert!((0..SILENT).all(|_| !still.round(0)));
        assert!(still.round(0));
        let mut slow = Still::default();
        assert!((0..10 * SILENT).all(|round| !slow.round(round / 50)), "a byte now and then");
    }

    #[test]
    fn a_head_that_trickles_in_is_too_slow_and_a_pause_is_only_a_pause() {
        let begun = || {
            let mut quiet = Quiet::default();
            assert_eq!(quiet.round(1, true, 100), None);
            quiet
        };
        let last = |quiet: &mut Quiet, sent: fn(u64) -> u64| {
            let ends: Vec<_> = (0..=HEADLESS).map(|round| quiet.round(1, false, sent(round))).collect();
            assert!(ends.iter().rev().skip(1).all(Option::is_none));
            ends.last().copied().flatten()
        };
        assert_eq!(last(&mut begun(), |_| 100), Some(Over::Idle));
        assert_eq!(last(&mut begun(), |round| 101 + round), Some(Over::TooSlow));
        let mut busy = begun();
        assert!((0..100).all(|_| busy.round(1, true, 100).is_none()), "a long answer is no pause");
        assert!((0..100).all(|n| busy.round(n, false, 100).is_none()), "nor are many short ones");
    }
}
