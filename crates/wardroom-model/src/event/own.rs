//! What the operator and Wardroom itself do: sessions, policies, processes of its own, the ledger, probes.

use minicbor::{Decode, Encode};

use crate::bytes::Captured;
use crate::reason::RuleRef;

/// An operator's action.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Operator {
    /// The host user who acted.
    #[n(0)]
    pub uid: u32,
    /// The action, as a command line.
    #[n(1)]
    pub action: Captured,
}

/// The life of a cell.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Session {
    /// The cell is about to run its first command.
    #[n(0)]
    Started(#[n(0)] SessionStart),
    /// The cell ended; every process in it is gone.
    #[n(1)]
    Ended(#[n(0)] SessionEnd),
}

/// What a cell was started with.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SessionStart {
    /// The command.
    #[n(0)]
    pub command: Captured,
    /// SHA-256 of the policy text.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub policy: [u8; 32],
    /// Every mechanism with what was asked of the kernel and what it gave.
    #[n(2)]
    pub mechanisms: Vec<Mechanism>,
}

/// A protection as asked and as got. They must be equal for a cell to start.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Mechanism {
    /// Its name, such as `landlock` or `seccomp`.
    #[n(0)]
    pub name: String,
    /// What the plan asked.
    #[n(1)]
    pub asked: String,
    /// What the kernel says is in force.
    #[n(2)]
    pub got: String,
}

/// How a cell ended.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SessionEnd {
    /// The exit status of the command: 0 to 255, 128 + signal if it was killed.
    #[n(0)]
    pub status: u32,
    /// Why, where it was not the command's own end.
    #[n(1)]
    pub because: Option<String>,
}

/// A change of policy.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PolicyChange {
    /// SHA-256 of the text.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub digest: [u8; 32],
    /// The file.
    #[n(1)]
    pub file: Captured,
    /// The error, where the text was refused and the old policy stays.
    #[n(2)]
    pub refused: Option<Captured>,
    /// The text itself, where it came into force and is short enough (`wardroom run --here` has no file).
    #[n(3)]
    pub text: Option<Captured>,
}

/// Wardroom about its own processes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Supervision {
    /// `scribe`, `gate`, `guard`, `keeper`, `cell`.
    #[n(0)]
    pub process: String,
    /// What happened.
    #[n(1)]
    pub what: String,
}

/// The ledger about itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum LedgerNote {
    /// Opened after an unclean end.
    #[n(0)]
    Recovered(#[n(0)] Recovery),
    /// The wall clock moved against the monotonic one.
    #[n(1)]
    ClockStep {
        /// Nanoseconds by which the wall clock moved.
        #[n(0)]
        nanos: i64,
    },
    /// A segment is complete and will not change.
    #[n(2)]
    Sealed {
        /// The first sequence number in the segment.
        #[n(0)]
        first: u64,
        /// Records in the segment.
        #[n(1)]
        records: u64,
    },
    /// Old segments were removed by the policy's retention.
    #[n(3)]
    Retired {
        /// Records removed, from the oldest kept one downwards.
        #[n(0)]
        before: u64,
        /// The rule that says so.
        #[n(1)]
        rule: Option<RuleRef>,
    },
    /// A producer handed over bytes that are no record.
    #[n(4)]
    Garbled {
        /// Which producer.
        #[n(0)]
        producer: u8,
        /// What was wrong.
        #[n(1)]
        what: String,
    },
}

/// What recovery found.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Recovery {
    /// Records kept.
    #[n(0)]
    pub kept: u64,
    /// Bytes at the end that were no valid frame, cut off.
    #[n(1)]
    pub cut_bytes: u64,
    /// Records that had been handed over and are now appended.
    #[n(2)]
    pub from_handoff: u64,
}

/// One probe of `verify`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Probe {
    /// Its id, such as `N2.literal-v4`.
    #[n(0)]
    pub id: String,
    /// `pass`, `FAIL` or `could not test`.
    #[n(1)]
    pub result: String,
    /// The evidence in words.
    #[n(2)]
    pub evidence: Captured,
}
