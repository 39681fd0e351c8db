//! Why one request inside TLS is permitted or not.

use wardroom_model::event::Program;
use wardroom_model::{Captured, HostName, Reason, Verdict};

use super::{Answer, refused};
use crate::edit::allow_arguments;
use crate::network::{Decision, RequestDecision, RequestLine, TlsExpectation};
use crate::policy::Policy;

/// Answers for a URL that names a path: the connection first, then the request in it.
pub(super) fn why(policy: &Policy, host: &HostName, port: u16, line: &RequestLine) -> Answer {
    let programs = programs(policy, host);
    let subject = subject(host, port, line);
    let mut answers =
        programs.iter().map(|program| (program, one(policy, host, port, program.as_ref(), line)));
    // What is permitted to every program comes first, then what is permitted to one that a rule names.
    let permitted = answers.clone().find(|(_, answer)| answer.is_ok());
    let answer = match permitted.or_else(|| answers.next()) {
        Some((program, Ok((verdict, looked_at)))) => {
            let to = program.as_ref().map(|program| format!(" to {}", program.path)).unwrap_or_default();
            let how = if looked_at { "as a request" } else { "unseen: no rule looks inside TLS there" };
            let by = super::by(&verdict);
            Answer::new(verdict, format!("{subject} is permitted{to}, {how}{by}."))
        }
        Some((_, Err(verdict))) => denied(policy, host, port, line, &verdict),
        None => refused(&subject, &Verdict::refused(Reason::NoRule)),
    };
    spelled(answer, line)
}

/// A path without a canonical spelling is said to be one.
fn spelled(answer: Answer, line: &RequestLine) -> Answer {
    if line.ambiguous() {
        return answer.and(
            "Servers read this path in more than one way, so no rule with `paths` permits it, whatever they are.",
        );
    }
    answer
}

fn subject(host: &HostName, port: u16, line: &RequestLine) -> String {
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    format!("{} https://{host}{port}{}", line.method(), line.path())
}

/// No program in particular, and each that a rule for this host names.
fn programs(policy: &Policy, host: &HostName) -> Vec<Option<Program>> {
    let rules = policy.network.allow().filter(|rule| super::means(rule, host));
    let named = rules.flat_map(|rule| rule.apps().iter());
    let named = named.map(|app| Some(Program { path: Captured::from(app.as_str()), trusted: true }));
    std::iter::once(None).chain(named).collect()
}

/// The verdict, and whether the request is looked at.
fn one(
    policy: &Policy,
    host: &HostName,
    port: u16,
    program: Option<&Program>,
    line: &RequestLine,
) -> Result<(Verdict, bool), Verdict> {
    let permit = match policy.network.decide(host, port, program) {
        Decision::Permit(permit) => permit,
        Decision::Denial(verdict) => return Err(verdict),
    };
    match permit.tls() {
        TlsExpectation::Name | TlsExpectation::Raw => Ok((permit.verdict().clone(), false)),
        TlsExpectation::Inspect => match policy.network.decide_request(host, port, program, line) {
            RequestDecision::Permit(permit) => Ok((permit.verdict().clone(), true)),
            RequestDecision::Denial(verdict) => Err(verdict),
        },
    }
}

fn denied(policy: &Policy, host: &HostName, port: u16, line: &RequestLine, verdict: &Verdict) -> Answer {
    let answer = refused(&subject(host, port, line), verdict);
    let near = policy.network.allow().find(|rule| Some(rule.at()) == verdict.rule.as_ref());
    let answer = match near.and_then(|rule| rule.http()) {
        Some(http) => {
            answer.and(format!("This rule comes nearest, and is for {}.", crate::explain::requests(http)))
        }
        None => answer,
    };
    if verdict.reason == Reason::RuleDenies {
        return answer.and("Denial wins: no `allow` changes this while that rule stands.");
    }
    answer.remedied_by(allow_arguments(policy.agent.name.as_str(), host, port, Some(line)))
}
