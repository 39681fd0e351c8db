//! `source` and `rotate`: where a secret comes from, and what makes the next one.

use toml::de::DeValue;

use super::super::table::Table;
use super::super::units;
use super::super::value;
use super::particulars::server;
use super::seconds;
use crate::credential::{SecretCommand, SecretSource, Vault, VaultAuth};
use crate::diagnose::{At, Diagnostic, Report};

/// Seconds that a program of the operator's has, where the policy does not say: a hardware token waits for a finger
/// about as long.
const TIMEOUT: u64 = 30;
/// The longest that one may have. An agent's start waits for it.
const LONGEST: u64 = 600;

pub(super) fn read(table: &mut Table<'_>, report: &mut Report) -> Option<SecretSource> {
    if let Some(DeValue::Table(_)) = table.peek("source") {
        return from_table(table.table("source", "`source`", report)?, report);
    }
    if table.key_span("source").is_none() {
        return Some(SecretSource::Store);
    }
    let word = table.word("source", &[("store", ())], report);
    word.map(|_| SecretSource::Store)
}

fn from_table(mut table: Table<'_>, report: &mut Report) -> Option<SecretSource> {
    match (table.key_span("vault"), table.key_span("command")) {
        (Some(_), None) => {
            let vault = table.table("vault", "`vault`", report);
            table.finish(report);
            vault.and_then(|table| self::vault(table, report)).map(SecretSource::Vault)
        }
        (None, Some(_)) => command(table, report).map(SecretSource::Command),
        (Some(_), Some(span)) => {
            let title = "a secret has one source";
            report.push(Diagnostic::new(title, span, "`vault` and `command` exclude each other"));
            None
        }
        (None, None) => {
            let help = "write `source = \"store\"`, `source = { vault = { ... } }` or `source = { command = [...] }`";
            let title = "`source` names no source";
            report.push(Diagnostic::new(title, table.span(), "where from?").help(help));
            None
        }
    }
}

fn vault(mut table: Table<'_>, report: &mut Report) -> Option<Vault> {
    let address = table.required_text("address", report).and_then(|text| server(&text, report));
    let path = table.required_text("path", report).and_then(|text| path(&text, report));
    let field = table.text("field", report).map(|text| text.value);
    let namespace = table.text("namespace", report).map(|text| text.value);
    let ca = table.text("ca", report).and_then(|text| absolute(text, report));
    let auth = auth(&mut table, report);
    table.finish(report);
    Some(Vault { address: address?, path: path?, field, namespace, ca, auth: auth? })
}

fn auth(table: &mut Table<'_>, report: &mut Report) -> Option<VaultAuth> {
    let app_role = table.word("auth", &[("token", false), ("approle", true)], report);
    let app_role = app_role.is_some_and(|word| word.value);
    let spans = ["role_id", "mount"].map(|key| table.key_span(key));
    if app_role {
        let role_id = table.required_text("role_id", report).map(|text| text.value);
        let mount = table.text("mount", report).map(|text| text.value);
        return Some(VaultAuth::AppRole {
            role_id: role_id?,
            mount: mount.unwrap_or_else(|| "approle".to_owned()),
        });
    }
    for (key, span) in ["role_id", "mount"].into_iter().zip(spans) {
        if let (Some(span), Some(_)) = (span, table.take(key)) {
            let title = format!("`{key}` belongs to `auth = \"approle\"`");
            report.push(Diagnostic::new(title, span, "this proves itself by a token"));
        }
    }
    Some(VaultAuth::Token)
}

/// What is read, below `/v1/`.
fn path(text: &At<String>, report: &mut Report) -> Option<String> {
    let part = |part: &str| part.is_empty() || part == "." || part == "..";
    let odd = text.value.split('/').any(part) || text.value.contains(['?', '#', '%', '\\', ' ']);
    if !odd && !text.value.starts_with("v1/") {
        return Some(text.value.clone());
    }
    let title = format!("{:?} is no path of a secret", text.value);
    let help =
        "as the server's interface has it, below `/v1/`: \"secret/data/scout\" (KV 2), \"aws/creds/scout\"";
    report.push(Diagnostic::new(title, text.span.clone(), "no `/` at its ends, no escapes").help(help));
    None
}

fn absolute(text: At<String>, report: &mut Report) -> Option<String> {
    if text.value.starts_with('/') {
        return Some(text.value);
    }
    let title = format!("{:?} is not absolute", text.value);
    report.push(Diagnostic::new(title, text.span, "start it with `/`"));
    None
}

/// `command`, `timeout`, `every`: a program of the operator's that prints a secret.
pub(super) fn command(mut table: Table<'_>, report: &mut Report) -> Option<SecretCommand> {
    if table.key_span("command").is_none() {
        table.missing("command", report);
    }
    let argv = table.list("command", report).map(|list| {
        let words = list.value.iter().map(|item| value::text("command", item, report));
        words.collect::<Vec<_>>()
    });
    let timeout = table.formed("timeout", units::DURATION, report).and_then(|text| timeout(&text, report));
    let every = table.formed("every", units::DURATION, report).and_then(|text| seconds(&text, report));
    table.finish(report);
    let mut words = argv?.into_iter().collect::<Option<Vec<_>>>()?.into_iter();
    let program = absolute(words.next()?, report)?;
    let argv = std::iter::once(program).chain(words.map(|word| word.value)).collect();
    Some(SecretCommand { argv, timeout: timeout.unwrap_or(TIMEOUT), every })
}

fn timeout(text: &At<String>, report: &mut Report) -> Option<u64> {
    let found = seconds(text, report)?;
    if found <= LONGEST {
        return Some(found);
    }
    let title = format!("a program has at most {LONGEST} seconds");
    report.push(Diagnostic::new(title, text.span.clone(), "the agent's start waits for it"));
    None
}
