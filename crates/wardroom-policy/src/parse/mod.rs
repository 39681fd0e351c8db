//! Policy text to [`Policy`]. It finds every mistake of a file in one reading, and makes a policy only of a text without
//! any. Keys that nobody reads, values of another kind and rules that can never match are mistakes.

mod agent;
pub(crate) mod authorities;
mod conflicts;
mod credential;
mod files;
mod host_rules;
pub(crate) mod hosts;
mod isolation;
mod model_api;
mod network;
mod networks;
mod table;
mod units;
mod value;

use toml::de::DeTable;
use wardroom_model::RuleRef;

use crate::diagnose::{Diagnostic, PolicyErrors, Report, Span, position};
use crate::policy::{IsolationKind, Policy, Retention, Unsupported};
use table::Table;

/// The text of one policy file, for saying where things stand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl Source<'_> {
    pub(crate) fn at(self, span: &Span) -> RuleRef {
        RuleRef { file: self.file.to_owned(), line: position(self.text, span.start).0 }
    }
}

impl Policy {
    /// The longest text in bytes. A rule takes about 100, so this is room for 10,000; whoever reads a file should look
    /// at its size first and need not read a longer one.
    pub const MAX_BYTES: usize = 1 << 20;

    /// Parses a policy.
    ///
    /// `file_name` is how the operator knows the file; every rule and message carries it.
    ///
    /// # Errors
    /// Every mistake that could be found, not only the first.
    pub fn parse(file_name: &str, text: &str) -> Result<Self, PolicyErrors> {
        if text.len() > Self::MAX_BYTES {
            return Err(too_large(file_name, text.len()));
        }
        let (document, syntax) = DeTable::parse_recoverable(text);
        let mut report = Report::default();
        for error in syntax {
            let span = within(text, error.span().unwrap_or(0..0));
            report.push(Diagnostic::new(format!("not TOML: {}", error.message()), span, "here"));
        }
        if !report.is_empty() {
            // What the text means is uncertain from here on; mistakes found in it would mislead.
            return Err(report.into_errors(file_name, text));
        }
        let source = Source { file: file_name, text };
        let root = Table::new("a policy", document.get_ref(), 0..0);
        match read(source, root, &mut report) {
            Some(policy) if report.is_empty() => Ok(policy),
            Some(_) | None => Err(report.into_errors(file_name, text)),
        }
    }

    /// Parses a policy from bytes as read from a file.
    ///
    /// # Errors
    /// As [`Self::parse`], and for bytes that are not UTF-8.
    pub fn from_bytes(file_name: &str, bytes: &[u8]) -> Result<Self, PolicyErrors> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(too_large(file_name, bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.split(|byte| *byte == b'\n').count();
            let title = format!("not UTF-8: byte {} (line {line}) is no text", error.valid_up_to());
            PolicyErrors::whole(file_name, title, "save the file as UTF-8")
        })?;
        Self::parse(file_name, text)
    }
}

fn too_large(file: &str, length: usize) -> PolicyErrors {
    let title = format!("this file has {length} bytes; a policy has at most {}", Policy::MAX_BYTES);
    PolicyErrors::whole(file, title, "is this a policy file?")
}

/// A span that the text has: TOML's errors at the end of a text may point behind it.
fn within(text: &str, span: Span) -> Span {
    let start = span.start.min(text.len());
    start..span.end.clamp(start, text.len())
}

fn read(source: Source<'_>, mut root: Table<'_>, report: &mut Report) -> Option<Policy> {
    let agent_table = required(&mut root, "agent", "[agent]", "name = \"scout\"", report);
    let agent = agent_table.and_then(|table| agent::read(table, report));
    let isolation_table = required(&mut root, "isolation", "[isolation]", "kind = \"cell\"", report);
    let isolation = isolation_table.and_then(|table| isolation::read(source, table, report));
    let files = files::read(source, root.table("files", "[files]", report), report);
    let network = network::read(source, root.table("network", "[network]", report), report);
    let credentials = root.tables("credential", "[[credential]]", report);
    let environment = agent.as_ref().map(|read| &read.agent.environment);
    let taken = |name: &str| environment.is_some_and(|variables| variables.contains_key(name));
    let credentials = credential::read(source, credentials, &network, taken, report);
    let network = network.bound_to(credentials.iter().map(|credential| credential.host.clone()).collect());
    let model_apis = root.tables("model_api", "[[model_api]]", report);
    let model_apis = model_api::read(source, model_apis, &network, report);
    let retention = retention(source, root.table("ledger", "[ledger]", report), report);
    root.finish(report);

    let (agent, isolation) = (agent?, isolation?);
    let mut unsupported = Vec::new();
    if isolation.value.kind == IsolationKind::Vm {
        unsupported.push(not_yet(source, &isolation.span, "isolation `vm`"));
    }
    if let Some(span) = &agent.hours_span {
        unsupported.push(not_yet(source, span, "working hours"));
    }
    unsupported.sort_by_key(|item| item.at.line);
    Some(Policy {
        file: source.file.to_owned(),
        agent: agent.agent,
        isolation: isolation.value,
        files,
        network,
        credentials,
        model_apis,
        retention,
        unsupported,
    })
}

pub(crate) fn not_yet(source: Source<'_>, span: &Span, what: &str) -> Unsupported {
    Unsupported { at: source.at(span), what: what.to_owned() }
}

fn required<'a>(
    root: &mut Table<'a>,
    key: &'static str,
    name: &'static str,
    example: &str,
    report: &mut Report,
) -> Option<Table<'a>> {
    if root.key_span(key).is_none() {
        let missing = Diagnostic::new(format!("`{name}` is missing"), 0..0, "every policy has one");
        report.push(missing.help(format!("write `{name}`, and below it `{example}`")));
    }
    root.table(key, name, report)
}

/// `[ledger]`.
fn retention(source: Source<'_>, table: Option<Table<'_>>, report: &mut Report) -> Retention {
    let Some(mut table) = table else { return Retention::Forever };
    let form = format!("{}, or \"forever\"", units::DURATION);
    let text = table.formed("retention", &form, report);
    table.finish(report);
    let Some(text) = text else { return Retention::Forever };
    if text.value == "forever" {
        return Retention::Forever;
    }
    match units::seconds(&text.value) {
        Ok(seconds) => Retention::Longest { seconds, rule: source.at(&text.span) },
        Err(help) => {
            let title = format!("{:?} is no duration", text.value);
            let label = "a duration or \"forever\"";
            report.push(Diagnostic::new(title, text.span, label).help(help));
            Retention::Forever
        }
    }
}

#[cfg(test)]
mod tests;
