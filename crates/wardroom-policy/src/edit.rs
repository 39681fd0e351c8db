//! Edits of a policy's text that keep its comments and its layout. An edit that would not parse is not made.

mod already;
mod join;

use std::net::{IpAddr, SocketAddr};

use thiserror::Error;
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, TableLike, value};
use wardroom_model::name::HostNameError;
use wardroom_model::{HostName, HostPattern, RuleRef};

use crate::diagnose::PolicyErrors;
use crate::network::{DenyRule, METHODS, RequestLine, Target};
use crate::policy::Policy;

/// What to permit.
#[derive(Debug, Clone, Copy)]
pub struct Addition<'a> {
    /// A host, a wildcard, or an address.
    pub host: &'a str,
    /// The port; 443 where it is not given.
    pub port: Option<u16>,
    /// What of a connection there.
    pub what: What<'a>,
    /// The programs that it is for; empty means all.
    pub apps: &'a [String],
}

/// What of a connection is permitted.
#[derive(Debug, Clone, Copy)]
pub enum What<'a> {
    /// TLS, whatever is in it; any protocol on ports 22 and 80, where nobody speaks TLS, if no request there is looked at.
    Connection,
    /// Any protocol over TCP, not only TLS.
    Raw,
    /// TLS whose requests are looked at, and all permitted.
    Inspected,
    /// These requests inside TLS. An empty list means any.
    Requests {
        /// Methods.
        methods: &'a [String],
        /// Paths, with `*` and `**`.
        paths: &'a [String],
    },
}

/// Why a text was not changed.
#[derive(Debug, Error)]
pub enum EditError {
    /// The text is no valid policy to begin with.
    #[error("the policy has mistakes; nothing was changed")]
    Before(#[source] PolicyErrors),
    /// The rule would make it invalid. The mistakes stand in the text with the rule in it, which nobody has on disk.
    #[error(
        "with this rule the policy would have mistakes (lines count with the rule in it); nothing was changed"
    )]
    After(#[source] PolicyErrors),
    /// It is permitted already.
    #[error("this is permitted already, by {0}")]
    Already(RuleRef),
    /// A rule denies it whole.
    #[error("{host} is denied by {by}, and denial wins: take that rule out first; nothing was changed")]
    Denied {
        /// The host, or the wildcard.
        host: HostPattern,
        /// Where the rule stands.
        by: RuleRef,
    },
    /// The port would let past what a rule looks at.
    #[error(
        "port {port} would be opened to any protocol, in clear, and {by} has requests to {host} looked at: say --raw if that is meant"
    )]
    InClear {
        /// The host, or the wildcard.
        host: HostPattern,
        /// The port.
        port: u16,
        /// Where the rule stands.
        by: RuleRef,
    },
    /// What was given is no host.
    #[error(
        "{host:?}: {why} (say the host alone, as `api.example.com`; a port goes into --port, paths into --path)"
    )]
    Host {
        /// What was given.
        host: String,
        /// What is wrong with it.
        why: HostNameError,
    },
    /// An address needs its port.
    #[error("an address needs its port: --port 443")]
    NoPort,
    /// What goes to an address without a name is not looked at.
    #[error(
        "what goes to an address without a name cannot be looked at: name the host, or leave `--method`, `--path` and `--inspect` out"
    )]
    NoName,
    /// The text is laid out in a way that an edit would destroy.
    #[error("the rules of `network` are written as a list in one line: add the rule by hand")]
    Layout,
}

/// Adds a `[[network.allow]]` rule to a policy's text, or its paths to a rule that differs in nothing else.
///
/// # Errors
/// See [`EditError`]; the text is unchanged then, because a new one is only returned.
pub fn allow(file: &str, text: &str, addition: Addition<'_>) -> Result<String, EditError> {
    let policy = Policy::parse(file, text).map_err(EditError::Before)?;
    let rule = rule(&policy, addition)?;
    if let Some(edited) = join::joined(text, &rule)
        && Policy::parse(file, &edited).is_ok()
    {
        return Ok(edited);
    }
    add(file, text, "allow", rule)
}

/// [`allow`] for a host and perhaps a port.
///
/// # Errors
/// As [`allow`].
pub fn add_host(file: &str, text: &str, host: &str, port: Option<u16>) -> Result<String, EditError> {
    allow(file, text, Addition { host, port, what: What::Connection, apps: &[] })
}

/// Adds a `[[network.deny]]` rule to a policy's text: for a host or a wildcard, on all ports or on one.
///
/// # Errors
/// As [`allow`].
pub fn deny(file: &str, text: &str, host: &str, port: Option<u16>) -> Result<String, EditError> {
    Policy::parse(file, text).map_err(EditError::Before)?;
    let pattern = pattern(host)?;
    let mut table = block();
    table.insert("host", value(pattern.to_string()));
    if let Some(port) = port {
        table.insert("ports", value(Array::from_iter([i64::from(port)])));
    }
    add(file, text, "deny", table)
}

fn add(file: &str, text: &str, list: &str, rule: Table) -> Result<String, EditError> {
    // Every valid policy is valid TOML, and both crates read it with one parser.
    let mut document: DocumentMut = text.parse().map_err(|_cause| EditError::Layout)?;
    rules(&mut document, list)?.push(rule);
    let edited = document.to_string();
    Policy::parse(file, &edited).map_err(EditError::After)?;
    Ok(edited)
}

/// A table with a blank line before it.
fn block() -> Table {
    let mut table = Table::new();
    table.decor_mut().set_prefix("\n");
    table
}

fn pattern(host: &str) -> Result<HostPattern, EditError> {
    HostPattern::parse(host).map_err(|why| EditError::Host { host: host.to_owned(), why })
}

fn rule(policy: &Policy, addition: Addition<'_>) -> Result<Table, EditError> {
    let mut table = block();
    if let Ok(ip) = addition.host.parse::<IpAddr>() {
        if let What::Inspected | What::Requests { .. } = addition.what {
            return Err(EditError::NoName);
        }
        let address = SocketAddr::new(ip, addition.port.ok_or(EditError::NoPort)?);
        already::literal(&policy.network, address)?;
        table.insert("address", value(address.to_string()));
        apps(&mut table, addition);
        return Ok(table);
    }
    let pattern = pattern(addition.host)?;
    let port = addition.port.unwrap_or(443);
    not_denied(policy, &pattern, port)?;
    let what = match addition.what {
        What::Connection if is_in_clear(port) => {
            not_looked_at(policy, &pattern, port)?;
            What::Raw
        }
        what @ (What::Connection | What::Raw | What::Inspected | What::Requests { .. }) => what,
    };
    if let HostPattern::Exact(name) = &pattern {
        already::host(&policy.network, name, port, what)?;
    }
    table.insert("host", value(pattern.to_string()));
    let raw = matches!(what, What::Raw);
    if port != 443 || raw {
        table.insert("ports", value(Array::from_iter([i64::from(port)])));
    }
    if raw {
        table.insert("protocol", value("tcp"));
    }
    match what {
        What::Connection | What::Raw => {}
        What::Inspected => {
            table.insert("inspect", value(true));
        }
        What::Requests { methods, paths } => {
            texts(&mut table, "methods", methods);
            texts(&mut table, "paths", paths);
        }
    }
    apps(&mut table, addition);
    if let (HostPattern::Exact(name), false) = (&pattern, raw) {
        as_it_is_reached(&mut table, policy, name, port);
    }
    Ok(table)
}

fn texts(table: &mut Table, key: &str, items: &[String]) {
    if !items.is_empty() {
        table.insert(key, value(items.iter().map(String::as_str).collect::<Array>()));
    }
}

fn apps(table: &mut Table, addition: Addition<'_>) {
    texts(table, "apps", addition.apps);
}

/// A further rule for a host leads to where the ones before it lead: they share their connections.
fn as_it_is_reached(table: &mut Table, policy: &Policy, host: &HostName, port: u16) {
    let Some(target) = policy.network.reached_by(host, port) else { return };
    if let Some(pin) = target.pin() {
        table.insert("address", value(pin.to_string()));
    }
    let networks: Vec<_> = target.networks().iter().map(ToString::to_string).collect();
    texts(table, "networks", &networks);
    if let Some(pem) = &target.authorities {
        table.insert("ca", value(pem));
    }
}

/// Whether this is a port where nobody speaks TLS: a rule for it is for any protocol.
#[must_use]
pub fn is_in_clear(port: u16) -> bool {
    port == 22 || port == 80
}

/// What goes in clear is not looked at. A host whose requests are is opened in that way only where it is asked for by its name.
fn not_looked_at(policy: &Policy, host: &HostPattern, port: u16) -> Result<(), EditError> {
    let looks = policy.network.allow().filter(|rule| rule.http.is_some()).find(|rule| match &rule.target {
        Target::Host(target) => target.pattern.covers(host) || host.covers(&target.pattern),
        Target::Literal(_) => false,
    });
    match looks {
        Some(rule) => Err(EditError::InClear { host: host.clone(), port, by: rule.at.clone() }),
        None => Ok(()),
    }
}

/// Said here, with the line as it is on disk: the conflict would be found in the new text, at the new rule.
fn not_denied(policy: &Policy, host: &HostPattern, port: u16) -> Result<(), EditError> {
    let on_port = |deny: &&DenyRule| deny.ports().is_none_or(|ports| ports.contains(&port));
    let mut denials = policy.network.deny().iter().filter(on_port);
    match denials.find(|deny| deny.covers(host)) {
        Some(deny) => Err(EditError::Denied { host: host.clone(), by: deny.at().clone() }),
        None => Ok(()),
    }
}

/// The array of `[[network.allow]]` or `[[network.deny]]`, made if there is none.
fn rules<'a>(document: &'a mut DocumentMut, list: &str) -> Result<&'a mut ArrayOfTables, EditError> {
    let network = document.entry("network").or_insert_with(|| {
        let mut table = Table::new();
        // No `[network]` line of its own: `[[network.allow]]` says it.
        table.set_implicit(true);
        Item::Table(table)
    });
    let network: &mut dyn TableLike = network.as_table_like_mut().ok_or(EditError::Layout)?;
    let rules = network.entry(list).or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    rules.as_array_of_tables_mut().ok_or(EditError::Layout)
}

/// The command of [`allow_arguments`], where the installation is the usual one.
#[must_use]
pub fn allow_command(agent: &str, host: &HostName, port: u16, line: Option<&RequestLine>) -> Option<String> {
    allow_arguments(agent, host, port, line).map(|arguments| format!("wardroom {arguments}"))
}

/// What stands behind `wardroom` in the command that permits exactly a connection, or one request of it. None where a rule cannot say just that: a path that
/// servers read in more than one way, or that would be a pattern.
#[must_use]
pub fn allow_arguments(
    agent: &str,
    host: &HostName,
    port: u16,
    line: Option<&RequestLine>,
) -> Option<String> {
    let raw = if is_in_clear(port) { " --raw" } else { "" };
    let port = if port == 443 { String::new() } else { format!(" --port {port}") };
    let Some(line) = line else { return Some(format!("allow {agent} {host}{port}{raw}")) };
    is_sayable(line).then(|| {
        format!("allow {agent} {host}{port} --method {} --path {}", line.method(), quoted(line.path()))
    })
}

/// Whether a rule can permit exactly this request and no other.
#[must_use]
pub fn is_sayable(line: &RequestLine) -> bool {
    METHODS.contains(&line.method()) && !line.ambiguous() && !line.path().contains('*')
}

/// The domain that belongs to one owner, as the public suffix list has it: `example.co.uk` for `a.b.example.co.uk`. The
/// whole name where there is none.
#[must_use]
pub fn domain_of(host: &HostName) -> &str {
    psl::domain_str(host.as_str()).unwrap_or_else(|| host.as_str())
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/%@:+,=".contains(&b);
    if word.bytes().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests;
