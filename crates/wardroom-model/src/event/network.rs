//! What leaves a cell, or tries to: socket calls at the guard; names, connections and packets at the gate.

use std::net::SocketAddr;

use minicbor::{Decode, Encode};

use super::Actor;
use crate::bytes::Captured;
use crate::name::HostName;
use crate::reason::Verdict;

/// What was asked of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
#[expect(missing_docs, reason = "the system calls' own names")]
pub enum SocketOp {
    #[n(0)]
    Connect,
    #[n(1)]
    Bind,
    #[n(2)]
    SendTo,
}

/// A socket call with an address.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SocketAct {
    /// Who.
    #[n(0)]
    pub actor: Actor,
    /// What.
    #[n(1)]
    pub op: SocketOp,
    /// To where.
    #[n(2)]
    pub address: SocketTarget,
    /// What became of it.
    #[n(3)]
    pub verdict: Verdict,
}

/// The address of a socket call.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum SocketTarget {
    /// IPv4 or IPv6.
    #[n(0)]
    Inet(#[cbor(n(0), with = "super::socket_address")] SocketAddr),
    /// A Unix socket: a path, or an abstract name after a NUL.
    #[n(1)]
    Unix(#[n(0)] Captured),
    /// Any other family, by its number.
    #[n(2)]
    Other(#[n(0)] u16),
    /// Bytes that are no address.
    #[n(3)]
    Unreadable,
}

/// A connection at the gate. Its attempt and its end share an id.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Connection {
    /// Unique within a session.
    #[n(0)]
    pub id: u64,
    /// Who connected, where that is known.
    #[n(1)]
    pub actor: Option<Actor>,
    /// The name that was meant, where the address came from the resolver.
    #[n(2)]
    pub host: Option<HostName>,
    /// The address that the agent dialled (synthetic for names).
    #[cbor(n(3), with = "super::socket_address")]
    pub dialled: SocketAddr,
    /// Which moment of its life.
    #[n(4)]
    pub phase: ConnectionPhase,
}

/// The moments of a connection that are on record.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ConnectionPhase {
    /// Decided, before it is dialled.
    #[n(0)]
    Decided(#[n(0)] Verdict),
    /// Over: where it went, how long, how much, and why it ended if not by its peers.
    #[n(1)]
    Ended(#[n(0)] ConnectionEnd),
}

/// The end of a permitted connection.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ConnectionEnd {
    /// The real address; none where it was never reached.
    #[cbor(n(0), with = "super::maybe_socket_address")]
    pub remote: Option<SocketAddr>,
    /// Bytes from the agent.
    #[n(1)]
    pub sent: u64,
    /// Bytes to the agent.
    #[n(2)]
    pub received: u64,
    /// Duration in microseconds.
    #[n(3)]
    pub micros: u64,
    /// How it ended.
    #[n(4)]
    pub verdict: Verdict,
}

/// A name asked of the resolver.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NameQuery {
    /// The name as asked; canonical where it is one.
    #[n(0)]
    pub name: Captured,
    /// The query type's number (1 A, 28 AAAA, 65 HTTPS, ...).
    #[n(1)]
    pub rtype: u16,
    /// How many such questions this record stands for.
    #[n(2)]
    pub count: u64,
    /// The answer.
    #[n(3)]
    pub verdict: Verdict,
}

/// Packets refused by the cell's firewall, as NFLOG reports them; or connections refused at the gate's door by a limit.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Packet {
    /// IP protocol number (17 UDP, 1 ICMP, ...).
    #[n(0)]
    pub protocol: u8,
    /// Destination; port 0 where the protocol has none.
    #[cbor(n(1), with = "super::socket_address")]
    pub destination: SocketAddr,
    /// How many such packets this record stands for.
    #[n(2)]
    pub count: u64,
    /// Who, where that is known.
    #[n(3)]
    pub actor: Option<Actor>,
    /// Always a refusal.
    #[n(4)]
    pub verdict: Verdict,
}
