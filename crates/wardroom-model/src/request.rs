//! A request inside a connection that the gate opens, as its records say it.

use minicbor::{Decode, Encode};

use crate::bytes::Captured;
use crate::event::Actor;
use crate::name::HostName;
use crate::reason::Verdict;

/// A request at the gate. Its decision, recorded before a byte of it leaves, and its end share an id.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Request {
    /// Unique within a session.
    #[n(0)]
    pub id: u64,
    /// The connection that carries it.
    #[n(1)]
    pub connection: u64,
    /// Who connected, where that is known.
    #[n(2)]
    pub actor: Option<Actor>,
    /// The host of the connection, which every request in it must name.
    #[n(3)]
    pub host: HostName,
    /// The port that the agent asked for.
    #[n(4)]
    pub port: u16,
    /// The method.
    #[n(5)]
    pub method: String,
    /// The canonical path, and the query with its values masked unless the policy keeps them.
    #[n(6)]
    pub path: Captured,
    /// Which moment of its life.
    #[n(7)]
    pub phase: RequestPhase,
}

/// The moments of a request that are on record.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum RequestPhase {
    /// Decided, before it is sent on.
    #[n(0)]
    Decided(#[n(0)] RequestDecision),
    /// Over.
    #[n(1)]
    Ended(#[n(0)] RequestEnd),
}

/// What was decided about a request.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RequestDecision {
    /// The decision.
    #[n(0)]
    pub verdict: Verdict,
    /// The credential that is put in, by its name.
    #[n(1)]
    pub credential: Option<String>,
}

/// The end of a permitted request.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RequestEnd {
    /// The status of the answer; none where there was none.
    #[n(0)]
    pub status: Option<u16>,
    /// Bytes of body from the agent, and of an upgraded connection.
    #[n(1)]
    pub sent: u64,
    /// Bytes of body to the agent, and of an upgraded connection.
    #[n(2)]
    pub received: u64,
    /// Duration in microseconds.
    #[n(3)]
    pub micros: u64,
    /// The credential that was put in, by its name.
    #[n(4)]
    pub credential: Option<String>,
    /// What a model's API counted.
    #[n(5)]
    pub usage: Option<Usage>,
    /// How it ended.
    #[n(6)]
    pub verdict: Verdict,
}

/// What a request to a model's API used.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Usage {
    /// The model, as the answer names it.
    #[n(0)]
    pub model: String,
    /// Tokens in, without those that were read from a cache.
    #[n(1)]
    pub input: u64,
    /// Tokens out.
    #[n(2)]
    pub output: u64,
    /// Tokens read from a cache.
    #[n(3)]
    pub cached: u64,
    /// What it cost in millionths of a US dollar, by the price table; none where the model has no price there.
    #[n(4)]
    pub micro_usd: Option<u64>,
    /// Whether the answer did not say, and this is the worst case.
    #[n(5)]
    pub assumed: bool,
}
