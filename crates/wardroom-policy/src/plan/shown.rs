//! What keeps a policy from being planned, shown where it stands in the policy's text.

use wardroom_model::RuleRef;

use super::PlanError;
use crate::diagnose::{Diagnostic, PolicyErrors, Report, Span};

/// The mistakes as those of the text itself are shown. What has no place in it stands at its beginning.
#[must_use]
pub fn in_text(file: &str, text: &str, mistakes: &[PlanError]) -> PolicyErrors {
    let mut report = Report::default();
    for mistake in mistakes {
        let (span, prefix) = match place(mistake) {
            Some((at, written)) => (span(text, at, written), format!("{at}: ")),
            None => (0..0, String::new()),
        };
        let whole = mistake.to_string();
        report.push(Diagnostic::new(whole.strip_prefix(&prefix).unwrap_or(&whole), span, ""));
    }
    report.into_errors(file, text)
}

/// The line that is meant, and the words in it.
fn place(mistake: &PlanError) -> Option<(&RuleRef, &str)> {
    match mistake {
        PlanError::NoHome { path, at }
        | PlanError::Path { path, at, .. }
        | PlanError::Exposes { path, at, .. }
        | PlanError::Collision { path, at, .. } => Some((at, path)),
        PlanError::AppBehindLink { app, at, .. } => Some((at, app)),
        PlanError::Unsupported(_)
        | PlanError::NoCommand(_)
        | PlanError::Landlock { .. }
        | PlanError::NoSystem(_) => None,
    }
}

/// The words where they stand from that line on, and else the line: a list may go on below its key.
fn span(text: &str, at: &RuleRef, written: &str) -> Span {
    let before = usize::try_from(at.line).unwrap_or(usize::MAX).saturating_sub(1);
    let start: usize = text.split_inclusive('\n').take(before).map(str::len).sum();
    let rest = text.get(start..).unwrap_or_default();
    // In its quotes, so that `/a` is not found in `/a/b`.
    let quoted = ['"', '\''].iter().filter_map(|quote| rest.find(&format!("{quote}{written}{quote}"))).min();
    match quoted {
        Some(found) => start + found..start + found + written.len() + 2,
        None => start..start + rest.lines().next().map_or(0, str::len),
    }
}
