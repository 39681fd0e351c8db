//! Exit codes. `run` and `exec` return the agent's own; Wardroom's own failures are all in the 200s, above every
//! shell convention (126, 127, 128 + signal), so that a script can tell them apart. `docs/exit-codes.md` lists them.

/// One of Wardroom's own exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// The command line was not understood.
    Usage = 200,
    /// A policy has a mistake, or asks for what is not yet supported.
    Policy = 201,
    /// `why`: refused by policy.
    Refused = 202,
    /// This machine or kernel cannot give what the policy asks.
    CannotContain = 203,
    /// `verify`: nothing failed, but something could not be tested.
    CouldNotTest = 204,
    /// `verify`: a probe failed: the containment does not hold.
    ProbeFailed = 205,
    /// `ledger verify`: changed, swapped or forged.
    LedgerTampered = 206,
    /// `ledger verify`: shorter than a checkpoint says.
    LedgerTruncated = 207,
    /// `ledger verify`: intact, but the end is incomplete (a crash, or a ledger still being written).
    LedgerIncomplete = 208,
    /// `ledger verify`: intact, but older than the checkpoint it was compared with.
    LedgerStale = 209,
    /// The ledger cannot be written or read: disk full, permissions, another user's.
    Ledger = 210,
    /// The agent is already running.
    AlreadyRunning = 211,
    /// There is no such agent, or it does not run.
    NoSuchAgent = 212,
    /// A protecting process failed and could not be restarted; the cell was ended.
    Supervision = 213,
    /// Anything else that is Wardroom's own fault, and output that could not be written.
    Internal = 214,
    /// The credential store cannot be used: not set up, locked, damaged, or another user's.
    Credentials = 215,
}

impl Exit {
    /// The number as the shell sees it.
    #[must_use]
    #[expect(clippy::as_conversions, reason = "the discriminant of a fieldless repr(u8) enum")]
    pub fn code(self) -> u8 {
        self as u8
    }
}
