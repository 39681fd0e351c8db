//! Who handed a record over.

use std::fmt::{self, Display};

/// A process that produces records. Each has a ring of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Producer {
    /// The keeper and its guard.
    Keeper,
    /// The gate.
    Gate,
    /// A tool in the operator's hand.
    Operator,
    /// The scribe about the ledger itself. It has no ring.
    Scribe,
}

impl Producer {
    /// Every producer.
    pub const ALL: [Self; 4] = [Self::Keeper, Self::Gate, Self::Operator, Self::Scribe];

    /// The number in a frame.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Keeper => 0,
            Self::Gate => 1,
            Self::Operator => 2,
            Self::Scribe => 255,
        }
    }

    /// The producer with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|producer| producer.number() == number)
    }

    /// The word used in file names and on screen.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Keeper => "keeper",
            Self::Gate => "gate",
            Self::Operator => "operator",
            Self::Scribe => "scribe",
        }
    }
}

impl Display for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
