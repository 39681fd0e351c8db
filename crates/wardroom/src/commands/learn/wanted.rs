//! What was refused to an agent and a rule could permit, gathered from its ledger: each thing once, with how often, by which
//! programs, first and last. What the policy of today decides otherwise is left out.
//!
//! An agent chooses the names. So what is kept has a bound, what is too much is counted, and the many names of one domain are
//! one thing.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use wardroom_ledger::Record;
use wardroom_model::event::{Actor, Connection, ConnectionPhase, Event, Program, Session, SocketTarget};
use wardroom_model::request::{Request, RequestPhase};
use wardroom_model::{HostName, Kind, Reason, Verdict};
use wardroom_policy::edit::{domain_of, is_sayable};
use wardroom_policy::{Decision, NetworkPolicy, RequestDecision, RequestLine};

use super::seen::Seen;
use crate::verify::is_of_probes;

/// The kinds of records that say what was refused, who asks for names, and whose session it was.
pub(super) const KINDS: [Kind; 6] =
    [Kind::Session, Kind::Name, Kind::Connection, Kind::Packet, Kind::Request, Kind::Socket];

/// Things that are kept at most, of those that an agent can make up, and again of those about hosts that are permitted:
/// some megabytes. Far more than anyone answers, and as many as a policy has rules.
const MOST: usize = 4096;
/// Names of one domain that are kept at most.
pub(super) const MOST_NAMES: usize = 64;
/// Requests of one host that are kept at most: as many as one rule can sensibly name.
const MOST_REQUESTS: usize = 64;
/// Names below one domain that are shown one by one.
const ONE_BY_ONE: usize = 8;
/// How long after a program spoke with the resolver a refused name counts as that program's: an answer takes well below a
/// second. In nanoseconds.
const ASKED: u64 = 1_000_000_000;
const RESOLVER_PORT: u16 = 53;
const TCP: u8 = 6;
/// The query for an IPv4 address (RFC 1035).
const A: u16 = 1;

/// Something that a rule could permit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Thing {
    /// Requests inside connections that are permitted.
    Requests(HostName, u16),
    /// A port of a host that is permitted on others.
    Port(HostName, u16),
    /// A host that is permitted to other programs.
    Program(HostName, u16, String),
    /// An address that no name stands for.
    Address(SocketAddr),
    /// A name.
    Name(HostName),
    /// Many names of one domain.
    Domain(String),
}

/// One method and path.
pub(super) type Asked = (String, String);

/// One thing that was refused.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) thing: Thing,
    pub(super) seen: Seen,
    /// The requests, for [`Thing::Requests`].
    pub(super) requests: BTreeMap<Asked, Seen>,
    /// The programs of the rule that came nearest, for [`Thing::Requests`]: a rule beside it is for the same.
    pub(super) apps: Vec<String>,
    /// The names, for [`Thing::Domain`].
    pub(super) names: Vec<(HostName, Seen)>,
}

/// Everything that was refused.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    found: BTreeMap<Thing, Item>,
    /// How many names are kept of each domain.
    domains: BTreeMap<String, usize>,
    /// How many things are kept: made up, and about permitted hosts.
    kept: (usize, usize),
    /// Refusals that no rule could permit as they were, or that there was no room for.
    pub(super) left_out: u64,
    asking: Option<(String, u64)>,
    /// Whether `verify` runs: what its probes try is nothing that an agent wants.
    probed: bool,
}

impl Wanted {
    /// Takes one record into account.
    pub(super) fn take(&mut self, record: &Record, policy: &NetworkPolicy) {
        let Some(event) = &record.event else { return };
        let wall = record.head.stamp.wall;
        if let Event::Session(session) = event {
            self.probed = match session {
                Session::Started(start) => is_of_probes(start),
                Session::Ended(_) => false,
            };
        }
        if self.probed {
            return;
        }
        match event {
            Event::Socket(act) => {
                if let SocketTarget::Inet(to) = &act.address
                    && to.port() == RESOLVER_PORT
                {
                    self.asking = Some((act.actor.program.path.to_string(), wall));
                }
            }
            Event::Name(query) => {
                let asking = self.asking.as_ref().filter(|(_, at)| wall.saturating_sub(*at) <= ASKED);
                let by = asking.map(|(program, _)| program.clone());
                // One question of a program's is asked once an address family: the second is no second wish.
                let count = if query.rtype == A { query.count } else { 0 };
                self.name(&query.name.to_string(), &Seen::times(count, wall, by), policy);
            }
            Event::Connection(connection) => self.connection(connection, wall, policy),
            Event::Packet(packet) if packet.protocol == TCP => {
                let seen = Seen::times(packet.count, wall, packet.actor.as_ref().map(program));
                self.address(packet.destination, packet.actor.as_ref(), &seen, policy);
            }
            Event::Packet(packet) => self.left_out += packet.count,
            Event::Request(request) => self.request(request, wall, policy),
            Event::Operator(_)
            | Event::Session(_)
            | Event::Exec(_)
            | Event::Image(_)
            | Event::Exit(_)
            | Event::File(_)
            | Event::Privilege(_)
            | Event::Policy(_)
            | Event::Supervision(_)
            | Event::Ledger(_)
            | Event::Probe(_)
            | Event::Credential(_) => {}
        }
    }

    fn name(&mut self, name: &str, seen: &Seen, policy: &NetworkPolicy) {
        let Ok(name) = HostName::parse(name) else {
            self.left_out += seen.count;
            return;
        };
        if policy.may_resolve(&name).reason != Reason::NoRule {
            return;
        }
        let domain = domain_of(&name).to_owned();
        let thing = Thing::Name(name);
        let known = self.found.contains_key(&thing);
        if !known && self.domains.get(&domain).is_some_and(|kept| *kept >= MOST_NAMES) {
            self.add(Thing::Domain(domain), seen);
        } else if self.add(thing, seen).is_some() && !known {
            *self.domains.entry(domain).or_default() += 1;
        }
    }

    fn connection(&mut self, connection: &Connection, wall: u64, policy: &NetworkPolicy) {
        let ConnectionPhase::Decided(verdict) = &connection.phase else { return };
        if !refused(verdict) {
            return;
        }
        let actor = connection.actor.as_ref();
        let seen = Seen::times(1, wall, actor.map(program));
        let port = connection.dialled.port();
        let Some(host) = &connection.host else {
            return self.address(connection.dialled, actor, &seen, policy);
        };
        let Decision::Denial(now) = policy.decide(host, port, actor.map(|actor| &actor.program)) else {
            return;
        };
        let thing = match (now.reason, actor) {
            (Reason::NoRule, _) if port == 443 => Thing::Name(host.clone()),
            (Reason::NoRule | Reason::PortNotNamed(_), _) => Thing::Port(host.clone(), port),
            (Reason::ProgramNotNamed, Some(actor)) if identity(&actor.program) => {
                Thing::Program(host.clone(), port, program(actor))
            }
            _ => {
                self.left_out += seen.count;
                return;
            }
        };
        self.add(thing, &seen);
    }

    fn address(&mut self, to: SocketAddr, actor: Option<&Actor>, seen: &Seen, policy: &NetworkPolicy) {
        let Decision::Denial(now) = policy.decide_literal(to, actor.map(|actor| &actor.program)) else {
            return;
        };
        let nameable = matches!(now.reason, Reason::LiteralAddress | Reason::PortNotNamed(_));
        if nameable && !is_own(to.ip()) && to.port() != 0 {
            self.add(Thing::Address(to), seen);
        } else {
            self.left_out += seen.count;
        }
    }

    fn request(&mut self, request: &Request, wall: u64, policy: &NetworkPolicy) {
        let RequestPhase::Decided(decision) = &request.phase else { return };
        if !refused(&decision.verdict) {
            return;
        }
        let Request { actor, host, port, method, path, .. } = request;
        let by = actor.as_ref().map(|actor| &actor.program);
        let path = path.to_string();
        let line = RequestLine::new(method, &path);
        let RequestDecision::Denial(now) = policy.decide_request(host, *port, by, &line) else { return };
        let whole = request.path.whole().is_none();
        let about_it = matches!(now.reason, Reason::MethodNotNamed(_) | Reason::PathNotNamed);
        if !(about_it && whole && is_sayable(&line)) {
            self.left_out += 1;
            return;
        }
        let seen = Seen::times(1, wall, actor.as_ref().map(program));
        let near = policy.allow().find(|rule| Some(rule.at()) == now.rule.as_ref());
        let apps = near.map(|rule| rule.apps().to_vec()).unwrap_or_default();
        let Some(item) = self.add(Thing::Requests(host.clone(), *port), &seen) else { return };
        item.apps = apps;
        let asked = (line.method().to_owned(), line.path().to_owned());
        if item.requests.len() < MOST_REQUESTS || item.requests.contains_key(&asked) {
            item.requests.entry(asked).or_default().and(&seen);
        } else {
            self.left_out += 1;
        }
    }

    fn add(&mut self, thing: Thing, seen: &Seen) -> Option<&mut Item> {
        let kept = match thing {
            Thing::Name(_) | Thing::Address(_) | Thing::Domain(_) => &mut self.kept.0,
            Thing::Requests(..) | Thing::Port(..) | Thing::Program(..) => &mut self.kept.1,
        };
        if !self.found.contains_key(&thing) {
            if *kept >= MOST {
                self.left_out += seen.count;
                return None;
            }
            *kept += 1;
        }
        let item = self.found.entry(thing.clone()).or_insert_with(|| Item::new(thing));
        item.seen.and(seen);
        Some(item)
    }

    /// What there is to answer: requests and ports of hosts that are permitted first, then names; within each, what was
    /// wanted most, and of that the earliest.
    pub(super) fn items(self) -> Vec<Item> {
        let mut items: BTreeMap<Thing, Item> = BTreeMap::new();
        let Self { found, domains, .. } = self;
        for (thing, item) in found {
            let crowd = match &thing {
                Thing::Name(name) => Some(domain_of(name)),
                Thing::Requests(..)
                | Thing::Port(..)
                | Thing::Program(..)
                | Thing::Address(_)
                | Thing::Domain(_) => None,
            };
            let crowd = crowd.filter(|domain| domains.get(*domain).is_some_and(|count| *count > ONE_BY_ONE));
            let thing = crowd.map_or_else(|| thing.clone(), |domain| Thing::Domain(domain.to_owned()));
            let whole = items.entry(thing.clone()).or_insert_with(|| Item::new(thing));
            whole.merge(item);
        }
        let mut items: Vec<_> = items.into_values().collect();
        items.sort_by_key(Item::order);
        items
    }
}

impl Item {
    pub(super) fn new(thing: Thing) -> Self {
        Self { thing, seen: Seen::default(), requests: BTreeMap::new(), apps: Vec::new(), names: Vec::new() }
    }

    fn merge(&mut self, other: Self) {
        let Self { thing, seen, requests, apps, names: _ } = other;
        let many = matches!(self.thing, Thing::Domain(_));
        self.seen.and(&seen);
        self.requests = requests;
        self.apps = apps;
        if let (Thing::Name(name), true) = (thing, many) {
            self.names.push((name, seen));
        }
    }

    fn order(&self) -> (u8, std::cmp::Reverse<u64>, u64) {
        let group = match self.thing {
            Thing::Requests(..) | Thing::Port(..) | Thing::Program(..) => 0,
            Thing::Name(_) => 1,
            Thing::Address(_) => 2,
            Thing::Domain(_) => 3,
        };
        (group, std::cmp::Reverse(self.seen.count), self.seen.first)
    }
}

fn refused(verdict: &Verdict) -> bool {
    verdict.outcome == wardroom_model::Outcome::Refused
}

fn program(actor: &Actor) -> String {
    actor.program.path.to_string()
}

/// Whether a rule could name this program.
fn identity(program: &Program) -> bool {
    program.trusted && program.path.whole().is_none() && std::str::from_utf8(program.path.shown()).is_ok()
}

/// The cell's own addresses: its loopback device, and those that its resolver gives out (198.18.0.0/15, RFC 2544).
fn is_own(ip: IpAddr) -> bool {
    let synthetic = match ip {
        IpAddr::V4(v4) => matches!(v4.octets(), [198, 18 | 19, _, _]),
        IpAddr::V6(_) => false,
    };
    synthetic || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast()
}
