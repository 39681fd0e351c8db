//! Whether what is to be permitted is permitted already: all of it, and in the way that was asked for.

use std::net::SocketAddr;

use wardroom_model::{HostName, RuleRef};

use super::{EditError, What};
use crate::network::{Decision, HttpRule, NetworkPolicy, PathPattern, TlsExpectation};

/// Refuses what a literal address has already.
pub(super) fn literal(network: &NetworkPolicy, address: SocketAddr) -> Result<(), EditError> {
    match network.decide_literal(address, None) {
        Decision::Permit(permit) => found(permit.verdict().rule.clone()),
        Decision::Denial(_) => Ok(()),
    }
}

/// Refuses what a host has already. That a connection is permitted is not enough: its requests may be limited or unseen.
pub(super) fn host(
    network: &NetworkPolicy,
    host: &HostName,
    port: u16,
    what: What<'_>,
) -> Result<(), EditError> {
    let Decision::Permit(permit) = network.decide(host, port, None) else { return Ok(()) };
    let by = |asked: &HttpRule| network.permits_all(host, port, asked).cloned();
    found(match (what, permit.tls()) {
        (What::Connection | What::Raw, TlsExpectation::Raw) => permit.verdict().rule.clone(),
        (What::Raw, TlsExpectation::Name | TlsExpectation::Inspect)
        | (What::Inspected, TlsExpectation::Name | TlsExpectation::Raw)
        | (What::Requests { .. }, TlsExpectation::Raw) => None,
        (What::Connection, TlsExpectation::Name | TlsExpectation::Inspect)
        | (What::Inspected, TlsExpectation::Inspect) => by(&HttpRule::default()),
        (What::Requests { methods, paths }, TlsExpectation::Name | TlsExpectation::Inspect) => {
            let rules =
                one_by_one(methods, paths).and_then(|all| all.iter().map(by).collect::<Option<Vec<_>>>());
            rules.and_then(|rules| rules.into_iter().next())
        }
    })
}

fn found(rule: Option<RuleRef>) -> Result<(), EditError> {
    rule.map_or(Ok(()), |rule| Err(EditError::Already(rule)))
}

/// Each method with each path, because rules add up. None where a path is none: what is wrong with it, the parser says.
fn one_by_one(methods: &[String], paths: &[String]) -> Option<Vec<HttpRule>> {
    let patterns: Result<Vec<_>, _> = paths.iter().map(|path| PathPattern::parse(path)).collect();
    let (methods, paths) = (each(methods.to_vec()), each(patterns.ok()?));
    let with = |methods: Vec<String>| {
        let one = move |paths| HttpRule { methods: methods.clone(), paths, keep_query: false };
        paths.clone().into_iter().map(one)
    };
    Some(methods.into_iter().flat_map(with).collect())
}

/// Lists of one; a list of none, which means any, stays one.
fn each<T>(items: Vec<T>) -> Vec<Vec<T>> {
    if items.is_empty() { vec![Vec::new()] } else { items.into_iter().map(|item| vec![item]).collect() }
}
