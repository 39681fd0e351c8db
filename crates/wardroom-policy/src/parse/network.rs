//! `[network]`: the rules, each read in full and checked against the others.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use wardroom_model::HostPattern;

use super::table::Table;
use super::{Source, authorities, conflicts, hosts, networks};
use crate::diagnose::{At, Diagnostic, Report, Span};
use crate::network::{
    AllowRule, DenyRule, HostTarget, HttpRule, METHODS, NetworkPolicy, PathPattern, PatternError, Target,
    TlsExpectation,
};

/// A rule and where its parts stand, for saying how it conflicts with another.
#[derive(Debug)]
pub(crate) struct Placed<T> {
    pub(crate) rule: T,
    pub(crate) span: Span,
}

/// The most rules of one policy. The longest allowlist that we know of (a cloud development environment's) has about
/// 400; the checks between rules take time with the square of their number, and stay below 50 ms with these.
const MAX_RULES: usize = 4096;

pub(crate) fn read(source: Source<'_>, table: Option<Table<'_>>, report: &mut Report) -> NetworkPolicy {
    let Some(mut table) = table else {
        return NetworkPolicy::new(source.file, Vec::new(), Vec::new(), NetworkPolicy::CONNECTIONS);
    };
    let connections = table.integer("connections", 1..65_536, report);
    let allow = table.tables("allow", "[[network.allow]]", report);
    let deny = table.tables("deny", "[[network.deny]]", report);
    let span = table.first_key();
    table.finish(report);
    if allow.len() + deny.len() > MAX_RULES {
        let title = format!("{} network rules; at most {MAX_RULES}", allow.len() + deny.len());
        report.push(
            Diagnostic::new(title, span, "too many rules").help("use wildcards for domains of one owner"),
        );
        return NetworkPolicy::new(source.file, Vec::new(), Vec::new(), NetworkPolicy::CONNECTIONS);
    }
    let allow: Vec<_> = allow.into_iter().filter_map(|table| allow_rule(source, table, report)).collect();
    let deny: Vec<_> = deny.into_iter().filter_map(|table| deny_rule(source, table, report)).collect();
    conflicts::find(&allow, &deny, report);
    let connections = connections.and_then(|number| u32::try_from(number.value).ok());
    NetworkPolicy::new(
        source.file,
        allow.into_iter().map(|placed| placed.rule).collect(),
        deny.into_iter().map(|placed| placed.rule).collect(),
        connections.unwrap_or(NetworkPolicy::CONNECTIONS),
    )
}

/// The keys of an allow rule, before they are one.
#[derive(Debug)]
struct Parts {
    host: Option<At<HostPattern>>,
    ports: Option<At<BTreeSet<u16>>>,
    tls: Option<At<TlsExpectation>>,
    address: Option<At<SocketAddr>>,
    networks: Option<At<Vec<ipnet::IpNet>>>,
    http: Option<At<HttpRule>>,
    authorities: Option<At<String>>,
}

fn allow_rule(source: Source<'_>, mut table: Table<'_>, report: &mut Report) -> Option<Placed<AllowRule>> {
    let (at, header) = (source.at(&table.first_key()), table.span());
    let (host_key, address_key) = (table.key_span("host"), table.key_span("address"));
    let words = [("tcp", TlsExpectation::Raw), ("tls", TlsExpectation::Name)];
    let parts = Parts {
        host: table.text("host", report).and_then(|text| hosts::pattern(&text, report)),
        ports: hosts::ports(&mut table, report),
        tls: table.word("protocol", &words, report),
        address: table.text("address", report).and_then(|text| hosts::address(&text, report)),
        networks: networks::networks(&mut table, report),
        http: http(&mut table, report),
        authorities: table.lines("ca", report).and_then(|text| authorities::certificates(text, report)),
    };
    let apps = apps(&mut table, report);
    table.finish(report);
    if host_key.is_none() && address_key.is_none() {
        let missing = Diagnostic::new("a rule needs a host", header, "this rule names nothing");
        report.push(missing.help(
            "write `host = \"example.com\"`, or `address = \"10.0.0.5:5432\"` for an address without a name",
        ));
        return None;
    }
    let span = host_key.clone().or(address_key).unwrap_or(header);
    let http = parts.http.as_ref().map(|http| http.value.clone());
    let target = match host_key {
        Some(_) => Target::Host(host_target(parts, report)?),
        None => Target::Literal(literal(parts, report)?),
    };
    Some(Placed { rule: AllowRule { at, target, apps, http }, span })
}

/// A rule for hosts by name.
fn host_target(parts: Parts, report: &mut Report) -> Option<HostTarget> {
    let Parts { host, ports, tls, address, networks, http, authorities } = parts;
    let host = host?;
    hosts::not_the_cell_itself(&host, report);
    hosts::no_public_suffix(&host, report);
    let expectation = match tls.as_ref().map(|tls| tls.value) {
        Some(TlsExpectation::Raw) => TlsExpectation::Raw,
        _ if http.is_some() => TlsExpectation::Inspect,
        Some(TlsExpectation::Name | TlsExpectation::Inspect) | None => TlsExpectation::Name,
    };
    if let (Some(tls), None, TlsExpectation::Raw) = (&tls, &ports, expectation) {
        let diagnostic =
            Diagnostic::new("`protocol = \"tcp\"` needs `ports`", tls.span.clone(), "on which port?");
        report.push(diagnostic.help("write the port, as `ports = [22]`"));
    }
    if let (Some(http), TlsExpectation::Raw) = (&http, expectation) {
        let title = "`protocol = \"tcp\"` and rules about requests exclude each other";
        let label = "requests are seen only inside TLS";
        report.push(Diagnostic::new(title, http.span.clone(), label).help("leave one of them out"));
    }
    if let Some(ports) = &ports {
        plain_ports(ports, expectation, report);
        if let (Some(address), true) = (&address, ports.value.len() > 1) {
            let title = "`address` is one port, and `ports` are several";
            let help = "write one rule a port, each with its address";
            report.push(
                Diagnostic::new(title, address.span.clone(), "dialled for every port")
                    .related(ports.span.clone(), "these")
                    .help(help),
            );
        }
    }
    if let (Some(address), Some(networks)) = (&address, &networks) {
        let title = "`address` and `networks` exclude each other";
        let label = "the name is never looked up, so this can never match";
        report.push(
            Diagnostic::new(title, networks.span.clone(), label)
                .related(address.span.clone(), "because of this"),
        );
    }
    Some(HostTarget {
        pattern: host.value,
        ports: ports.map_or_else(|| BTreeSet::from([443]), |ports| ports.value),
        tls: expectation,
        pin: address.map(|address| address.value),
        networks: networks.map(|networks| networks.value).unwrap_or_default(),
        authorities: authorities.map(|pem| pem.value),
    })
}

/// Ports on which no one speaks TLS: a rule that expects it there can never match.
fn plain_ports(ports: &At<BTreeSet<u16>>, expectation: TlsExpectation, report: &mut Report) {
    let plain = [22_u16, 80].into_iter().find(|port| ports.value.contains(port));
    if let (Some(port), TlsExpectation::Name | TlsExpectation::Inspect) = (plain, expectation) {
        let title = format!("port {port} carries no TLS, and this rule expects TLS");
        let help = "add `protocol = \"tcp\"`: such connections are governed by name and port alone";
        report.push(Diagnostic::new(title, ports.span.clone(), "could never match").help(help));
    }
}

/// A rule for an address without a name.
fn literal(parts: Parts, report: &mut Report) -> Option<SocketAddr> {
    let Parts { host: _, ports, tls, address, networks, http, authorities } = parts;
    let address = address?;
    let spare = [
        ports.map(|ports| ("ports", ports.span)),
        networks.map(|networks| ("networks", networks.span)),
        authorities.map(|pem| ("ca", pem.span)),
        http.map(|http| ("methods`, `paths`, `inspect` and `keep_query", http.span)),
        tls.filter(|tls| tls.value == TlsExpectation::Name).map(|tls| ("protocol = \"tls\"", tls.span)),
    ];
    for (key, span) in spare.into_iter().flatten() {
        let title = format!("`{key}` needs a `host`");
        let label = "a rule for an address permits exactly that address and port";
        report.push(Diagnostic::new(title, span, label).help("leave it out, or name the host"));
    }
    if address.value.ip().is_loopback() {
        let title = "loopback addresses inside a cell are the cell's own";
        let label = "never leaves the cell";
        let help = format!(
            "give the service a name: `host = \"service.internal\"` with `address = \"{}\"`",
            address.value
        );
        report.push(Diagnostic::new(title, address.span, label).help(help));
        return None;
    }
    Some(address.value)
}

fn deny_rule(source: Source<'_>, mut table: Table<'_>, report: &mut Report) -> Option<Placed<DenyRule>> {
    let at = source.at(&table.first_key());
    let host = table.required_text("host", report).and_then(|text| hosts::pattern(&text, report));
    let ports = hosts::ports(&mut table, report).map(|ports| ports.value);
    table.finish(report);
    let host = host?;
    Some(Placed { rule: DenyRule { at, pattern: host.value, ports }, span: host.span })
}

/// `apps`: programs by their paths inside, on the read-only system.
fn apps(table: &mut Table<'_>, report: &mut Report) -> Vec<String> {
    let Some(list) = table.texts("apps", report) else { return Vec::new() };
    let mut found = Vec::new();
    for item in list.value {
        let part = |part: &str| part.is_empty() || part == "." || part == "..";
        let odd = item.value.strip_prefix('/').is_none_or(|rest| rest.split('/').any(part));
        let writable = ["/home/", "/workspace/", "/tmp/", "/var/tmp/", "/run/", "/dev/", "/proc/"];
        if odd {
            let title = format!("{:?} is no program's path", item.value);
            report.push(Diagnostic::new(title, item.span, "an absolute path, as \"/usr/bin/gh\""));
        } else if writable.iter().any(|place| item.value.starts_with(place)) {
            let title = format!("{:?} could be any program", item.value);
            let label = "the agent can write here, so this path can never count as an identity";
            report.push(
                Diagnostic::new(title, item.span, label)
                    .help("name a program on the read-only system, or leave `apps` out"),
            );
        } else {
            found.push(item.value);
        }
    }
    found
}

/// `methods`, `paths` and `inspect`: what is asked of requests.
fn http(table: &mut Table<'_>, report: &mut Report) -> Option<At<HttpRule>> {
    let methods = table.texts("methods", report);
    let paths = table.texts("paths", report);
    let flags = ["inspect", "keep_query"].map(|key| table.boolean(key, report).filter(|found| found.value));
    let [inspect, keep_query] = flags;
    let span = [
        methods.as_ref().map(|list| list.span.clone()),
        paths.as_ref().map(|list| list.span.clone()),
        inspect.map(|found| found.span),
        keep_query.as_ref().map(|found| found.span.clone()),
    ];
    let span = span.into_iter().flatten().next();
    let methods = methods.map(|list| list.value).unwrap_or_default();
    let paths = paths.map(|list| list.value).unwrap_or_default();
    for method in &methods {
        check_method(method, report);
    }
    let value = HttpRule {
        methods: methods.into_iter().map(|method| method.value).collect(),
        // A path with a mistake stays, as one that nothing matches: without it the rule would seem to be for every path.
        paths: paths
            .iter()
            .map(|path| self::path(path, report).unwrap_or_else(|| PathPattern::never(&path.value)))
            .collect(),
        keep_query: keep_query.is_some(),
    };
    span.map(|span| At { value, span })
}

fn check_method(method: &At<String>, report: &mut Report) {
    if !METHODS.contains(&method.value.as_str()) {
        let title = format!("unknown method {:?}", method.value);
        let help = format!("methods are {}", METHODS.join(", "));
        let known = METHODS.contains(&method.value.to_uppercase().as_str());
        let label = if known { "in capitals" } else { "could never match" };
        report.push(Diagnostic::new(title, method.span.clone(), label).help(help));
    }
}

/// A path of requests, with `*` and `**`.
pub(crate) fn path(path: &At<String>, report: &mut Report) -> Option<PathPattern> {
    match PathPattern::parse(&path.value) {
        Ok(pattern) => Some(pattern),
        Err(PatternError::Star) => {
            let title = format!("{:?} has a `*` within a part", path.value);
            let help = "a part is `*`, `**` or a text without `*`";
            report
                .push(Diagnostic::new(title, path.span.clone(), "a `*` stands for a whole part").help(help));
            None
        }
        Err(PatternError::Spelling(canonical)) => {
            let title = format!("{:?} is not how paths are compared", path.value);
            let help = format!("did you mean {canonical:?}?");
            report.push(Diagnostic::new(title, path.span.clone(), "could never match").help(help));
            None
        }
        Err(PatternError::Ambiguous) => {
            let title = format!("{:?} is no path of requests", path.value);
            let help = "start with `/`; no query; `*` is one part, `**` any number, as \"/repos/acme/**\"";
            report.push(Diagnostic::new(title, path.span.clone(), "could never match").help(help));
            None
        }
    }
}
