//! `[[credential]]`: secrets that the agent uses and never holds. Read and checked in full.

mod particulars;
mod source;

use wardroom_model::{HostName, HostPattern};

use super::agent::{FIXED, is_variable};
use super::table::Table;
use super::{Source, units};
use crate::credential::{Credential, CredentialKind, CredentialLimits, Overdue};
use crate::diagnose::{At, Diagnostic, Report, Span};
use crate::network::{NetworkPolicy, Target, TlsExpectation};

/// `taken` says whether the policy gives a variable another value.
pub(crate) fn read(
    source: Source<'_>,
    tables: Vec<Table<'_>>,
    network: &NetworkPolicy,
    taken: impl Fn(&str) -> bool,
    report: &mut Report,
) -> Vec<Credential> {
    let mut found: Vec<(Credential, Span)> = Vec::new();
    for table in tables {
        let span = table.key_span("env").unwrap_or_else(|| table.span());
        let Some(credential) = one(source, table, network, report) else { continue };
        if taken(&credential.env) {
            let title = format!("`{}` is in `[agent.environment]` as well", credential.env);
            report.push(Diagnostic::new(title, span.clone(), "the agent sees the placeholder here"));
        }
        let conflict = found.iter().find_map(|(other, first)| Some((clash(other, &credential)?, first)));
        if let Some(((title, help), first)) = conflict {
            let again = Diagnostic::new(title, span.clone(), "again here");
            report.push(again.related(first.clone(), "first here").help(help));
        }
        found.push((credential, span));
    }
    found.into_iter().map(|(credential, _)| credential).collect()
}

/// What two credentials of one policy may not share.
///
/// Two for one host are told apart by the header that they go into, and by nothing else: if the agent could choose
/// between two for one header, it would choose whose limits count.
fn clash(one: &Credential, other: &Credential) -> Option<(String, &'static str)> {
    if one.env == other.env {
        return Some((format!("`{}` has two credentials", one.env), "one variable holds one placeholder"));
    }
    if one.name == other.name {
        let help = "give one of them another `name`: commands and records tell them apart by it";
        return Some((format!("two credentials are called `{}`", one.name), help));
    }
    (one.host == other.host && one.header() == other.header()).then(|| {
        let title = format!("two credentials for `{}` go into the header `{}`", one.host, one.header());
        (title, "one header carries one credential: make two agents of it, each with its own")
    })
}

fn one(
    source: Source<'_>,
    mut table: Table<'_>,
    network: &NetworkPolicy,
    report: &mut Report,
) -> Option<Credential> {
    let at = source.at(&table.first_key());
    let env = table.required_text("env", report).and_then(|text| variable(text, report));
    let name = name(env.as_ref(), &mut table, report);
    let host = table.required_text("host", report).and_then(|text| host(&text, network, report));
    let kind = table
        .word("kind", &CredentialKind::ALL.map(|kind| (kind.word(), kind)), report)
        .map_or(CredentialKind::Header, |word| word.value);
    let header = header(kind, &mut table, report);
    let particulars = particulars::read(kind, &mut table, report);
    let secret_source = source::read(&mut table, report);
    let rotate = table.table("rotate", "`rotate`", report).map(|table| source::command(table, report));
    let max_age = table.formed("max_age", units::DURATION, report).and_then(|text| seconds(&text, report));
    let overdue = table.word("overdue", &[("alert", Overdue::Alert), ("refuse", Overdue::Refuse)], report);
    let limits = table.table("limits", "`limits`", report);
    let limits = limits.map_or(NO_LIMITS, |table| self::limits(table, report));
    table.finish(report);
    Some(Credential {
        name: name?,
        env: env?.value,
        host: host?,
        kind,
        header: header?,
        particulars: particulars?,
        source: secret_source?,
        rotate: match rotate {
            Some(wrong_or_right) => Some(wrong_or_right?),
            None => None,
        },
        max_age,
        overdue: overdue.map_or(Overdue::Alert, |word| word.value),
        limits,
        at,
    })
}

fn variable(text: At<String>, report: &mut Report) -> Option<At<String>> {
    if FIXED.contains(&text.value.as_str()) {
        let title = format!("`{}` is set by Wardroom", text.value);
        report
            .push(Diagnostic::new(title, text.span, "the cell fixes this variable").help("name another one"));
        return None;
    }
    if is_variable(&text.value) {
        return Some(text);
    }
    let title = format!("{:?} is no variable's name", text.value);
    report.push(Diagnostic::new(title, text.span, "letters, digits and `_`, not starting with a digit"));
    None
}

/// `name`: by default the variable's, in lower case and without the word that says that it is a secret.
fn name(env: Option<&At<String>>, table: &mut Table<'_>, report: &mut Report) -> Option<String> {
    let given = table.key_span("name").is_some();
    let name = match table.text("name", report) {
        Some(text) => text,
        None if given => return None,
        None => {
            let lower = env?.value.to_ascii_lowercase();
            let short = ENDINGS.iter().find_map(|ending| lower.strip_suffix(ending));
            let value = short.filter(|short| !short.is_empty()).unwrap_or(&lower).to_owned();
            At { value, span: env?.span.clone() }
        }
    };
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    let starts = name.value.starts_with(|c: char| c.is_ascii_alphanumeric());
    // 64: what file systems and the stores' own tools show in one line.
    if starts && name.value.len() <= 64 && name.value.bytes().all(plain) {
        return Some(name.value);
    }
    let title = format!("{:?} is no credential's name", name.value);
    let label = "lower-case letters, digits, `-` and `_`, at most 64, starting with a letter or a digit";
    let help = (!given).then(|| "give it one: `name = \"anthropic\"`".to_owned());
    report.push(Diagnostic::new(title, name.span, label).maybe_help(help));
    None
}

/// A credential is bound to exactly one host, and a rule permits that host, by TLS.
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
    } else if !network.allow().any(|rule| by_tls(rule.target(), &host)) {
        let title = format!("`{host}` is permitted only with `protocol = \"tcp\"`");
        let help = "a credential goes only over TLS that the gate has verified";
        report.push(Diagnostic::new(title, pattern.span, "bound to this host").help(help));
    }
    Some(host)
}

fn by_tls(target: &Target, name: &HostName) -> bool {
    match target {
        Target::Host(host) => host.tls() != TlsExpectation::Raw && host.pattern().matches(name),
        Target::Literal(_) => false,
    }
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
        (CredentialKind::Header, Some(_)) => own_header(&text?, report).map(Some),
        (_, Some(span)) => {
            let title = "`header` belongs to `kind = \"header\"`";
            report.push(Diagnostic::new(title, span, "this kind knows its own header").help("leave it out"));
            None
        }
        (_, None) => Some(None),
    }
}

fn own_header(text: &At<String>, report: &mut Report) -> Option<String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let name = text.value.to_ascii_lowercase();
    let (title, label) = if !name.bytes().all(token) {
        let title = format!("{:?} is no header's name", text.value);
        (title, "letters, digits and `-`, as \"x-api-key\"")
    } else if FRAMING.contains(&name.as_str()) || name.starts_with("proxy-") {
        let title = format!("the header `{name}` says how a request travels");
        (title, "it can carry no credential")
    } else {
        return Some(name);
    };
    report.push(Diagnostic::new(title, text.span.clone(), label));
    None
}

/// A duration.
fn seconds(text: &At<String>, report: &mut Report) -> Option<u64> {
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
    // The gate counts whole millionths, and takes what is above a million for no amount.
    const DOLLARS: std::ops::RangeInclusive<f64> = 0.000_001..=1_000_000.0;
    let found = CredentialLimits {
        requests_per_minute: table.integer("requests_per_minute", COUNT, report).map(|n| n.value),
        bytes_per_day: table
            .formed("bytes_per_day", units::SIZE, report)
            .and_then(|text| bytes(&text, report)),
        tokens_per_day: table.integer("tokens_per_day", COUNT, report).map(|n| n.value),
        usd_per_day: table.number("usd_per_day", DOLLARS, report).map(|n| n.value),
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

/// The longer ones first.
const ENDINGS: [&str; 7] =
    ["_access_key_id", "_api_key", "_api_token", "_password", "_secret", "_token", "_key"];

/// Headers that belong to a connection or frame a message (RFC 9110, 7.6.1 and 8.6; RFC 9112, 6).
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
];
