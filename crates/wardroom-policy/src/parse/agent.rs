//! `[agent]`: who it is, what it runs, when it works.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::DeValue;
use wardroom_model::AgentName;

use super::table::Table;
use super::{units, value};
use crate::diagnose::{At, Diagnostic, Report, Span};
use crate::policy::{Agent, Hours, Outside};

/// What was read, and where the part stands that no version supports yet.
#[derive(Debug)]
pub(crate) struct AgentRead {
    pub(crate) agent: Agent,
    pub(crate) hours_span: Option<Span>,
}

pub(crate) fn read(mut table: Table<'_>, report: &mut Report) -> Option<AgentRead> {
    let name = table.required_text("name", report).and_then(|text| name(&text, report));
    let role = table.text("role", report).map(|text| text.value);
    let owner = table.text("owner", report).map(|text| text.value);
    let command = table.list("command", report).map(|list| command(&list, report));
    let environment = table.table("environment", "[agent.environment]", report);
    let environment = environment.map(|table| variables(table, report)).unwrap_or_default();
    let hours_span = table.key_span("hours");
    let hours = table.table("hours", "`hours`", report).and_then(|table| hours(table, report));
    table.finish(report);
    Some(AgentRead { agent: Agent { name: name?, role, owner, command, environment, hours }, hours_span })
}

fn name(text: &At<String>, report: &mut Report) -> Option<AgentName> {
    match AgentName::parse(&text.value) {
        Ok(name) => Some(name),
        Err(error) => {
            report.push(Diagnostic::new("not an agent's name", text.span.clone(), error.to_string()));
            None
        }
    }
}

/// The command: the program is not empty, arguments may be.
fn command(list: &At<Vec<&Spanned<DeValue<'_>>>>, report: &mut Report) -> Vec<String> {
    let words = list.value.iter().enumerate().filter_map(|(index, item)| match item.get_ref() {
        // An argument may be empty; a program's name may not.
        DeValue::String(word) if index > 0 && !word.contains('\0') => Some(word.to_string()),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => value::text("command", item, report).map(|text| text.value),
    });
    words.collect()
}

/// `[agent.environment]`: names and values of the operator's choice, except what would defeat the plan.
fn variables(mut table: Table<'_>, report: &mut Report) -> BTreeMap<String, String> {
    let found = table.rest_as_texts(report);
    table.finish(report);
    found.into_iter().filter_map(|(key, value)| variable(key, value, report)).collect()
}

fn variable(key: At<String>, value: At<String>, report: &mut Report) -> Option<(String, String)> {
    if !is_variable(&key.value) {
        let title = format!("{:?} is no variable's name", key.value);
        report.push(Diagnostic::new(title, key.span, "letters, digits and `_`, not starting with a digit"));
        return None;
    }
    if FIXED.contains(&key.value.as_str()) {
        let title = format!("`{}` is set by Wardroom", key.value);
        report.push(Diagnostic::new(title, key.span, "the cell fixes this variable").help("leave it out"));
        return None;
    }
    let looks_secret =
        SECRET.iter().any(|word| key.value.to_ascii_uppercase().split('_').any(|part| part == *word));
    if looks_secret {
        let title = format!("`{}` looks like a secret", key.value);
        let help = "an agent never holds a key: bind it with a `[[credential]]` block instead";
        report.push(Diagnostic::new(title, key.span, "the agent could read and send it").help(help));
        return None;
    }
    if value.value.contains('\0') {
        report.push(Diagnostic::new("a variable has no NUL", value.span, "NUL ends a variable's value"));
        return None;
    }
    Some((key.value, value.value))
}

pub(crate) fn is_variable(name: &str) -> bool {
    let body = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    body && !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn hours(mut table: Table<'_>, report: &mut Report) -> Option<Hours> {
    let days = table.required_text("days", report).and_then(|text| days(&text, report));
    let from = table.required_text("from", report).and_then(|text| time(&text, report));
    let to = table.required_text("to", report);
    let to_span = to.as_ref().map(|text| text.span.clone()).unwrap_or_else(|| table.span());
    let to = to.and_then(|text| time(&text, report));
    let zone = table.required_text("zone", report).and_then(|text| zone(text, report));
    let words = [("alert", Outside::Alert), ("pause", Outside::Pause), ("refuse", Outside::Refuse)];
    if table.key_span("outside").is_none() {
        table.missing("outside", report);
    }
    let outside = table.word("outside", &words, report).map(|word| word.value);
    table.finish(report);
    let (from, to) = (from?, to?);
    if to <= from {
        let title = "`to` is not later than `from`";
        let help = "hours over midnight are two agents' work, or `from = \"00:00\"` to `to = \"24:00\"`";
        report.push(Diagnostic::new(title, to_span, "these hours never come").help(help));
        return None;
    }
    Some(Hours { days: days?, from, to, zone: zone?, outside: outside? })
}

/// `Mon-Fri`, `Sat`, `Mon,Wed,Fri`, or a mixture.
fn days(text: &At<String>, report: &mut Report) -> Option<[bool; 7]> {
    let mut found = [false; 7];
    let day = |name: &str| DAYS.iter().position(|day| *day == name.trim());
    for part in text.value.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (Some(first), Some(last)) = (day(first), day(last)) else {
            let title = format!("{:?} is no list of days", text.value);
            let help = "write \"Mon-Fri\" or \"Mon,Wed,Sat\"";
            report.push(Diagnostic::new(title, text.span.clone(), "days are Mon to Sun").help(help));
            return None;
        };
        // Fri-Mon goes over Sunday.
        let length = (last + 7 - first) % 7;
        for step in 0..=length {
            if let Some(day) = found.get_mut((first + step) % 7) {
                *day = true;
            }
        }
    }
    Some(found)
}

fn time(text: &At<String>, report: &mut Report) -> Option<u16> {
    match units::minutes_of_day(&text.value) {
        Ok(minutes) => Some(minutes),
        Err(label) => {
            let title = format!("{:?} is no time of day", text.value);
            report.push(Diagnostic::new(title, text.span.clone(), label));
            None
        }
    }
}

/// The shape of an IANA name; whether the zone exists is known only to a time zone database, which is not pure.
fn zone(text: At<String>, report: &mut Report) -> Option<String> {
    let part = |part: &str| {
        let body = part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'+'));
        body && !part.is_empty()
    };
    if text.value == "UTC" || (text.value.contains('/') && text.value.split('/').all(part)) {
        return Some(text.value);
    }
    let title = format!("{:?} is no time zone", text.value);
    report.push(Diagnostic::new(title, text.span, "an IANA name, as \"Europe/Berlin\", or \"UTC\""));
    None
}

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Variables that are part of how a cell is built.
pub(crate) const FIXED: [&str; 8] =
    ["HOME", "USER", "LOGNAME", "SHELL", "PATH", "TMPDIR", "XDG_RUNTIME_DIR", "WARDROOM_AGENT"];

/// Parts of a variable's name that say that its value is secret.
const SECRET: [&str; 8] =
    ["KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "APIKEY", "CREDENTIALS"];
