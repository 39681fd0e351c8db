//! Rules that can never match because of other rules. A rule that never matches is a misunderstanding, and a
//! misunderstanding about what an agent may do is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use wardroom_model::HostPattern;

use super::network::Placed;
use crate::diagnose::{Diagnostic, Report};
use crate::network::{AllowRule, DenyRule, HostTarget, Target, TlsExpectation, ancestors};

pub(crate) fn find(allow: &[Placed<AllowRule>], deny: &[Placed<DenyRule>], report: &mut Report) {
    let mut by_pattern: ByPattern<'_> = BTreeMap::new();
    let mut by_address: BTreeMap<SocketAddr, Vec<&Placed<AllowRule>>> = BTreeMap::new();
    for placed in allow {
        match &placed.rule.target {
            Target::Host(host) => {
                denied(placed, host, deny, report);
                let earlier = by_pattern.entry(&host.pattern).or_default();
                if let Some(conflict) = earlier.iter().find_map(|first| between(*first, (placed, host))) {
                    report.push(conflict);
                }
                earlier.push((placed, host));
            }
            Target::Literal(address) => {
                let earlier = by_address.entry(*address).or_default();
                if let Some(first) = earlier.iter().find(|first| programs_cover(&first.rule, &placed.rule)) {
                    report.push(hidden(first, placed, ""));
                }
                earlier.push(placed);
            }
        }
    }
    let idle = allow.iter().filter_map(|placed| below_a_wider_one(placed, &by_pattern));
    idle.for_each(|conflict| report.push(conflict));
    denied_twice(deny, report);
}

/// A rule for hosts, and which.
type HostRule<'a> = (&'a Placed<AllowRule>, &'a HostTarget);
type ByPattern<'a> = BTreeMap<&'a HostPattern, Vec<HostRule<'a>>>;

/// Denied in full: by one rule for all its ports, or by several together.
fn denied(placed: &Placed<AllowRule>, host: &HostTarget, deny: &[Placed<DenyRule>], report: &mut Report) {
    let covering: Vec<_> = deny.iter().filter(|deny| deny.rule.covers(&host.pattern)).collect();
    let whole = covering.iter().find(|deny| deny.rule.ports.is_none());
    let ports: BTreeSet<u16> =
        covering.iter().filter_map(|deny| deny.rule.ports.as_ref()).flatten().copied().collect();
    let culprit = whole.or_else(|| covering.first().filter(|_| host.ports.is_subset(&ports)));
    if let Some(deny) = culprit {
        let title = format!("`{}` is permitted here and denied elsewhere", host.pattern);
        let help = "denial wins: take one of the two rules out";
        report.push(
            Diagnostic::new(title, placed.span.clone(), "can never match")
                .related(deny.span.clone(), "because this denies it")
                .help(help),
        );
    }
}

/// What is wrong between two rules for the same names, of which the first stands first.
fn between(first: HostRule<'_>, second: HostRule<'_>) -> Option<Diagnostic> {
    let ((first, one), (second, other)) = (first, second);
    let ports: Vec<_> = one.ports.intersection(&other.ports).map(u16::to_string).collect();
    if ports.is_empty() {
        return None;
    }
    if programs_cover(&first.rule, &second.rule) && requests_cover(&first.rule, &second.rule) {
        return Some(hidden(first, second, &format!(" for port {}", ports.join(", "))));
    }
    if one.ports.is_subset(&other.ports) && permits_all_of(&second.rule, &first.rule) {
        return Some(idle(first, second));
    }
    // One connection carries the requests of both, so both must lead to one place.
    let both = programs_meet(&first.rule, &second.rule) && (one.looks() || other.looks());
    let apart = (one.tls == TlsExpectation::Raw) != (other.tls == TlsExpectation::Raw);
    (both
        && (apart
            || one.pin != other.pin
            || one.networks != other.networks
            || one.authorities != other.authorities))
        .then(|| {
            let title = "two rules whose requests share a connection lead to different places";
            Diagnostic::new(title, second.span.clone(), "another `protocol`, `address`, `networks` or `ca`")
                .related(first.span.clone(), "than here")
                .help("write the same `protocol`, `address`, `networks` and `ca` in both")
        })
}

/// A rule that asks something of requests, below a wildcard that permits all of them anyway.
fn below_a_wider_one(placed: &Placed<AllowRule>, by_pattern: &ByPattern<'_>) -> Option<Diagnostic> {
    let Target::Host(host) = &placed.rule.target else { return None };
    let (HostPattern::Exact(name) | HostPattern::Below(name)) = &host.pattern;
    let wider = ancestors(name).filter_map(|base| by_pattern.get(&HostPattern::Below(base))).flatten();
    let wider = wider.filter(|(_, other)| host.ports.is_subset(&other.ports));
    let mut wider = wider.filter(|(other, _)| permits_all_of(&other.rule, &placed.rule));
    wider.next().map(|(other, _)| idle(placed, other))
}

/// Whether a rule permits every request that another one was written to single out.
fn permits_all_of(wider: &AllowRule, narrow: &AllowRule) -> bool {
    let (Some(asked), Target::Host(target)) = (&narrow.http, &wider.target) else { return false };
    let keeps = wider.http.as_ref().is_some_and(|http| http.keep_query);
    asked.restricts()
        && asked.keep_query == keeps
        && target.tls != TlsExpectation::Raw
        && programs_cover(wider, narrow)
        && requests_cover(wider, narrow)
}

/// Whether every program of the second is one of the first.
fn programs_cover(first: &AllowRule, second: &AllowRule) -> bool {
    first.apps.is_empty()
        || (!second.apps.is_empty() && second.apps.iter().all(|app| first.apps.contains(app)))
}

/// Whether there is a program that both rules are for.
fn programs_meet(first: &AllowRule, second: &AllowRule) -> bool {
    first.apps.is_empty() || second.apps.is_empty() || first.apps.iter().any(|app| second.apps.contains(app))
}

/// Whether every request of the second is one of the first.
fn requests_cover(first: &AllowRule, second: &AllowRule) -> bool {
    match (&first.http, &second.http) {
        (None, _) => true,
        (Some(first), Some(second)) => first.covers(second),
        (Some(first), None) => !first.restricts(),
    }
}

fn hidden(first: &Placed<AllowRule>, second: &Placed<AllowRule>, shared: &str) -> Diagnostic {
    let title = format!("an earlier rule already decides this{shared}");
    Diagnostic::new(title, second.span.clone(), "can never match")
        .related(first.span.clone(), "because this comes first")
        .help("make one rule of the two")
}

fn idle(narrow: &Placed<AllowRule>, wider: &Placed<AllowRule>) -> Diagnostic {
    let title = "`methods` and `paths` of this rule restrict nothing: another rule permits the rest";
    Diagnostic::new(title, narrow.span.clone(), "rules add up")
        .related(wider.span.clone(), "this permits every such request")
        .help("take one of the two rules out, or restrict the wider one")
}

fn denied_twice(deny: &[Placed<DenyRule>], report: &mut Report) {
    let mut seen: BTreeMap<(&HostPattern, Option<&BTreeSet<u16>>), &Placed<DenyRule>> = BTreeMap::new();
    for placed in deny {
        let key = (&placed.rule.pattern, placed.rule.ports.as_ref());
        match seen.get(&key) {
            Some(first) => report.push(
                Diagnostic::new("this is denied twice", placed.span.clone(), "again here")
                    .related(first.span.clone(), "first here"),
            ),
            None => {
                seen.insert(key, placed);
            }
        }
    }
}
