//! Rules that can never match because of other rules. A rule that never matches is a misunderstanding, and a
//! misunderstanding about what an agent may do is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use wardroom_model::HostPattern;

use super::network::Placed;
use crate::diagnose::{Diagnostic, Report};
use crate::network::{AllowRule, DenyRule, HostTarget, Target};

pub(crate) fn find(allow: &[Placed<AllowRule>], deny: &[Placed<DenyRule>], report: &mut Report) {
    let mut by_pattern: BTreeMap<&HostPattern, Vec<(&Placed<AllowRule>, &HostTarget)>> = BTreeMap::new();
    let mut by_address: BTreeMap<SocketAddr, Vec<&Placed<AllowRule>>> = BTreeMap::new();
    for placed in allow {
        match &placed.rule.target {
            Target::Host(host) => {
                denied(placed, host, deny, report);
                let earlier = by_pattern.entry(&host.pattern).or_default();
                if let Some(first) = earlier.iter().find(|(first, other)| hides(first, other, placed, host)) {
                    hidden(first.0, placed, &shared(first.1, host), report);
                }
                earlier.push((placed, host));
            }
            Target::Literal(address) => {
                let earlier = by_address.entry(*address).or_default();
                if let Some(first) = earlier.iter().find(|first| same_programs(&first.rule, &placed.rule)) {
                    hidden(first, placed, "", report);
                }
                earlier.push(placed);
            }
        }
    }
    denied_twice(deny, report);
}

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

/// Whether an earlier rule for the same names takes a port of a later one, for the same programs.
fn hides(
    first: &Placed<AllowRule>,
    one: &HostTarget,
    second: &Placed<AllowRule>,
    other: &HostTarget,
) -> bool {
    // Rules about requests add up: GET here and POST there are both meant.
    let requests =
        first.rule.http.is_some() && second.rule.http.is_some() && first.rule.http != second.rule.http;
    !requests && same_programs(&first.rule, &second.rule) && !one.ports.is_disjoint(&other.ports)
}

/// Whether every program of the second is one of the first.
fn same_programs(first: &AllowRule, second: &AllowRule) -> bool {
    first.apps.is_empty()
        || (!second.apps.is_empty() && second.apps.iter().all(|app| first.apps.contains(app)))
}

fn shared(one: &HostTarget, other: &HostTarget) -> String {
    let ports: Vec<_> = one.ports.intersection(&other.ports).map(u16::to_string).collect();
    format!(" for port {}", ports.join(", "))
}

fn hidden(first: &Placed<AllowRule>, second: &Placed<AllowRule>, shared: &str, report: &mut Report) {
    let title = format!("an earlier rule already decides this{shared}");
    report.push(
        Diagnostic::new(title, second.span.clone(), "can never match")
            .related(first.span.clone(), "because this comes first")
            .help("make one rule of the two"),
    );
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
