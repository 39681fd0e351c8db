//! Edits of a policy's text that keep its comments and its layout. An edit that would not parse is not made.

use std::net::{IpAddr, SocketAddr};

use thiserror::Error;
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, TableLike, value};
use wardroom_model::name::HostNameError;
use wardroom_model::{HostPattern, RuleRef};

use crate::diagnose::PolicyErrors;
use crate::network::Decision;
use crate::policy::Policy;

/// What to permit.
#[derive(Debug, Clone, Copy)]
pub struct Addition<'a> {
    /// A host, a wildcard, or an address.
    pub host: &'a str,
    /// The port; 443 where it is not given.
    pub port: Option<u16>,
    /// Any protocol over TCP, not TLS. Ports 22 and 80 are always so.
    pub raw: bool,
}

/// Why a text was not changed.
#[derive(Debug, Error)]
pub enum EditError {
    /// The text is no valid policy to begin with.
    #[error("the policy has mistakes; nothing was changed")]
    Before(#[source] PolicyErrors),
    /// The rule would make it invalid.
    #[error("the rule does not fit into this policy; nothing was changed")]
    After(#[source] PolicyErrors),
    /// It is permitted already.
    #[error("this is permitted already, by {0}")]
    Already(RuleRef),
    /// What was given is no host.
    #[error("{host:?}: {why}")]
    Host {
        /// What was given.
        host: String,
        /// What is wrong with it.
        why: HostNameError,
    },
    /// An address needs its port.
    #[error("an address needs its port: --port 443")]
    NoPort,
    /// The text is laid out in a way that an edit would destroy.
    #[error("`network.allow` is written as a list in one line: add the rule by hand")]
    Layout,
}

/// Adds a `[[network.allow]]` rule to a policy's text.
///
/// # Errors
/// See [`EditError`]; the text is unchanged then, because a new one is only returned.
pub fn allow(file: &str, text: &str, addition: Addition<'_>) -> Result<String, EditError> {
    let policy = Policy::parse(file, text).map_err(EditError::Before)?;
    let rule = rule(&policy, addition)?;
    // Every valid policy is valid TOML, and both crates read it with one parser.
    let mut document: DocumentMut = text.parse().map_err(|_cause| EditError::Layout)?;
    rules(&mut document)?.push(rule);
    let edited = document.to_string();
    Policy::parse(file, &edited).map_err(EditError::After)?;
    Ok(edited)
}

/// [`allow`] for a host and perhaps a port.
///
/// # Errors
/// As [`allow`].
pub fn add_host(file: &str, text: &str, host: &str, port: Option<u16>) -> Result<String, EditError> {
    allow(file, text, Addition { host, port, raw: false })
}

fn rule(policy: &Policy, addition: Addition<'_>) -> Result<Table, EditError> {
    let mut table = Table::new();
    table.decor_mut().set_prefix("\n");
    if let Ok(ip) = addition.host.parse::<IpAddr>() {
        let address = SocketAddr::new(ip, addition.port.ok_or(EditError::NoPort)?);
        already(&policy.network.decide_literal(address, None))?;
        table.insert("address", value(address.to_string()));
        return Ok(table);
    }
    let host = addition.host.to_owned();
    let pattern = HostPattern::parse(&host).map_err(|why| EditError::Host { host, why })?;
    let port = addition.port.unwrap_or(443);
    if let HostPattern::Exact(name) = &pattern {
        already(&policy.network.decide(name, port, None))?;
    }
    table.insert("host", value(pattern.to_string()));
    if port != 443 || addition.raw {
        table.insert("ports", value(Array::from_iter([i64::from(port)])));
    }
    if addition.raw || port == 22 || port == 80 {
        table.insert("protocol", value("tcp"));
    }
    Ok(table)
}

fn already(decision: &Decision) -> Result<(), EditError> {
    match decision {
        Decision::Permit(permit) => match &permit.verdict().rule {
            Some(rule) => Err(EditError::Already(rule.clone())),
            None => Ok(()),
        },
        Decision::Denial(_) => Ok(()),
    }
}

/// The array of `[[network.allow]]`, made if there is none.
fn rules(document: &mut DocumentMut) -> Result<&mut ArrayOfTables, EditError> {
    let network = document.entry("network").or_insert_with(|| {
        let mut table = Table::new();
        // No `[network]` line of its own: `[[network.allow]]` says it.
        table.set_implicit(true);
        Item::Table(table)
    });
    let network: &mut dyn TableLike = network.as_table_like_mut().ok_or(EditError::Layout)?;
    let allow = network.entry("allow").or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    allow.as_array_of_tables_mut().ok_or(EditError::Layout)
}

#[cfg(test)]
mod tests;
