//! The rules of the network, as values. A rule that exists is valid; only the parser makes one.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use wardroom_model::event::Program;
use wardroom_model::{HostName, HostPattern, RuleRef};

use super::path::PathPattern;

/// A `[[network.allow]]` rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowRule {
    pub(crate) at: RuleRef,
    pub(crate) target: Target,
    /// Programs by their paths inside; empty means that the rule is for all.
    pub(crate) apps: Vec<String>,
    pub(crate) http: Option<HttpRule>,
}

/// What an allow rule permits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Hosts by name.
    Host(HostTarget),
    /// One literal address and port, for programs that use no name.
    Literal(SocketAddr),
}

/// Hosts by name, and how they are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostTarget {
    pub(crate) pattern: HostPattern,
    /// Never empty.
    pub(crate) ports: BTreeSet<u16>,
    pub(crate) tls: TlsExpectation,
    /// Where the name is dialled in place of what it resolves to.
    pub(crate) pin: Option<SocketAddr>,
    /// Special networks that the name may lead to.
    pub(crate) networks: Vec<IpNet>,
    /// Certificates (PEM) of those who vouch for the server, in place of the machine's authorities.
    pub(crate) authorities: Option<String>,
}

/// What the gate expects of a connection's first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsExpectation {
    /// TLS, with a server name that equals the host.
    Name,
    /// Anything: the rule says `protocol = "tcp"`, or is for a literal address.
    Raw,
    /// TLS, with a server name that equals the host, which the gate terminates: every request in it is decided by itself.
    Inspect,
}

/// What a rule asks of the requests inside TLS. One that asks nothing (`inspect = true`) has them looked at and permits all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpRule {
    /// Empty means any.
    pub(crate) methods: Vec<String>,
    /// Empty means any.
    pub(crate) paths: Vec<PathPattern>,
    pub(crate) keep_query: bool,
}

/// A `[[network.deny]]` rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenyRule {
    pub(crate) at: RuleRef,
    pub(crate) pattern: HostPattern,
    /// Only these ports; `None` means every port.
    pub(crate) ports: Option<BTreeSet<u16>>,
}

impl AllowRule {
    /// Where the rule stands.
    #[must_use]
    pub fn at(&self) -> &RuleRef {
        &self.at
    }

    /// What the rule permits.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The programs that the rule is for; empty means all.
    #[must_use]
    pub fn apps(&self) -> &[String] {
        &self.apps
    }

    /// What the rule asks of requests; `None` where it does not look at them.
    #[must_use]
    pub fn http(&self) -> Option<&HttpRule> {
        self.http.as_ref()
    }

    /// Whether the rule asks to look at what goes to a port of its hosts.
    pub(crate) fn looks(&self, port: u16) -> bool {
        match &self.target {
            Target::Host(host) => host.tls == TlsExpectation::Inspect && host.ports.contains(&port),
            Target::Literal(_) => false,
        }
    }

    /// Whether a program is one that the rule is for. A program in a writable place is no identity, and neither is
    /// a path that was cut.
    pub(crate) fn is_for(&self, program: Option<&Program>) -> bool {
        self.apps.is_empty()
            || program.is_some_and(|program| {
                let named = |app: &String| app.as_bytes() == program.path.shown();
                program.trusted && program.path.whole().is_none() && self.apps.iter().any(named)
            })
    }

    /// Whether the rule names this special address, as its pin or within its networks.
    pub(crate) fn names_special(&self, ip: IpAddr) -> bool {
        match &self.target {
            Target::Literal(address) => address.ip() == ip,
            Target::Host(host) => {
                host.pin.is_some_and(|pin| pin.ip() == ip)
                    || host.networks.iter().any(|net| net.contains(&ip))
            }
        }
    }
}

impl HttpRule {
    /// The methods; empty means any.
    #[must_use]
    pub fn methods(&self) -> &[String] {
        &self.methods
    }

    /// The paths; empty means any.
    #[must_use]
    pub fn paths(&self) -> &[PathPattern] {
        &self.paths
    }

    /// Whether records keep the values of queries.
    #[must_use]
    pub fn keep_query(&self) -> bool {
        self.keep_query
    }

    /// Whether there is a request that the rule does not permit.
    pub(crate) fn restricts(&self) -> bool {
        !self.methods.is_empty() || !self.paths.is_empty()
    }
}

impl HostTarget {
    /// The names.
    #[must_use]
    pub fn pattern(&self) -> &HostPattern {
        &self.pattern
    }

    /// The ports; never empty.
    #[must_use]
    pub fn ports(&self) -> &BTreeSet<u16> {
        &self.ports
    }

    /// What the first bytes must be.
    #[must_use]
    pub fn tls(&self) -> TlsExpectation {
        self.tls
    }

    pub(crate) fn looks(&self) -> bool {
        self.tls == TlsExpectation::Inspect
    }

    /// Where the name is dialled in place of what it resolves to.
    #[must_use]
    pub fn pin(&self) -> Option<SocketAddr> {
        self.pin
    }

    /// Who vouches for the server (PEM), where it is not the machine's authorities.
    #[must_use]
    pub fn authorities(&self) -> Option<&str> {
        self.authorities.as_deref()
    }

    /// Special networks that the name may lead to.
    #[must_use]
    pub fn networks(&self) -> &[IpNet] {
        &self.networks
    }
}

impl DenyRule {
    /// Where the rule stands.
    #[must_use]
    pub fn at(&self) -> &RuleRef {
        &self.at
    }

    /// The names.
    #[must_use]
    pub fn pattern(&self) -> &HostPattern {
        &self.pattern
    }

    /// Only these ports; `None` means every port.
    #[must_use]
    pub fn ports(&self) -> Option<&BTreeSet<u16>> {
        self.ports.as_ref()
    }

    pub(crate) fn denies(&self, host: &HostName, port: u16) -> bool {
        self.pattern.matches(host) && self.ports.as_ref().is_none_or(|ports| ports.contains(&port))
    }

    /// Whether every name of a pattern is also one of this rule's.
    pub(crate) fn covers(&self, other: &HostPattern) -> bool {
        match (&self.pattern, other) {
            (_, HostPattern::Exact(host)) => self.pattern.matches(host),
            (HostPattern::Below(base), HostPattern::Below(other)) => {
                base == other || self.pattern.matches(other)
            }
            (HostPattern::Exact(_), HostPattern::Below(_)) => false,
        }
    }
}
