//! What happens to a credential, as its records say it. No record holds a value of one.

use minicbor::{Decode, Encode};

use crate::event::Actor;
use crate::name::HostName;
use crate::reason::Verdict;

/// Something that happened to a credential.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CredentialNote {
    /// The credential, by its name in the policy; empty for a placeholder that is none of this agent's, and for a value
    /// that came back to a request without a credential.
    #[n(0)]
    pub name: String,
    /// The host that it is bound to, or that an attempt was about.
    #[n(1)]
    pub host: Option<HostName>,
    /// Who, where an agent's program did it.
    #[n(2)]
    pub actor: Option<Actor>,
    /// What happened.
    #[n(3)]
    pub act: CredentialAct,
    /// The decision, where there was one to make.
    #[n(4)]
    pub verdict: Option<Verdict>,
}

/// What happened to a credential.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum CredentialAct {
    /// A value is in use from now on: the first, or the next after a rotation or a renewal.
    #[n(0)]
    InUse {
        /// Counts the values of this credential, from 1.
        #[n(0)]
        version: u64,
        /// Where it came from: the store, a command, a server's name.
        #[n(1)]
        source: String,
    },
    /// There is no value, so every request that needs it is refused.
    #[n(1)]
    Unavailable {
        /// Why, without a word of the value.
        #[n(0)]
        why: String,
    },
    /// It was revoked: nothing is sent with it any more, and what was open with it is closed.
    #[n(2)]
    Revoked,
    /// Its age reached a step.
    #[n(3)]
    Age {
        /// Which.
        #[n(0)]
        step: AgeStep,
        /// Seconds since it was set.
        #[n(1)]
        seconds: u64,
    },
    /// A placeholder was somewhere that it is not bound to: an attempt to use it elsewhere, or to leak it.
    #[n(4)]
    Misused {
        /// The place: a header's name, `query`, `body`.
        #[n(0)]
        place: String,
    },
    /// The agent sent a credential of its own where one is bound.
    #[n(5)]
    OwnCredential {
        /// The header's name.
        #[n(0)]
        place: String,
    },
    /// Four fifths of a limit are used.
    #[n(6)]
    LimitNear {
        /// The limit, such as `tokens_per_day`.
        #[n(0)]
        limit: String,
        /// How much is used.
        #[n(1)]
        used: u64,
        /// Of how much.
        #[n(2)]
        of: u64,
    },
    /// A limit is used up.
    #[n(7)]
    LimitReached {
        /// The limit, such as `tokens_per_day`.
        #[n(0)]
        limit: String,
        /// Of how much.
        #[n(1)]
        of: u64,
        /// When it can be used again: seconds since the epoch.
        #[n(2)]
        until: u64,
    },
    /// The real value came back in an answer, and was masked.
    #[n(8)]
    Masked {
        /// Where: a header's name, or `body`.
        #[n(0)]
        place: String,
    },
    /// A token or a lease was ended at its source before its time.
    #[n(9)]
    GivenBack {
        /// Where: a server's address.
        #[n(0)]
        at: String,
    },
    /// A token or a lease could not be ended at its source: it works there until its time.
    #[n(10)]
    NotGivenBack {
        /// Where: a server's address.
        #[n(0)]
        at: String,
        /// Why not, without a word of the value.
        #[n(1)]
        why: String,
    },
    /// A request needs more than is left of a limit, though that is not used up.
    #[n(11)]
    NoFit {
        /// The limit, such as `bytes_per_day`.
        #[n(0)]
        limit: String,
        /// How much is used, or reserved by requests that are open.
        #[n(1)]
        used: u64,
        /// Of how much.
        #[n(2)]
        of: u64,
    },
}

/// The steps of a credential's age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum AgeStep {
    /// A tenth of its time is left, or less.
    #[n(0)]
    DueSoon,
    /// Its time is over.
    #[n(1)]
    Due,
    /// Its time has been over for a tenth of it.
    #[n(2)]
    Overdue,
}

impl AgeStep {
    /// The words on screen.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::DueSoon => "due soon",
            Self::Due => "due",
            Self::Overdue => "overdue",
        }
    }
}
