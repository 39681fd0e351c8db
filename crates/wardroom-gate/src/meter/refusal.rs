//! Why a request is not sent: in words for the record, and as an answer that a client understands.

use http::StatusCode;
use wardroom_model::Reason;

use super::account::{Full, Limit};

/// No room for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// A limit is used up.
    Exhausted {
        /// Which, and how much is used.
        full: Full,
        /// When there is room again: seconds since the epoch.
        until: u64,
        /// Seconds until then.
        wait: u64,
    },
    /// There is a limit of tokens or dollars, and nobody can tell what this request costs.
    Unmetered,
    /// There are no counters to count with.
    Uncounted(String),
}

impl NoRoom {
    /// For the record and the answer.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Exhausted { full: Full { limit, used, of, .. }, wait, .. } => {
                let said = match limit {
                    Limit::Dollars => format!("usd_per_day, {} of {} used", dollars(*used), dollars(*of)),
                    Limit::Requests | Limit::Bytes | Limit::Tokens => {
                        format!("{}, {used} of {of} used", limit.word())
                    }
                };
                let but = if used < of { ", too little is left for this request" } else { "" };
                Reason::LimitReached(format!("{said}{but}, room again in {wait} s"))
            }
            Self::Unmetered => Reason::LimitReached(
                "what this request costs is not known, and the credential has a limit of tokens or dollars"
                    .to_owned(),
            ),
            Self::Uncounted(why) => Reason::FailedClosed(format!("limits cannot be counted: {why}")),
        }
    }

    /// How it is answered.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Exhausted { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Unmetered => StatusCode::FORBIDDEN,
            Self::Uncounted(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Seconds for `Retry-After`.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Exhausted { wait, .. } => Some(*wait),
            Self::Unmetered | Self::Uncounted(_) => None,
        }
    }

    /// The limit that is used up and when it can be used again, in seconds since the epoch.
    #[cfg(test)]
    pub(crate) fn reset(&self) -> Option<(&'static str, u64)> {
        match self {
            Self::Exhausted { full, until, .. } => Some((full.limit.word(), *until)),
            Self::Unmetered | Self::Uncounted(_) => None,
        }
    }
}

fn dollars(micro: u64) -> String {
    format!("{}.{:02} USD", micro / 1_000_000, micro % 1_000_000 / 10_000)
}
