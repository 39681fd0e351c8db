//! The decision about the network, in one place. It is a function of the policy alone: no lookup, no clock, no state.
//!
//! Denial wins over permission, the absence of a rule is a denial, and a [`Permit`] can be made nowhere else.

mod path;
mod request;
mod rule;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use wardroom_model::event::Program;
use wardroom_model::{HostName, HostPattern, Outcome, Reason, RuleRef, Verdict};

pub use path::PathPattern;
pub(crate) use path::PatternError;
pub(crate) use request::METHODS;
pub use request::{RequestDecision, RequestLine, RequestPermit};
pub use rule::{AllowRule, DenyRule, HostTarget, HttpRule, Target, TlsExpectation};

/// Everything that a policy says about the network. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct NetworkPolicy {
    rules: Arc<Rules>,
    /// Hosts that a credential is bound to.
    bound: Arc<BTreeSet<HostName>>,
}

#[derive(Debug)]
struct Rules {
    file: String,
    /// In the order of the file.
    allow: Vec<Arc<AllowRule>>,
    deny: Vec<DenyRule>,
    /// Rules for exactly one name.
    exact: BTreeMap<HostName, Vec<Arc<AllowRule>>>,
    /// Rules for everything below a name.
    below: BTreeMap<HostName, Vec<Arc<AllowRule>>>,
    connections: u32,
}

/// The answer to an attempt. A denial is a value, not an error.
#[derive(Debug, Clone)]
pub enum Decision {
    /// Permitted; the proof is what a dial takes as its argument.
    Permit(Permit),
    /// Refused, with the reason.
    Denial(Verdict),
}

/// The proof that the policy permits one connection. Only [`NetworkPolicy`] makes one:
///
/// ```compile_fail
/// fn forge(verdict: wardroom_model::Verdict) -> wardroom_policy::Permit {
///     wardroom_policy::Permit { verdict, ..todo!() }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Permit {
    verdict: Verdict,
    destination: Destination,
    rule: Arc<AllowRule>,
    tls: TlsExpectation,
}

#[derive(Debug, Clone)]
enum Destination {
    Host(HostName, u16),
    Literal(SocketAddr),
}

impl NetworkPolicy {
    /// The most connections that an agent may have open at once, where the policy does not say: a browser opens a
    /// few dozen, a package manager about fifty, and 256 of the gate's smallest buffers fit into 8 MiB.
    pub const CONNECTIONS: u32 = 256;

    pub(crate) fn new(file: &str, allow: Vec<AllowRule>, deny: Vec<DenyRule>, connections: u32) -> Self {
        let allow: Vec<_> = allow.into_iter().map(Arc::new).collect();
        let mut exact: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut below: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for rule in &allow {
            let Target::Host(host) = &rule.target else { continue };
            match &host.pattern {
                HostPattern::Exact(name) => exact.entry(name.clone()).or_default().push(Arc::clone(rule)),
                HostPattern::Below(base) => below.entry(base.clone()).or_default().push(Arc::clone(rule)),
            }
        }
        let file = file.to_owned();
        let rules = Rules { file, allow, deny, exact, below, connections };
        Self { rules: Arc::new(rules), bound: Arc::default() }
    }

    /// The same, with the hosts that credentials are bound to: what goes there is looked at.
    pub(crate) fn bound_to(self, hosts: BTreeSet<HostName>) -> Self {
        Self { bound: Arc::new(hosts), ..self }
    }

    /// How a host is reached by TLS, for whichever program: by the rule whose name is closest.
    #[must_use]
    pub fn reached(&self, host: &HostName) -> Option<&HostTarget> {
        self.candidates(host).find_map(|rule| match &rule.target {
            Target::Host(target) if target.tls != TlsExpectation::Raw => Some(target),
            Target::Host(_) | Target::Literal(_) => None,
        })
    }

    /// Whether the resolver may answer this name at all. That it may does not mean that any port is permitted.
    #[must_use]
    pub fn may_resolve(&self, host: &HostName) -> Verdict {
        let denied = self.rules.deny.iter().find(|deny| deny.ports.is_none() && deny.pattern.matches(host));
        if let Some(deny) = denied {
            return refused(Reason::RuleDenies, Some(&deny.at));
        }
        match self.candidates(host).next() {
            Some(rule) => allowed(rule),
            None => refused(Reason::NoRule, None),
        }
    }

    /// Decides a connection to a host by name. `program` is `None` where it is not known; then no rule with `apps`
    /// matches.
    #[must_use]
    pub fn decide(&self, host: &HostName, port: u16, program: Option<&Program>) -> Decision {
        if let Some(deny) = self.rules.deny.iter().find(|deny| deny.denies(host, port)) {
            return Decision::Denial(refused(Reason::RuleDenies, Some(&deny.at)));
        }
        let mut closest = refused(Reason::NoRule, None);
        for rule in self.candidates(host) {
            let Target::Host(target) = &rule.target else { continue };
            if !target.ports.contains(&port) {
                if closest.reason == Reason::NoRule {
                    closest = refused(Reason::PortNotNamed(port), Some(&rule.at));
                }
            } else if rule.is_for(program) {
                let tls = self.expected(target, host, port, program);
                return permit(rule, Destination::Host(host.clone(), port), tls);
            } else {
                closest = refused(Reason::ProgramNotNamed, Some(&rule.at));
            }
        }
        Decision::Denial(closest)
    }

    /// Decides a connection to an address that the resolver did not give.
    #[must_use]
    pub fn decide_literal(&self, address: SocketAddr, program: Option<&Program>) -> Decision {
        let mut closest = refused(Reason::LiteralAddress, None);
        for rule in &self.rules.allow {
            let Target::Literal(literal) = &rule.target else { continue };
            if literal.ip() != address.ip() {
                continue;
            }
            if literal.port() != address.port() {
                if closest.reason == Reason::LiteralAddress {
                    closest = refused(Reason::PortNotNamed(address.port()), Some(&rule.at));
                }
            } else if rule.is_for(program) {
                return permit(rule, Destination::Literal(*literal), TlsExpectation::Raw);
            } else {
                closest = refused(Reason::ProgramNotNamed, Some(&rule.at));
            }
        }
        Decision::Denial(closest)
    }

    /// What is expected of a connection that a rule permits. One rule that asks to look is enough: what the others permit
    /// they permit to requests as well.
    fn expected(
        &self,
        target: &HostTarget,
        host: &HostName,
        port: u16,
        program: Option<&Program>,
    ) -> TlsExpectation {
        match target.tls {
            TlsExpectation::Raw => TlsExpectation::Raw,
            TlsExpectation::Inspect => TlsExpectation::Inspect,
            TlsExpectation::Name if self.bound.contains(host) => TlsExpectation::Inspect,
            TlsExpectation::Name => {
                let looks = |rule: &&Arc<AllowRule>| rule.looks(port) && rule.is_for(program);
                self.candidates(host).find(looks).map_or(TlsExpectation::Name, |_| TlsExpectation::Inspect)
            }
        }
    }

    /// The names whose connections the gate may have to open, each once: the only ones that its certificates are for.
    #[must_use]
    pub fn inspected(&self) -> Vec<HostPattern> {
        let looking = self.rules.allow.iter().filter_map(|rule| match &rule.target {
            Target::Host(target) if target.tls == TlsExpectation::Inspect => Some(target.pattern.clone()),
            Target::Host(_) | Target::Literal(_) => None,
        });
        let bound = self.bound.iter().cloned().map(HostPattern::Exact);
        let found: BTreeSet<_> = looking.chain(bound).collect();
        found.into_iter().collect()
    }

    /// Whether a special address (private, loopback, link-local, ...) that a permitted name leads to may be dialled:
    /// only where the rule behind the permit names it.
    #[must_use]
    pub fn special_permitted(&self, permit: &Permit, address: IpAddr) -> bool {
        permit.rule.names_special(address.to_canonical())
    }

    /// The literal addresses that rules name, each once, for the cell's firewall.
    #[must_use]
    pub fn literals(&self) -> Vec<SocketAddr> {
        let mut found: Vec<_> = self.rules.allow.iter().filter_map(|rule| literal(rule)).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The most connections open at once.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.rules.connections
    }

    /// The file that the rules came from, as the operator knows it.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.rules.file
    }

    /// The allow rules, in the order of the file.
    pub fn allow(&self) -> impl Iterator<Item = &AllowRule> {
        self.rules.allow.iter().map(AsRef::as_ref)
    }

    /// The deny rules, in the order of the file.
    #[must_use]
    pub fn deny(&self) -> &[DenyRule] {
        &self.rules.deny
    }

    /// How a host is reached by TLS on a port: what decides where its connections lead.
    pub(crate) fn reached_by(&self, host: &HostName, port: u16) -> Option<&HostTarget> {
        self.candidates(host).find_map(|rule| match &rule.target {
            Target::Host(target) if target.tls != TlsExpectation::Raw && target.ports.contains(&port) => {
                Some(target)
            }
            Target::Host(_) | Target::Literal(_) => None,
        })
    }

    /// The rules that mean a name: those for exactly it first, then those for ever wider wildcards. Within one
    /// pattern, in the order of the file.
    fn candidates(&self, host: &HostName) -> impl Iterator<Item = &Arc<AllowRule>> {
        let exact = self.rules.exact.get(host).into_iter().flatten();
        let below = tails(host).filter_map(|base| self.rules.below.get(base)).flatten();
        exact.chain(below)
    }
}

impl Permit {
    /// The verdict, with the rule that permits.
    #[must_use]
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// The host; `None` for a literal address.
    #[must_use]
    pub fn host(&self) -> Option<&HostName> {
        match &self.destination {
            Destination::Host(host, _) => Some(host),
            Destination::Literal(_) => None,
        }
    }

    /// The port that the agent asked for.
    #[must_use]
    pub fn port(&self) -> u16 {
        match &self.destination {
            Destination::Host(_, port) => *port,
            Destination::Literal(address) => address.port(),
        }
    }

    /// Where to dial, without a lookup: the rule's `address`, or the literal address itself.
    #[must_use]
    pub fn pinned(&self) -> Option<SocketAddr> {
        match (&self.destination, &self.rule.target) {
            (Destination::Literal(address), _) => Some(*address),
            (Destination::Host(..), Target::Host(target)) => target.pin,
            (Destination::Host(..), Target::Literal(_)) => None,
        }
    }

    /// Whether a connection that another permit opened may go on under this one: dialled at the same place, looked at in
    /// the same way, its server vouched for by the same.
    #[must_use]
    pub fn is_carried_as(&self, other: &Self) -> bool {
        self.pinned() == other.pinned()
            && self.tls() == other.tls()
            && self.authorities() == other.authorities()
    }

    /// Who vouches for the server (PEM), where it is not the machine's authorities.
    #[must_use]
    pub fn authorities(&self) -> Option<&str> {
        match &self.rule.target {
            Target::Host(target) => target.authorities.as_deref(),
            Target::Literal(_) => None,
        }
    }

    /// What the connection's first bytes must be.
    #[must_use]
    pub fn tls(&self) -> TlsExpectation {
        self.tls
    }
}

/// A name's ancestors, the closest first, without the name itself.
pub(crate) fn ancestors(host: &HostName) -> impl Iterator<Item = HostName> {
    // Every tail of a canonical name is canonical; parsing it again cannot make up a name.
    tails(host).filter_map(|tail| HostName::parse(tail).ok())
}

/// The same as texts.
fn tails(host: &HostName) -> impl Iterator<Item = &str> {
    let text = host.as_str();
    text.match_indices('.').filter_map(move |(dot, _)| text.get(dot + 1..))
}

fn literal(rule: &AllowRule) -> Option<SocketAddr> {
    match rule.target {
        Target::Literal(address) => Some(address),
        Target::Host(_) => None,
    }
}

fn permit(rule: &Arc<AllowRule>, destination: Destination, tls: TlsExpectation) -> Decision {
    Decision::Permit(Permit { verdict: allowed(rule), destination, rule: Arc::clone(rule), tls })
}

fn allowed(rule: &AllowRule) -> Verdict {
    Verdict { outcome: Outcome::Allowed, reason: Reason::RulePermits, rule: Some(rule.at.clone()) }
}

fn refused(reason: Reason, rule: Option<&RuleRef>) -> Verdict {
    Verdict { outcome: Outcome::Refused, reason, rule: rule.cloned() }
}

#[cfg(test)]
mod tests;
