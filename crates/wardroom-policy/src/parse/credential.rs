//! `[[credential]]`: secrets that the agent uses and never holds. Read and checked in full; used by a later version.

use wardroom_model::{HostName, HostPattern};

use super::agent::is_variable;
use super::table::Table;
use super::{Source, units};
use crate::diagnose::{At, Diagnostic, Report, Span};
use crate::network::NetworkPolicy;
use crate::policy::{Credential, CredentialKind, CredentialLimits, Overdue};

pub(crate) fn read(
    source: Source<'_>,
    tables: Vec<Table<'_>>,
    network: &NetworkPolicy,
    report: &mut Report,
) -> Vec<Credential> {
    let mut found: Vec<(Credential, Span)> = Vec::new();
    for table in tables {
        let span = table.key_span("env").unwrap_or_else(|| table.span());
        let Some(credential) = one(source, table, network, report) else { continue };
        if let Some((_, first)) = found.iter().find(|(other, _)| other.env == credential.env) {
            let title = format!("`{}` has two credentials", credential.env);
            report.push(
                Diagnostic::new(title, span.clone(), "again here").related(first.clone(), "first here"),
            );
        }
        found.push((credential, span));
    }
    found.into_iter().map(|(credential, _)| credential).collect()
}

fn one(
    source: Source<'_>,
    mut table: Table<'_>,
    network: &NetworkPolicy,
    report: &mut Report,
) -> Option<Credential> {
    let at = source.at(&table.first_key());
    let env = table.required_text("env", report).and_then(|text| variable(text, report));
    let host = table.required_text("host", report).and_then(|text| host(&text, network, report));
    let kind = table.word("kind", &KINDS, report).map_or(CredentialKind::Header, |word| word.value);
    let header = header(kind, &mut table, report);
    let max_age = table.text("max_age", report).and_then(|text| age(&text, report));
    let overdue = table.word("overdue", &[("alert", Overdue::Alert), ("refuse", Overdue::Refuse)], report);
    let limits = table.table("limits", "`limits`", report);
    let limits = limits.map_or(NO_LIMITS, |table| self::limits(table, report));
    table.finish(report);
    let overdue = overdue.map_or(Overdue::Alert, |word| word.value);
    Some(Credential { env: env?, host: host?, kind, header: header?, max_age, overdue, limits, at })
}

fn variable(text: At<String>, report: &mut Report) -> Option<String> {
    if is_variable(&text.value) {
        return Some(text.value);
    }
    let title = format!("{:?} is no variable's name", text.value);
    report.push(Diagnostic::new(title, text.span, "letters, digits and `_`, not starting with a digit"));
    None
}

/// A credential is bound to exactly one host, and a rule permits that host.
fn host(text: &At<String>, network: &NetworkPolicy, report: &mut Report) -> Option<HostName> {
    let pattern = super::hosts::pattern(text, report)?;
    let HostPattern::Exact(host) = pattern.value else {
        let title = "a credential is bound to exactly one host";
        report.push(Diagnostic::new(title, pattern.span, "a wildcard would send it to many"));
        return None;
    };
    if network.may_resolve(&host).rule.is_none() {
        let title = format!("no rule permits `{host}`, so this credential can never be used");
        let help = format!("add `[[network.allow]]` with `host = \"{host}\"`");
        report.push(Diagnostic::new(title, pattern.span, "bound to this host").help(help));
    }
    Some(host)
}

/// `Some(None)` where the kind has no header of its own; `None` where there is a mistake.
#[expect(clippy::option_option, reason = "absent by right, present, and wrong are three answers")]
fn header(kind: CredentialKind, table: &mut Table<'_>, report: &mut Report) -> Option<Option<String>> {
    let given = table.key_span("header");
    let text = table.text("header", report);
    match (kind, given) {
        (CredentialKind::Header, None) => {
            table.missing("header", report);
            None
        }
        (CredentialKind::Header, Some(_)) => {
            let text = text?;
            let token = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            if text.value.bytes().all(token) {
                return Some(Some(text.value.to_ascii_lowercase()));
            }
            let title = format!("{:?} is no header's name", text.value);
            report.push(Diagnostic::new(title, text.span, "letters, digits and `-`, as \"x-api-key\""));
            None
        }
        (_, Some(span)) => {
            let title = "`header` belongs to `kind = \"header\"`";
            report.push(Diagnostic::new(title, span, "this kind knows its own header").help("leave it out"));
            None
        }
        (_, None) => Some(None),
    }
}

fn age(text: &At<String>, report: &mut Report) -> Option<u64> {
    match units::seconds(&text.value) {
        Ok(seconds) => Some(seconds),
        Err(label) => {
            let title = format!("{:?} is no duration", text.value);
            report.push(Diagnostic::new(title, text.span.clone(), label));
            None
        }
    }
}

fn limits(mut table: Table<'_>, report: &mut Report) -> CredentialLimits {
    // 2^53: the largest number that JSON readers agree on.
    const COUNT: std::ops::Range<u64> = 1..9_007_199_254_740_992;
    let found = CredentialLimits {
        requests_per_minute: table.integer("requests_per_minute", COUNT, report).map(|n| n.value),
        bytes_per_day: table.text("bytes_per_day", report).and_then(|text| bytes(&text, report)),
        tokens_per_day: table.integer("tokens_per_day", COUNT, report).map(|n| n.value),
        usd_per_day: table.number("usd_per_day", report).map(|n| n.value),
    };
    table.finish(report);
    found
}

fn bytes(text: &At<String>, report: &mut Report) -> Option<u64> {
    match units::bytes(&text.value) {
        Ok(bytes) => Some(bytes),
        Err(label) => {
            let title = format!("{:?} is no size", text.value);
            report.push(Diagnostic::new(title, text.span.clone(), label));
            None
        }
    }
}

const NO_LIMITS: CredentialLimits = CredentialLimits {
    requests_per_minute: None,
    bytes_per_day: None,
    tokens_per_day: None,
    usd_per_day: None,
};

const KINDS: [(&str, CredentialKind); 6] = [
    ("header", CredentialKind::Header),
    ("bearer", CredentialKind::Bearer),
    ("basic", CredentialKind::Basic),
    ("aws-sigv4", CredentialKind::AwsSigv4),
    ("github-app", CredentialKind::GithubApp),
    ("oauth2", CredentialKind::Oauth2),
];
