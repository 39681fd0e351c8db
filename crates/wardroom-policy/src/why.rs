//! Why something is permitted or not: the answer of the policy alone, with the rule that gives it.
//!
//! It asks the same functions that decide at run time; there is no second reading of the rules.

mod path;
mod request;

use std::fmt::{self, Display};
use std::net::{IpAddr, SocketAddr};

use wardroom_model::{HostName, Outcome, Reason, Verdict};

use crate::edit::allow_arguments;
use crate::explain;
use crate::network::{AllowRule, Decision, RequestLine, Target, TlsExpectation};
use crate::parse::hosts::is_the_cell_itself;
use crate::policy::Policy;

/// The answer to `wardroom why`: a verdict, and what it means in sentences, the answer first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    verdict: Verdict,
    sentences: Vec<String>,
    /// What stands behind `wardroom` in the command that would permit it, where a command would.
    remedy: Option<String>,
}

impl Answer {
    fn new(verdict: Verdict, sentence: impl Into<String>) -> Self {
        Self { verdict, sentences: vec![sentence.into()], remedy: None }
    }

    fn and(mut self, sentence: impl Into<String>) -> Self {
        self.sentences.push(sentence.into());
        self
    }

    fn remedied_by(self, remedy: Option<String>) -> Self {
        Self { remedy, ..self }
    }

    /// All of it, with the remedy as a command that begins with this.
    #[must_use]
    pub fn told(&self, wardroom: &str) -> String {
        let remedy = self.remedy.as_ref().map(|remedy| format!("To permit it: {wardroom} {remedy}"));
        let lines: Vec<_> = self.sentences.iter().cloned().chain(remedy).collect();
        lines.join("\n")
    }

    /// Permitted or not, why, and by which rule.
    #[must_use]
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// What it means.
    #[must_use]
    pub fn sentences(&self) -> &[String] {
        &self.sentences
    }
}

impl Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told("wardroom"))
    }
}

/// Answers for a host (`api.example.com`), a host and port, an address (with or without port), a path inside
/// (`/workspace/x`), a path outside (`~/.ssh/id_rsa`), or a URL: for its connection, and where that is `https` and has a
/// path, for a request with this method.
#[must_use]
pub fn why(policy: &Policy, subject: &str, method: &str) -> Answer {
    let subject = subject.trim();
    if subject.starts_with('/') || subject.starts_with('~') {
        return path::why(policy, subject);
    }
    if let Some((host, port, line)) = request_of(subject, method) {
        return request::why(policy, &host, port, &line);
    }
    let (subject, scheme_port) = strip_url(subject);
    if let Ok(address) = subject.parse::<SocketAddr>()
        && address.port() != 0
    {
        return literal(policy, address);
    }
    if let Ok(ip) = subject.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return address(policy, ip);
    }
    let (name, port) = match subject.rsplit_once(':') {
        Some((name, port)) => match port.parse::<u16>() {
            Ok(port @ 1..) => (name, Some(port)),
            Ok(0) | Err(_) => return not_a_subject(subject),
        },
        None => (subject, scheme_port),
    };
    match HostName::parse(name) {
        Ok(name) => match port {
            Some(port) => host_and_port(policy, &name, port),
            None => host(policy, &name),
        },
        Err(_) => not_a_subject(subject),
    }
}

/// The request that a URL asks for, where it is one that a gate can look at.
fn request_of(subject: &str, method: &str) -> Option<(HostName, u16, RequestLine)> {
    let rest = subject.strip_prefix("https://").or_else(|| subject.strip_prefix("wss://"))?;
    let path = rest.find(['/', '?']).and_then(|start| rest.get(start..))?;
    let path = path.split('#').next().unwrap_or_default();
    let (authority, _) = strip_url(subject);
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().ok()?),
        None => (authority, 443),
    };
    Some((HostName::parse(name).ok()?, port, RequestLine::new(method, path)))
}

/// `https://host:port/path` without what is not about the connection.
fn strip_url(subject: &str) -> (&str, Option<u16>) {
    let (rest, port) = match subject.split_once("://") {
        Some(("https" | "wss", rest)) => (rest, Some(443)),
        Some(("http" | "ws", rest)) => (rest, Some(80)),
        Some(("ssh", rest)) => (rest, Some(22)),
        Some((_, rest)) => (rest, None),
        None => return (subject, None),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    (host, port)
}

fn not_a_subject(subject: &str) -> Answer {
    let sentence = format!(
        "{subject:?} is no host name, address or path; what is no name is never resolved or dialled."
    );
    Answer::new(Verdict::refused(Reason::NoRule), sentence)
}

fn host(policy: &Policy, name: &HostName) -> Answer {
    let verdict = policy.network.may_resolve(name);
    if verdict.outcome != Outcome::Allowed {
        return not_permitted(policy, name.as_str(), (name, None), &verdict);
    }
    let rules = policy.network.allow().filter(|rule| means(rule, name));
    let mut answer = Answer::new(verdict, format!("{name} resolves inside."));
    for rule in rules {
        let Target::Host(target) = rule.target() else { continue };
        for port in target.ports() {
            answer = answer.and(port_sentence(policy, name, *port, rule));
        }
    }
    let partial = policy.network.deny().iter().filter(|deny| deny.pattern().matches(name));
    let partial: Vec<_> = partial.map(|deny| format!("Some ports are denied ({}).", deny.at())).collect();
    answer.sentences.extend(partial);
    answer
}

fn port_sentence(policy: &Policy, name: &HostName, port: u16, rule: &AllowRule) -> String {
    let denied = policy.network.deny().iter().find(|deny| deny.denies(name, port));
    if let Some(deny) = denied {
        return format!("Port {port} is refused: a rule denies it ({}).", deny.at());
    }
    let looked_at = matches!(policy.network.decide(name, port, None),
        Decision::Permit(permit) if permit.tls() == TlsExpectation::Inspect);
    format!("Port {port} is permitted{} ({}).", how(rule, looked_at), rule.at())
}

/// How a rule permits. Another rule, or a credential, may have its connections looked at.
fn how(rule: &AllowRule, looked_at: bool) -> String {
    let (tls, pin) = match rule.target() {
        Target::Host(host) => (host.tls(), host.pin()),
        Target::Literal(_) => (TlsExpectation::Raw, None),
    };
    let protocol = match tls {
        TlsExpectation::Name if looked_at => ", by TLS with this name, request by request: every request",
        TlsExpectation::Name => ", by TLS with this name",
        TlsExpectation::Raw => ", with any protocol over TCP",
        TlsExpectation::Inspect => ", by TLS with this name, request by request",
    };
    let protocol = match rule.http() {
        Some(http) => format!("{protocol}: {}", explain::requests(http)),
        None => protocol.to_owned(),
    };
    let pin = pin.map(|pin| format!(", dialled at {pin}")).unwrap_or_default();
    let apps = rule.apps();
    let apps = if apps.is_empty() { String::new() } else { format!(", for {} alone", apps.join(" or ")) };
    format!("{protocol}{pin}{apps}")
}

fn host_and_port(policy: &Policy, name: &HostName, port: u16) -> Answer {
    let subject = format!("{name}:{port}");
    match policy.network.decide(name, port, None) {
        Decision::Permit(permit) => {
            let rule = permit.verdict().rule.as_ref();
            let by = policy.network.allow().find(|candidate| Some(candidate.at()) == rule);
            let looked_at = permit.tls() == TlsExpectation::Inspect;
            let how = by.map(|rule| how(rule, looked_at)).unwrap_or_default();
            let line = self::by(permit.verdict());
            Answer::new(permit.verdict().clone(), format!("{subject} is permitted{how}{line}."))
        }
        Decision::Denial(verdict) if verdict.reason == Reason::ProgramNotNamed => {
            let by = policy.network.allow().find(|candidate| Some(candidate.at()) == verdict.rule.as_ref());
            let apps = by.map(|rule| rule.apps().join(" or ")).unwrap_or_default();
            let sentence = format!("{subject} is permitted to {apps}, and refused to every other program.");
            Answer::new(
                Verdict { outcome: Outcome::Allowed, reason: Reason::RulePermits, rule: verdict.rule },
                sentence,
            )
        }
        Decision::Denial(verdict) => not_permitted(policy, &subject, (name, Some(port)), &verdict),
    }
}

fn literal(policy: &Policy, address: SocketAddr) -> Answer {
    match policy.network.decide_literal(address, None) {
        Decision::Permit(permit) => {
            let line = by(permit.verdict());
            let sentence =
                format!("The literal address {address} is permitted, with any protocol over TCP{line}.");
            Answer::new(permit.verdict().clone(), sentence)
        }
        Decision::Denial(_) if address.ip().to_canonical().is_loopback() => the_cell_s_own(address),
        Decision::Denial(verdict) => refused(&address.to_string(), &verdict)
            .and("Inside, only addresses that the resolver gave for a permitted name lead anywhere."),
    }
}

/// No rule decides there: the device is the cell's, and leads nowhere else.
fn the_cell_s_own(address: impl Display) -> Answer {
    Answer::new(
        Verdict::observed(),
        format!(
            "{address} inside is the cell's own: its programs reach each other there, and nothing outside."
        ),
    )
    .and(SERVICE_HERE)
}

fn address(policy: &Policy, ip: IpAddr) -> Answer {
    let ports: Vec<_> = policy.network.literals().into_iter().filter(|literal| literal.ip() == ip).collect();
    match ports.first() {
        None if ip.to_canonical().is_loopback() => the_cell_s_own(ip),
        None => literal(policy, SocketAddr::new(ip, 443)),
        Some(first) => {
            let mut answer = literal(policy, *first);
            for other in ports.iter().skip(1) {
                answer.sentences.extend(literal(policy, *other).sentences);
            }
            answer.and("Every other port of this address is refused.")
        }
    }
}

fn means(rule: &AllowRule, name: &HostName) -> bool {
    match rule.target() {
        Target::Host(host) => host.pattern().matches(name),
        Target::Literal(_) => false,
    }
}

fn refused(subject: &str, verdict: &Verdict) -> Answer {
    Answer::new(verdict.clone(), format!("{subject} is refused: {}{}.", verdict.reason, by(verdict)))
}

/// Where the rule stands that decides, or that comes nearest.
fn by(verdict: &Verdict) -> String {
    verdict.rule.as_ref().map(|rule| format!(" ({rule})")).unwrap_or_default()
}

/// A refusal, with the command that would permit it, where one would.
fn not_permitted(
    policy: &Policy,
    subject: &str,
    (name, port): (&HostName, Option<u16>),
    verdict: &Verdict,
) -> Answer {
    let answer = refused(subject, verdict);
    if verdict.reason == Reason::RuleDenies {
        return answer.and("Denial wins: no `allow` changes this while that rule stands.");
    }
    if is_the_cell_itself(name) {
        return answer.and("Inside a cell it is the cell itself.").and(SERVICE_HERE);
    }
    let agent = policy.agent.name.as_str();
    answer.remedied_by(allow_arguments(agent, name, port.unwrap_or(443), None))
}

const SERVICE_HERE: &str =
    "A service of this machine needs a name: `host = \"service.internal\"` with its `address`.";
