//! The decision about one request inside a connection that the gate opens. Rules add up: a request is permitted where any
//! rule for its host, port and program permits its method and path.

use std::sync::Arc;

use wardroom_model::event::Program;
use wardroom_model::{Captured, HostName, Reason, RuleRef, Verdict};

use super::rule::HttpRule;
use super::{AllowRule, NetworkPolicy, Target, TlsExpectation, allowed, path, refused};

/// The methods that a rule can name: RFC 9110, 9.3, without CONNECT and TRACE, which no rule can permit; PATCH is RFC 5789.
pub(crate) const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The first line of a request: its method, and what it asks for in the one spelling that is matched, sent on and recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestLine {
    method: String,
    path: String,
    query: Option<String>,
    ambiguous: bool,
}

impl RequestLine {
    /// Reads a method and a path with its query, as they came.
    #[must_use]
    pub fn new(method: &str, path_and_query: &str) -> Self {
        let (raw, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (path_and_query, None),
        };
        let canonical = path::canonical(raw);
        let ambiguous = canonical.is_none();
        let path = canonical.unwrap_or_else(|| raw.to_owned());
        Self { method: method.to_owned(), path, query, ambiguous }
    }

    /// The method, as it came.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The path: canonical, or as it came where it is ambiguous.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The query, without its `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// Whether servers read this path in more than one way: no rule with `paths` permits it.
    #[must_use]
    pub fn ambiguous(&self) -> bool {
        self.ambiguous
    }

    /// What is sent on.
    #[must_use]
    pub fn path_and_query(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// What is recorded: the values of the query are masked, unless the rule keeps them.
    #[must_use]
    pub fn shown(&self, keep_query: bool) -> Captured {
        let text = match &self.query {
            Some(query) if !keep_query => format!("{}?{}", self.path, masked(query)),
            Some(_) | None => self.path_and_query(),
        };
        Captured::path(text.as_bytes())
    }
}

/// A query without its values. What has no `=` may be a value as a whole.
fn masked(query: &str) -> String {
    let one = |part: &str| match part.split_once('=') {
        Some((name, _)) => format!("{name}=*"),
        None if part.is_empty() => String::new(),
        None => "*".to_owned(),
    };
    query.split('&').map(one).collect::<Vec<_>>().join("&")
}

/// The answer to a request. A denial is a value, not an error.
#[derive(Debug, Clone)]
pub enum RequestDecision {
    /// Permitted; the proof is what sending it takes as its argument.
    Permit(RequestPermit),
    /// Refused, with the reason.
    Denial(Verdict),
}

/// The proof that the policy permits one request. Only [`NetworkPolicy`] makes one:
///
/// ```compile_fail
/// fn forge(verdict: wardroom_model::Verdict) -> wardroom_policy::RequestPermit {
///     wardroom_policy::RequestPermit { verdict, keep_query: true }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct RequestPermit {
    verdict: Verdict,
    keep_query: bool,
}

impl RequestPermit {
    /// The verdict, with the rule that permits.
    #[must_use]
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Whether the record keeps the values of the query.
    #[must_use]
    pub fn keep_query(&self) -> bool {
        self.keep_query
    }
}

impl NetworkPolicy {
    /// Decides one request to a host by name. `program` is `None` where it is not known; then no rule with `apps` matches.
    #[must_use]
    pub fn decide_request(
        &self,
        host: &HostName,
        port: u16,
        program: Option<&Program>,
        line: &RequestLine,
    ) -> RequestDecision {
        if let Some(deny) = self.rules.deny.iter().find(|deny| deny.denies(host, port)) {
            return RequestDecision::Denial(refused(Reason::RuleDenies, Some(&deny.at)));
        }
        let mut closest = (Closeness::Nothing, refused(Reason::NoRule, None));
        for rule in self.candidates(host) {
            match request(rule, port, program, line) {
                Ok(permit) => return RequestDecision::Permit(permit),
                Err((closeness, reason)) if closeness > closest.0 => {
                    closest = (closeness, refused(reason, Some(&rule.at)));
                }
                Err(_) => {}
            }
        }
        RequestDecision::Denial(closest.1)
    }

    /// The rule that permits all of these requests to every program.
    pub(crate) fn permits_all(&self, host: &HostName, port: u16, asked: &HttpRule) -> Option<&RuleRef> {
        let permits = |rule: &&Arc<AllowRule>| {
            let Target::Host(target) = &rule.target else { return false };
            target.ports.contains(&port)
                && target.tls != TlsExpectation::Raw
                && rule.is_for(None)
                && rule.http.as_ref().is_none_or(|http| http.covers(asked))
        };
        self.candidates(host).find(permits).map(|rule| &rule.at)
    }
}

/// How near a rule came to permitting. The nearest one is named in the refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Closeness {
    Nothing,
    Host,
    Port,
    Program,
    Method,
}

fn request(
    rule: &Arc<AllowRule>,
    port: u16,
    program: Option<&Program>,
    line: &RequestLine,
) -> Result<RequestPermit, (Closeness, Reason)> {
    let Target::Host(target) = &rule.target else { return Err((Closeness::Nothing, Reason::NoRule)) };
    if !target.ports.contains(&port) {
        return Err((Closeness::Host, Reason::PortNotNamed(port)));
    }
    // A rule for raw TCP says nothing about requests.
    if target.tls == TlsExpectation::Raw {
        return Err((Closeness::Host, Reason::NoRule));
    }
    if !rule.is_for(program) {
        return Err((Closeness::Port, Reason::ProgramNotNamed));
    }
    let method = || (Closeness::Program, Reason::MethodNotNamed(line.method.clone()));
    if !may_be_permitted(&line.method) {
        return Err(method());
    }
    let permit = |keep_query| RequestPermit { verdict: allowed(rule), keep_query };
    let Some(http) = &rule.http else { return Ok(permit(false)) };
    if !http.permits_method(&line.method) {
        return Err(method());
    }
    if !http.permits_path(line) {
        return Err((Closeness::Method, Reason::PathNotNamed));
    }
    Ok(permit(http.keep_query))
}

/// Methods that no rule permits, named or not: CONNECT would make a tunnel of the host, TRACE (and TRACK, its copy) gives
/// back what the gate puts in. Some servers do not mind the case.
fn may_be_permitted(method: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let never = ["CONNECT", "TRACE", "TRACK"];
    !method.is_empty()
        && method.bytes().all(token)
        && !never.iter().any(|word| method.eq_ignore_ascii_case(word))
}

impl HttpRule {
    /// GET includes HEAD: it tells less of the same.
    fn permits_method(&self, method: &str) -> bool {
        let named = |wanted: &str| self.methods.iter().any(|named| named == wanted);
        self.methods.is_empty() || named(method) || (method == "HEAD" && named("GET"))
    }

    fn permits_path(&self, line: &RequestLine) -> bool {
        self.paths.is_empty() || (!line.ambiguous && self.paths.iter().any(|path| path.matches(&line.path)))
    }

    /// Whether every request of another rule is also one of this one's.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let methods = self.methods.is_empty()
            || (!other.methods.is_empty() && other.methods.iter().all(|method| self.permits_method(method)));
        let covered = |path| self.paths.iter().any(|wider| wider.covers(path));
        let paths = self.paths.is_empty() || (!other.paths.is_empty() && other.paths.iter().all(covered));
        methods && paths
    }
}
