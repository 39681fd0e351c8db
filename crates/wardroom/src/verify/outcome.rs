//! What came of one attempt, and how that travels from the probe's process to the judge.

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// It did what it set out to do.
    Succeeded(String),
    /// The kernel considered it and declined for the request's own sake: as good as success for a control.
    Reached(String),
    /// It was refused.
    Blocked(String),
    /// It could not be made here at all.
    Impossible(String),
    /// The process was killed by this signal.
    Killed(i32),
    /// There was no answer within the probe's time.
    Hung,
}

/// One attempt's outcome with the time in which it happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The probe.
    pub(crate) id: String,
    /// What came of it.
    pub(crate) outcome: Outcome,
    /// When it began, in nanoseconds of `CLOCK_BOOTTIME`.
    pub(crate) began: u64,
    /// When it was over.
    pub(crate) ended: u64,
}

impl Outcome {
    /// From the answer of a system call: success with what it means, or the refusal.
    pub(crate) fn of<T, E: Display>(result: Result<T, E>, meaning: &str) -> Self {
        match result {
            Ok(_) => Self::Succeeded(meaning.to_owned()),
            Err(error) => Self::Blocked(error.to_string()),
        }
    }

    /// Whether a control with this outcome shows that the probe works.
    pub(crate) fn shows_that_it_works(&self) -> bool {
        match self {
            Self::Succeeded(_) | Self::Reached(_) => true,
            Self::Blocked(_) | Self::Impossible(_) | Self::Killed(_) | Self::Hung => false,
        }
    }
}

impl Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Succeeded(what) | Self::Reached(what) => f.write_str(what),
            Self::Blocked(why) => write!(f, "refused: {why}"),
            Self::Impossible(why) => write!(f, "cannot be tried: {why}"),
            Self::Killed(signal) => write!(f, "killed by signal {signal}"),
            Self::Hung => f.write_str("no answer in its time"),
        }
    }
}

impl Report {
    /// Milliseconds from beginning to end.
    pub(crate) fn milliseconds(&self) -> u64 {
        self.ended.saturating_sub(self.began) / 1_000_000
    }

    /// One line of JSON.
    pub(crate) fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Every report among the lines of an output, which others may have written to as well.
    pub(crate) fn all_in(output: &str) -> Vec<Self> {
        output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}
