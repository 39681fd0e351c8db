//! What one credential has used, and whether there is room for more. Arithmetic alone: the time comes in, and nothing
//! is kept here.
//!
//! What is reserved counts as used until it is settled. So a gate that is killed leaves its reservations as used, and no
//! number of requests at once gets beyond a limit by more than what they turn out to have used above their estimate.

use wardroom_policy::CredentialLimits;

use super::clock::{DAY, Moment};
use super::window::Window;

/// The limits that a policy can set on a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// In any sixty seconds.
    Requests,
    /// Of bodies, both ways.
    Bytes,
    /// All that a model's API counts: in, out, written to a cache and read from one.
    Tokens,
    /// By the price table.
    Dollars,
}

impl Limit {
    /// The key in the policy.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Requests => "requests_per_minute",
            Self::Bytes => "bytes_per_day",
            Self::Tokens => "tokens_per_day",
            Self::Dollars => "usd_per_day",
        }
    }

    /// A bit of its own, for what was said today.
    fn bit(self) -> u64 {
        match self {
            Self::Requests => 1,
            Self::Bytes => 2,
            Self::Tokens => 4,
            Self::Dollars => 8,
        }
    }
}

/// What is counted by the day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) bytes: u64,
    pub(crate) tokens: u64,
    /// Millionths of a US dollar.
    pub(crate) micro_usd: u64,
}

impl Amount {
    pub(crate) fn bytes(bytes: u64) -> Self {
        Self { bytes, ..Self::default() }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        self.each(other, u64::saturating_add)
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        self.each(other, u64::saturating_sub)
    }

    fn each(self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            bytes: with(self.bytes, other.bytes),
            tokens: with(self.tokens, other.tokens),
            micro_usd: with(self.micro_usd, other.micro_usd),
        }
    }

    pub(crate) fn of(self, limit: Limit) -> u64 {
        match limit {
            Limit::Requests => 0,
            Limit::Bytes => self.bytes,
            Limit::Tokens => self.tokens,
            Limit::Dollars => self.micro_usd,
        }
    }
}

/// The limits of a credential in whole units. None is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Caps {
    pub(crate) requests: Option<u64>,
    pub(crate) bytes: Option<u64>,
    pub(crate) tokens: Option<u64>,
    pub(crate) micro_usd: Option<u64>,
}

impl Caps {
    pub(crate) fn new(limits: &CredentialLimits) -> Self {
        let CredentialLimits { requests_per_minute, bytes_per_day, tokens_per_day, usd_per_day } = *limits;
        Self {
            requests: requests_per_minute,
            bytes: bytes_per_day,
            tokens: tokens_per_day,
            // What is no amount of money is none.
            micro_usd: usd_per_day.map(|usd| super::prices::millionths(usd).unwrap_or(0)),
        }
    }

    pub(crate) fn any(&self) -> bool {
        *self != Self::default()
    }

    /// Whether a request's tokens matter.
    pub(crate) fn of_models(&self) -> bool {
        self.tokens.is_some() || self.micro_usd.is_some()
    }

    pub(crate) fn of(&self, limit: Limit) -> Option<u64> {
        match limit {
            Limit::Requests => self.requests,
            Limit::Bytes => self.bytes,
            Limit::Tokens => self.tokens,
            Limit::Dollars => self.micro_usd,
        }
    }
}

const BY_DAY: [Limit; 3] = [Limit::Bytes, Limit::Tokens, Limit::Dollars];

/// A limit without room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) limit: Limit,
    pub(crate) used: u64,
    pub(crate) of: u64,
    /// Whether it stays full even if everything that is reserved turns out to be nothing.
    pub(crate) for_good: bool,
}

impl Full {
    /// Without what the refused request itself holds already: that is not used.
    pub(crate) fn without(self, held: Amount) -> Self {
        Self { used: self.used.saturating_sub(held.of(self.limit)), ..self }
    }
}

/// A step that is said once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) limit: Limit,
    pub(crate) used: u64,
    pub(crate) of: u64,
    pub(crate) stage: Stage,
}

/// How far it has come with a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Four fifths are used.
    Near,
    /// What is left is too little for a request that was asked for.
    NoFit,
    /// All of it is used.
    All,
}

/// The counters of one credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    /// When it was last changed; its day is the day that is counted.
    pub(crate) second: u64,
    /// Used today, reservations included.
    pub(crate) used: Amount,
    /// What was said today: a bit for each limit that is near, and higher ones for each that is reached, or was too near.
    pub(crate) said: u64,
    pub(crate) window: Window,
}

impl Account {
    pub(crate) const EMPTY: Self = Self {
        second: 0,
        used: Amount { bytes: 0, tokens: 0, micro_usd: 0 },
        said: 0,
        window: Window::EMPTY,
    };

    pub(crate) fn day(&self) -> u64 {
        self.second / DAY
    }

    /// Brings the account to now: a new day begins with nothing used. Time that goes back changes nothing.
    pub(crate) fn advance(&mut self, moment: Moment) {
        if moment.second / DAY > self.day() {
            self.used = Amount::default();
            self.said = 0;
        }
        self.second = self.second.max(moment.second);
        self.window.advance(self.second);
    }

    /// One request more, if the minute has room for it, and the day for any byte at all.
    pub(crate) fn request(&mut self, caps: &Caps) -> Result<(), Full> {
        let counted = [
            (Limit::Requests, self.window.used(), caps.requests),
            (Limit::Bytes, self.used.bytes, caps.bytes),
        ];
        for (limit, used, of) in counted {
            if let Some(of) = of.filter(|of| used >= *of) {
                return Err(Full { limit, used, of, for_good: limit == Limit::Bytes });
            }
        }
        self.window.count();
        Ok(())
    }

    /// Reserves what fits every limit of the day, or nothing. `reserved` is what of the used is not settled yet.
    pub(crate) fn reserve(&mut self, more: Amount, caps: &Caps, reserved: Amount) -> Result<(), Full> {
        let total = self.used.plus(more);
        let settled = self.used.minus(reserved).plus(more);
        for limit in BY_DAY {
            let Some(of) = caps.of(limit) else { continue };
            if more.of(limit) > 0 && total.of(limit) > of {
                let for_good = settled.of(limit) > of;
                return Err(Full { limit, used: self.used.of(limit), of, for_good });
            }
        }
        self.used = total;
        Ok(())
    }

    /// Replaces what was reserved on `day` by what was used. A day that is over keeps what was reserved on it; what
    /// was used beyond that counts today.
    pub(crate) fn settle(&mut self, day: u64, reserved: Amount, used: Amount) {
        self.used = if day == self.day() {
            self.used.minus(reserved).plus(used)
        } else {
            self.used.plus(used.minus(reserved))
        };
    }

    /// The steps that were passed and not said yet, of what is settled.
    pub(crate) fn steps(&mut self, caps: &Caps, reserved: Amount) -> Vec<Step> {
        let settled = self.used.minus(reserved);
        let by_day = BY_DAY.into_iter().map(|limit| (limit, settled.of(limit)));
        let mut steps = Vec::new();
        for (limit, used) in [(Limit::Requests, self.window.used())].into_iter().chain(by_day) {
            let Some(of) = caps.of(limit) else { continue };
            if u128::from(used) * 2 < u128::from(of) {
                // A minute that has passed, or a limit that was raised: it may be said again.
                self.said &= !(limit.bit() | limit.bit() << REACHED);
                continue;
            }
            let near = u128::from(used) * 5 >= u128::from(of) * 4;
            if near && self.say(limit.bit()) && used < of {
                steps.push(Step { limit, used, of, stage: Stage::Near });
            }
            if used >= of && self.say(limit.bit() << REACHED) {
                steps.push(Step { limit, used, of, stage: Stage::All });
            }
        }
        steps
    }

    /// Says that a limit is reached, or that a request does not fit what is left of it. None if it was said.
    pub(crate) fn refused(&mut self, full: Full) -> Option<Step> {
        let Full { limit, used, of, for_good } = full;
        let worth_it = for_good || limit == Limit::Requests;
        let (bit, stage) = if used < of { (NO_FIT, Stage::NoFit) } else { (REACHED, Stage::All) };
        (worth_it && self.say(limit.bit() << bit)).then_some(Step { limit, used, of, stage })
    }

    /// Keeps a bit of what was said. True if it was not.
    fn say(&mut self, bit: u64) -> bool {
        let before = self.said & bit != 0;
        self.said |= bit;
        !before
    }
}

/// Where the bits of limits begin that are reached.
const REACHED: u32 = 8;
/// And those of limits of which too little was left for a request.
const NO_FIT: u32 = 16;

#[cfg(test)]
mod tests;
