//! `[files]`: what of the host the agent sees. What is not listed does not exist inside.

use super::Source;
use super::table::Table;
use crate::diagnose::{At, Diagnostic, Report};
use crate::policy::{Files, PathRule};

pub(crate) fn read(source: Source<'_>, table: Option<Table<'_>>, report: &mut Report) -> Files {
    let Some(mut table) = table else {
        let none = Vec::new;
        return Files {
            workspace: None,
            read_only: none(),
            read_write: none(),
            sensitive: Vec::new(),
            audit_reads: AUDIT_READS,
            canaries: CANARIES,
        };
    };
    let workspace = table.text("workspace", report).and_then(|text| path(source, text, report));
    let read_only = paths(source, "read_only", &mut table, report);
    let read_write = paths(source, "read_write", &mut table, report);
    let sensitive = table.texts("sensitive", report).map(|list| sensitive(list.value, report));
    let audit_reads = table.word("audit_reads", &[("sensitive", true), ("off", false)], report);
    let canaries = table.word("canaries", &[("on", true), ("off", false)], report);
    table.finish(report);
    Files {
        workspace,
        read_only,
        read_write,
        sensitive: sensitive.unwrap_or_default(),
        audit_reads: audit_reads.map_or(AUDIT_READS, |word| word.value),
        canaries: canaries.map_or(CANARIES, |word| word.value),
    }
}

fn paths(source: Source<'_>, key: &'static str, table: &mut Table<'_>, report: &mut Report) -> Vec<PathRule> {
    let list = table.texts(key, report).map(|list| list.value).unwrap_or_default();
    list.into_iter().filter_map(|text| path(source, text, report)).collect()
}

/// A host path: absolute or below `~/`, one way to write it, and not so wide that it gives everything away.
pub(crate) fn path(source: Source<'_>, text: At<String>, report: &mut Report) -> Option<PathRule> {
    match complaint(&text.value) {
        None => Some(PathRule { at: source.at(&text.span), path: text.value }),
        Some((title, help)) => {
            report.push(Diagnostic::new(title, text.span, "this path").help(help));
            None
        }
    }
}

fn complaint(path: &str) -> Option<(String, &'static str)> {
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() {
        return Some(("the whole file system cannot be given to an agent".to_owned(), OWN));
    }
    if trimmed == "~" {
        return Some((
            "your whole home directory cannot be given to an agent: your keys are in it".to_owned(),
            OWN,
        ));
    }
    let below = path.strip_prefix("~/").or_else(|| path.strip_prefix('/'));
    let Some(below) = below else {
        return Some((format!("{path:?} is not absolute"), "start it with `/` or `~/`"));
    };
    if below.split('/').any(|part| part == ".." || part == ".") {
        return Some((format!("{path:?} has `.` or `..` in it"), "write the path without them"));
    }
    // PATH_MAX of Linux, with its final NUL.
    (path.len() > 4095).then(|| ("a path has at most 4095 bytes".to_owned(), "use a shorter one"))
}

/// Sensitive paths are paths inside: absolute, a trailing `/` meaning everything beneath.
fn sensitive(list: Vec<At<String>>, report: &mut Report) -> Vec<String> {
    let mut found = Vec::new();
    for item in list {
        let inside = item.value.starts_with('/') && item.value != "/";
        let odd = item.value.contains("//") || item.value.split('/').any(|part| part == ".." || part == ".");
        if inside && !odd {
            found.push(item.value);
        } else {
            let title = format!("{:?} is no path inside", item.value);
            let help = "an absolute path as the agent sees it, as \"/workspace/.env\"; with a `/` at the end, everything beneath";
            report.push(Diagnostic::new(title, item.span, "this path").help(help));
        }
    }
    found
}

const OWN: &str = "give it a directory of its own: `mkdir -p ~/work/NAME`, and `workspace = \"~/work/NAME\"`";

/// Where the policy is silent. To ask about every open costs a program that reads many files (Python's imports) as much time
/// again; the decoys cost it nothing, and show who is after keys.
const AUDIT_READS: bool = false;
const CANARIES: bool = true;
