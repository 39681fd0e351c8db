//! What is wrong with a policy's text, said as a compiler would: the place, the text underlined, what to write instead.
//! It never prints; it makes text for whoever does.

use std::fmt::{self, Display};
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use thiserror::Error;
use wardroom_model::bytes::is_invisible;

/// A part of the policy's text, in bytes.
pub(crate) type Span = Range<usize>;

/// A value and where it stands in the text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// One mistake in a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    title: String,
    span: Span,
    label: String,
    related: Option<(Span, String)>,
    help: Option<String>,
}

impl Diagnostic {
    /// A mistake at a place; the label stands under the text and says what is wrong with it.
    pub(crate) fn new(title: impl Into<String>, span: Span, label: impl Into<String>) -> Self {
        Self { title: title.into(), span, label: label.into(), related: None, help: None }
    }

    /// Adds what to write instead.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds what to write instead, where something is known.
    pub(crate) fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }

    /// Adds a second place that the first one conflicts with.
    pub(crate) fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related = Some((span, label.into()));
        self
    }

    /// What is wrong, in one sentence.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Where, in bytes of the text.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }
}

/// Collects mistakes, so that one reading finds them all.
#[derive(Debug, Default)]
pub(crate) struct Report {
    found: Vec<Diagnostic>,
}

impl Report {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All that was found, in the order of the text.
    pub(crate) fn into_errors(mut self, file: &str, text: &str) -> PolicyErrors {
        self.found.sort_by_key(|diagnostic| (diagnostic.span.start, diagnostic.span.end));
        self.found.dedup();
        PolicyErrors { file: file.to_owned(), text: harmless(text), found: self.found }
    }
}

/// Every mistake of one policy file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct PolicyErrors {
    file: String,
    text: String,
    found: Vec<Diagnostic>,
}

impl PolicyErrors {
    /// The most mistakes that are shown; the rest is counted. Three screens are as much as anyone reads.
    pub const SHOWN: usize = 40;

    /// One mistake that has no place in the text.
    pub(crate) fn whole(file: &str, title: String, help: &str) -> Self {
        let found = vec![Diagnostic::new(title, 0..0, "").help(help)];
        Self { file: file.to_owned(), text: String::new(), found }
    }

    /// The mistakes, in the order of the text.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.found
    }

    /// The long form, with the text underlined; `coloured` adds ANSI escapes.
    #[must_use]
    pub fn render(&self, coloured: bool) -> String {
        let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
        let shown = self.found.iter().take(Self::SHOWN);
        let mut parts: Vec<String> =
            shown.map(|diagnostic| renderer.render(&[self.group(diagnostic)])).collect();
        parts.push(self.summary());
        parts.join("\n\n")
    }

    /// The short form: one line a mistake, `file:line:column: what; what to do`.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.found.iter().map(|diagnostic| self.line(diagnostic)).collect()
    }

    fn line(&self, diagnostic: &Diagnostic) -> String {
        let (line, column) = position(&self.text, diagnostic.span.start);
        let label =
            if diagnostic.label.is_empty() { String::new() } else { format!(": {}", diagnostic.label) };
        let help = diagnostic.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        let related = diagnostic.related.as_ref().map(|(span, label)| {
            let (line, column) = position(&self.text, span.start);
            format!(" {label} ({}:{line}:{column})", self.file)
        });
        let related = related.unwrap_or_default();
        if self.text.is_empty() {
            format!("{}: {}{help}", self.file, diagnostic.title)
        } else {
            format!("{}:{line}:{column}: {}{label}{related}{help}", self.file, diagnostic.title)
        }
    }

    fn group<'a>(&'a self, diagnostic: &'a Diagnostic) -> Group<'a> {
        let title = Level::ERROR.primary_title(&diagnostic.title);
        let mut group = Group::with_title(title);
        if !self.text.is_empty() {
            let primary = AnnotationKind::Primary.span(diagnostic.span.clone()).label(&diagnostic.label);
            let related = diagnostic
                .related
                .iter()
                .map(|(span, label)| AnnotationKind::Context.span(span.clone()).label(label));
            let snippet = Snippet::source(&self.text).path(&self.file).annotation(primary);
            group = group.element(snippet.annotations(related));
        }
        group.elements(diagnostic.help.iter().map(|help| Level::HELP.message(help)))
    }

    fn summary(&self) -> String {
        let hidden = self.found.len().saturating_sub(Self::SHOWN);
        let mistakes = if self.found.len() == 1 { "mistake" } else { "mistakes" };
        let tail = if hidden > 0 { format!(", {hidden} of them not shown") } else { String::new() };
        format!("{}: {} {mistakes}{tail}; nothing was started", self.file, self.found.len())
    }
}

impl Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.lines();
        let hidden = lines.len().saturating_sub(Self::SHOWN);
        lines.truncate(Self::SHOWN);
        if hidden > 0 {
            lines.push(format!("{}: {hidden} more", self.file));
        }
        f.write_str(&lines.join("\n"))
    }
}

/// The text as it may be shown: what a terminal would obey, or what hides its neighbours, is replaced by characters of the
/// same length, so that every span still holds.
fn harmless(text: &str) -> String {
    let replace = |c: char| match c {
        '\n' | '\t' => c,
        c if !c.is_control() && !is_invisible(c) => c,
        c if c.len_utf8() == 1 => '?',
        c if c.len_utf8() == 2 => '¿',
        c if c.len_utf8() == 4 => '\u{1f6ab}',
        // All that is left has three bytes, and so has this.
        _ => '\u{fffd}',
    };
    text.replace("\r\n", " \n").chars().map(replace).collect()
}

/// Line and column (in characters) of a byte, both from 1.
pub(crate) fn position(text: &str, byte: usize) -> (u32, u32) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(start..).unwrap_or_default().chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

/// "did you mean", for a word that is close to a known one.
pub(crate) fn did_you_mean(word: &str, known: impl IntoIterator<Item = &'static str>) -> Option<String> {
    // 0.7 by Jaro-Winkler accepts one or two typing mistakes in short words, and few chance neighbours.
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word.to_lowercase(), candidate), candidate))
        .filter(|(closeness, _)| *closeness > 0.7)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}
