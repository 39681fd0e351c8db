//! One decision, one place, one reason: the verdict that every record of a decision carries.

use std::fmt::{self, Display};
use std::net::IpAddr;

use minicbor::{Decode, Encode};

use crate::bytes::Captured;

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Outcome {
    /// Permitted by a rule, or by the cell's nature.
    #[n(0)]
    Allowed,
    /// Refused by Wardroom.
    #[n(1)]
    Refused,
    /// Recorded and continued: the walls (mounts, Landlock, the network namespace) decide, not this record.
    #[n(2)]
    Observed,
    /// Permitted, and failed for a reason that is not Wardroom's.
    #[n(3)]
    Failed,
}

impl Outcome {
    /// The word used in filters and on screen.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Observed => "seen",
            Self::Failed => "failed",
        }
    }
}

/// Where the rule stands that made a decision.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct RuleRef {
    /// The policy file, as the operator knows it.
    #[n(0)]
    pub file: String,
    /// The line of the rule's first key, from 1.
    #[n(1)]
    pub line: u32,
}

impl Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Why. A closed list: a new way of deciding is a new variant, and every match says what it means there.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Reason {
    /// A rule of the policy permits it.
    #[n(0)]
    RulePermits,
    /// No rule names it. Deny is the absence of permission.
    #[n(1)]
    NoRule,
    /// A `deny` rule names it.
    #[n(2)]
    RuleDenies,
    /// The rule names the host, but not this port.
    #[n(3)]
    PortNotNamed(#[n(0)] u16),
    /// The rule names programs (`apps`), and this is none of them.
    #[n(4)]
    ProgramNotNamed,
    /// An address that the resolver did not give and no rule names.
    #[n(5)]
    LiteralAddress,
    /// The name leads to a private, loopback, link-local, multicast or otherwise special address.
    #[n(6)]
    SpecialAddress(#[cbor(n(0), with = "crate::event::ip")] IpAddr),
    /// A protocol or port that has no way out: UDP, ICMP, raw and the like.
    #[n(7)]
    NoRoute,
    /// The name in the ClientHello is not the name that was resolved.
    #[n(8)]
    OtherServerName(#[n(0)] Captured),
    /// A TLS connection without a server name.
    #[n(9)]
    NoServerName,
    /// Not TLS on a port where the rule expects TLS.
    #[n(10)]
    NotTls,
    /// Bytes that do not parse as what they must be.
    #[n(11)]
    Malformed(#[n(0)] String),
    /// The peer did not speak within the time it has.
    #[n(12)]
    TooSlow,
    /// A limit of the agent's is reached; the text names it.
    #[n(13)]
    LimitReached(#[n(0)] String),
    /// The host's resolvers gave no address, or failed.
    #[n(14)]
    Unresolved(#[n(0)] String),
    /// The far side could not be reached.
    #[n(15)]
    Unreachable(#[n(0)] String),
    /// No agent holds this privilege; the text says which.
    #[n(16)]
    PrivilegeWithheld(#[n(0)] String),
    /// The policy changed, and no longer permits what was open.
    #[n(17)]
    PolicyChanged,
    /// A path or name on the list of sensitive ones.
    #[n(18)]
    SensitivePath,
    /// What the kernel did is not what was announced.
    #[n(19)]
    Mismatch,
    /// The cell's walls decide; recorded as it passed.
    #[n(20)]
    WallsDecide,
    /// One of Wardroom's own control points, which no agent may address.
    #[n(21)]
    ControlPoint,
    /// The protection itself failed, so the answer is no.
    #[n(22)]
    FailedClosed(#[n(0)] String),
    /// The rules name the host, but not this method.
    #[n(23)]
    MethodNotNamed(#[n(0)] String),
    /// The rules name the host and the method, but not this path.
    #[n(24)]
    PathNotNamed,
    /// The request names another host than its connection.
    #[n(25)]
    OtherHost(#[n(0)] Captured),
    /// A placeholder where it is not bound: the text names the place.
    #[n(26)]
    CredentialMisused(#[n(0)] String),
    /// A credential of the agent's own, where Wardroom puts one in: the text names the header.
    #[n(27)]
    OwnCredential(#[n(0)] String),
    /// The credential that this request needs cannot be had: the text says why.
    #[n(28)]
    CredentialUnavailable(#[n(0)] String),
    /// The far side's certificate is not to be trusted.
    #[n(29)]
    ServerCertificate(#[n(0)] String),
    /// The program does not accept the gate's certificate.
    #[n(30)]
    ClientDeclined(#[n(0)] String),
    /// The far side broke the protocol.
    #[n(31)]
    UpstreamProtocol(#[n(0)] String),
    /// A canary: a decoy that nothing has a reason to open.
    #[n(32)]
    Canary,
    /// A Unix socket's file on which no program of the cell listens: the host's, if anybody's.
    #[n(33)]
    ForeignSocket,
}

impl Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RulePermits => f.write_str("a rule permits it"),
            Self::NoRule => f.write_str("no rule permits it"),
            Self::RuleDenies => f.write_str("a rule denies it"),
            Self::PortNotNamed(port) => write!(f, "no rule permits port {port} of this host"),
            Self::ProgramNotNamed => f.write_str("the rule is for other programs"),
            Self::LiteralAddress => f.write_str("an address that no rule names"),
            Self::SpecialAddress(ip) => {
                write!(f, "the name leads to {ip}, a special address that no rule names")
            }
            Self::NoRoute => f.write_str("nothing but TCP to permitted names leaves a cell"),
            Self::OtherServerName(name) => write!(f, "the TLS handshake names another server: {name}"),
            Self::NoServerName => f.write_str("the TLS handshake names no server"),
            Self::NotTls => f.write_str("not TLS, where the rule expects TLS"),
            Self::Malformed(what) => write!(f, "malformed: {what}"),
            Self::TooSlow => f.write_str("silent for too long"),
            Self::LimitReached(limit) => write!(f, "limit reached: {limit}"),
            Self::Unresolved(why) => write!(f, "the name does not resolve: {why}"),
            Self::Unreachable(why) => write!(f, "unreachable: {why}"),
            Self::PrivilegeWithheld(what) => write!(f, "no agent may {what}"),
            Self::PolicyChanged => f.write_str("the policy changed and no longer permits it"),
            Self::SensitivePath => f.write_str("a sensitive path"),
            Self::Mismatch => f.write_str("the kernel did something else than was announced"),
            Self::WallsDecide => f.write_str("recorded; the cell's walls decide"),
            Self::ControlPoint => f.write_str("a control point of Wardroom's own"),
            Self::FailedClosed(what) => write!(f, "refused because a protection failed: {what}"),
            Self::MethodNotNamed(method) => write!(f, "no rule permits {method} on this host"),
            Self::PathNotNamed => f.write_str("no rule permits this path with this method"),
            Self::OtherHost(host) => write!(f, "the request names another host: {host}"),
            Self::CredentialMisused(place) => {
                write!(f, "a credential's placeholder where it is not bound: {place}")
            }
            Self::OwnCredential(place) => {
                write!(f, "a credential of the agent's own, where one is bound: {place}")
            }
            Self::CredentialUnavailable(why) => write!(f, "the credential cannot be had: {why}"),
            Self::ServerCertificate(why) => write!(f, "the server's certificate is not to be trusted: {why}"),
            Self::ClientDeclined(why) => {
                write!(f, "the program does not accept the gate's certificate: {why}")
            }
            Self::UpstreamProtocol(why) => write!(f, "the server broke the protocol: {why}"),
            Self::Canary => f.write_str("a canary: a decoy that nothing has a reason to open"),
            Self::ForeignSocket => f.write_str("no program of the cell listens on this socket"),
        }
    }
}

/// A decision with its reason and, where a rule made it, the rule.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Verdict {
    /// What became of it.
    #[n(0)]
    pub outcome: Outcome,
    /// Why.
    #[n(1)]
    pub reason: Reason,
    /// By which rule; none where the absence of a rule decided.
    #[n(2)]
    pub rule: Option<RuleRef>,
}

impl Verdict {
    /// Recorded and continued.
    #[must_use]
    pub fn observed() -> Self {
        Self { outcome: Outcome::Observed, reason: Reason::WallsDecide, rule: None }
    }

    /// Refused, with a reason and without a rule.
    #[must_use]
    pub fn refused(reason: Reason) -> Self {
        Self { outcome: Outcome::Refused, reason, rule: None }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.outcome.word(), self.reason)?;
        match &self.rule {
            Some(rule) => write!(f, " ({rule})"),
            None => Ok(()),
        }
    }
}
