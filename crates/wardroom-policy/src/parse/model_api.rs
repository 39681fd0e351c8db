//! `[[model_api]]`: where the answers of a model's API say what was used.

use wardroom_model::{HostName, HostPattern};

use super::table::Table;
use super::{Source, hosts, network};
use crate::credential::{ModelApi, ModelFields, ModelShape};
use crate::diagnose::{At, Diagnostic, Report};
use crate::network::NetworkPolicy;

pub(crate) fn read(
    source: Source<'_>,
    tables: Vec<Table<'_>>,
    network: &NetworkPolicy,
    report: &mut Report,
) -> Vec<ModelApi> {
    tables.into_iter().filter_map(|table| one(source, table, network, report)).collect()
}

fn one(
    source: Source<'_>,
    mut table: Table<'_>,
    network: &NetworkPolicy,
    report: &mut Report,
) -> Option<ModelApi> {
    let at = source.at(&table.first_key());
    let host = table.required_text("host", report).and_then(|text| host(&text, network, report));
    let path = table.required_text("path", report).and_then(|text| network::path(&text, report));
    let like = table.key_span("like");
    let shape = match like {
        Some(_) => table.word("like", &SHAPES, report).map(|word| shape(word.value)),
        None => fields(&mut table, report).map(ModelShape::Fields),
    };
    let spare = FIELDS.iter().filter(|_| like.is_some());
    for key in spare {
        if let (Some(span), Some(_)) = (table.key_span(key), table.take(key)) {
            let title = format!("`{key}` and `like` exclude each other");
            report.push(Diagnostic::new(title, span, "`like` says where the numbers are"));
        }
    }
    table.finish(report);
    Some(ModelApi { host: host?, path: path?, shape: shape?, at })
}

/// Only what the gate looks at can be counted.
fn host(text: &At<String>, network: &NetworkPolicy, report: &mut Report) -> Option<HostName> {
    let pattern = hosts::pattern(text, report)?;
    let HostPattern::Exact(host) = pattern.value else {
        let title = "an API has exactly one host";
        report.push(Diagnostic::new(title, pattern.span, "a wildcard is many"));
        return None;
    };
    if !network.inspected().iter().any(|pattern| pattern.matches(&host)) {
        let title = format!("nothing makes the gate look at `{host}`, so nothing is counted");
        let help = "bind a `[[credential]]` to it, or write `inspect = true` into its rule";
        report.push(Diagnostic::new(title, pattern.span, "never looked at").help(help));
    }
    Some(host)
}

fn fields(table: &mut Table<'_>, report: &mut Report) -> Option<ModelFields> {
    let mut required = |key| table.required_text(key, report).and_then(|text| pointer(text, report));
    let (model, input, output) = (required("model"), required("input"), required("output"));
    let mut optional = |key| table.text(key, report).and_then(|text| pointer(text, report));
    let (cached, max_output) = (optional("cached"), optional("max_output"));
    let includes = table.boolean("input_includes_cached", report);
    Some(ModelFields {
        model: model?,
        input: input?,
        output: output?,
        cached,
        input_includes_cached: includes.is_some_and(|found| found.value),
        max_output,
    })
}

/// RFC 6901.
fn pointer(text: At<String>, report: &mut Report) -> Option<String> {
    let mut escapes = text.value.split('~').skip(1);
    if text.value.starts_with('/') && escapes.all(|rest| rest.starts_with(['0', '1'])) {
        return Some(text.value);
    }
    let title = format!("{:?} is no JSON pointer", text.value);
    let help = "as \"/usage/output_tokens\" (RFC 6901)";
    report.push(Diagnostic::new(title, text.span, "it starts with `/`").help(help));
    None
}

#[derive(Debug, Clone, Copy)]
enum Known {
    Messages,
    Chat,
    Responses,
}

fn shape(known: Known) -> ModelShape {
    match known {
        Known::Messages => ModelShape::AnthropicMessages,
        Known::Chat => ModelShape::OpenaiChat,
        Known::Responses => ModelShape::OpenaiResponses,
    }
}

const SHAPES: [(&str, Known); 3] = [
    ("anthropic-messages", Known::Messages),
    ("openai-chat", Known::Chat),
    ("openai-responses", Known::Responses),
];
const FIELDS: [&str; 6] = ["model", "input", "output", "cached", "max_output", "input_includes_cached"];
