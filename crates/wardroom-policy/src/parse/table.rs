//! Reads one table of a policy key by key. What was asked for is known; what is left over is a mistake, so a key that
//! nobody reads cannot be ignored.

use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::value::{integer, kind, lines, number, one_of, text, twice, unknown_word, wrong_kind};
use crate::diagnose::{At, Diagnostic, Report, Span, did_you_mean};

/// A table being read.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    /// How the table is called in messages, as `[agent]`.
    name: &'static str,
    span: Span,
    entries: Vec<Entry<'a>>,
    asked: Vec<&'static str>,
}

#[derive(Debug)]
struct Entry<'a> {
    key: &'a str,
    key_span: Span,
    value: Option<&'a Spanned<DeValue<'a>>>,
}

impl<'a> Table<'a> {
    pub(crate) fn new(name: &'static str, table: &'a DeTable<'a>, span: Span) -> Self {
        let entries = table
            .iter()
            .map(|(key, value)| Entry { key: key.get_ref(), key_span: key.span(), value: Some(value) })
            .collect();
        Self { name, span, entries, asked: Vec::new() }
    }

    /// Where the table's first key stands; the header where it has none.
    pub(crate) fn first_key(&self) -> Span {
        let keys = self.entries.iter().map(|entry| entry.key_span.clone());
        keys.min_by_key(|span| span.start).unwrap_or_else(|| self.span.clone())
    }

    /// Where the table stands: its header, or the whole where it is inline.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Where a key stands.
    pub(crate) fn key_span(&self, key: &str) -> Option<Span> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| entry.key_span.clone())
    }

    /// The value of a key, for telling its kind before it is read.
    pub(crate) fn peek(&self, key: &str) -> Option<&'a DeValue<'a>> {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        entry.and_then(|entry| entry.value).map(Spanned::get_ref)
    }

    /// The value of a key, taken out.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.push(key);
        self.entries.iter_mut().find(|entry| entry.key == key).and_then(|entry| entry.value.take())
    }

    /// A text that is not empty.
    pub(crate) fn text(&mut self, key: &'static str, report: &mut Report) -> Option<At<String>> {
        let value = self.take(key)?;
        text(key, value, report)
    }

    /// A text of some form; a value of another kind is told that form, as `a size between quotes, as "4 GiB"`.
    pub(crate) fn formed(
        &mut self,
        key: &'static str,
        form: &str,
        report: &mut Report,
    ) -> Option<At<String>> {
        let value = self.take(key)?;
        let DeValue::String(_) = value.get_ref() else {
            report.push(wrong_kind(key, form, value));
            return None;
        };
        text(key, value, report)
    }

    /// A text of several lines.
    pub(crate) fn lines(&mut self, key: &'static str, report: &mut Report) -> Option<At<String>> {
        let value = self.take(key)?;
        lines(key, value, report)
    }

    /// As [`Self::text`]; its absence is a mistake.
    pub(crate) fn required_text(&mut self, key: &'static str, report: &mut Report) -> Option<At<String>> {
        if self.key_span(key).is_none() {
            self.missing(key, report);
        }
        self.text(key, report)
    }

    /// Says that a key is missing.
    pub(crate) fn missing(&self, key: &str, report: &mut Report) {
        let label = format!("{} needs `{key}`", self.name);
        report.push(Diagnostic::new(format!("`{key}` is missing"), self.span.clone(), label));
    }

    /// A list of texts, none of them empty, none of them twice. `None` where the key is absent or not a list.
    pub(crate) fn texts(&mut self, key: &'static str, report: &mut Report) -> Option<At<Vec<At<String>>>> {
        let list = self.list(key, report)?;
        let found: Vec<_> = list.value.iter().filter_map(|item| text(key, item, report)).collect();
        twice(key, &found, report);
        Some(At { value: found, span: list.span })
    }

    /// A list of values, not empty.
    pub(crate) fn list(
        &mut self,
        key: &'static str,
        report: &mut Report,
    ) -> Option<At<Vec<&'a Spanned<DeValue<'a>>>>> {
        let value = self.take(key)?;
        let DeValue::Array(array) = value.get_ref() else {
            let found = kind(value.get_ref());
            report.push(
                Diagnostic::new(format!("`{key}` is a list"), value.span(), format!("this is {found}"))
                    .help("write the values between `[` and `]`"),
            );
            return None;
        };
        let items: Vec<_> = array.iter().collect();
        if items.is_empty() {
            let title = format!("`{key}` is empty");
            let help = format!("an empty list permits nothing: leave `{key}` out, or name something");
            report.push(Diagnostic::new(title, value.span(), "names nothing").help(help));
        }
        Some(At { value: items, span: value.span() })
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, key: &'static str, report: &mut Report) -> Option<At<bool>> {
        let value = self.take(key)?;
        if let DeValue::Boolean(found) = value.get_ref() {
            return Some(At { value: *found, span: value.span() });
        }
        report.push(wrong_kind(key, "true or false, without quotes", value));
        None
    }

    /// A whole number within a range.
    pub(crate) fn integer(
        &mut self,
        key: &'static str,
        range: Range<u64>,
        report: &mut Report,
    ) -> Option<At<u64>> {
        let value = self.take(key)?;
        integer(key, value, range, report)
    }

    /// A number within a range, whole or not.
    pub(crate) fn number(
        &mut self,
        key: &'static str,
        range: RangeInclusive<f64>,
        report: &mut Report,
    ) -> Option<At<f64>> {
        let value = self.take(key)?;
        number(key, value, &range, report)
    }

    /// One word of a closed list.
    pub(crate) fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
        report: &mut Report,
    ) -> Option<At<T>> {
        let value = self.take(key)?;
        let DeValue::String(text) = value.get_ref() else {
            report.push(wrong_kind(key, &one_of(words.iter().map(|(word, _)| *word)), value));
            return None;
        };
        let found = words.iter().find(|(word, _)| *word == text.as_ref()).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let text = At { value: text.to_string(), span: value.span() };
            report.push(unknown_word(key, &text, words.iter().map(|(word, _)| *word)));
        }
        found.map(|meaning| At { value: meaning, span: value.span() })
    }

    /// A table below this one.
    pub(crate) fn table(
        &mut self,
        key: &'static str,
        name: &'static str,
        report: &mut Report,
    ) -> Option<Self> {
        let value = self.take(key)?;
        as_table(name, value, report)
    }

    /// Every table of an array of tables (`[[name]]`).
    pub(crate) fn tables(&mut self, key: &'static str, name: &'static str, report: &mut Report) -> Vec<Self> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let DeValue::Array(array) = value.get_ref() else {
            let title = format!("`{key}` is a list of rules");
            let label = format!("this is {}", kind(value.get_ref()));
            report.push(Diagnostic::new(title, value.span(), label).help(format!("write `[{name}]`")));
            return Vec::new();
        };
        array.iter().filter_map(|item| as_table(name, item, report)).collect()
    }

    /// What is left: keys with any text as value, for tables whose keys are the operator's to choose.
    pub(crate) fn rest_as_texts(&mut self, report: &mut Report) -> Vec<(At<String>, At<String>)> {
        let mut found = Vec::new();
        for entry in &mut self.entries {
            let Some(value) = entry.value.take() else { continue };
            let key = At { value: entry.key.to_owned(), span: entry.key_span.clone() };
            match value.get_ref() {
                DeValue::String(text) => {
                    found.push((key, At { value: text.to_string(), span: value.span() }));
                }
                DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_)
                | DeValue::Table(_) => {
                    // Such a key may be any text.
                    let shown = entry.key.escape_debug().to_string();
                    report.push(wrong_kind(&shown, "a text between quotes", value));
                }
            }
        }
        found
    }

    /// Ends the reading: whatever nobody asked for is unknown.
    pub(crate) fn finish(self, report: &mut Report) {
        let Self { name, span: _, entries, asked } = self;
        for entry in entries.iter().filter(|entry| entry.value.is_some()) {
            let known = asked.join("`, `");
            let help = did_you_mean(entry.key, asked.iter().copied())
                .unwrap_or_else(|| format!("{name} knows `{known}`"));
            let title = format!("unknown key {:?}", entry.key);
            let label = format!("not a key of {name}");
            report.push(Diagnostic::new(title, entry.key_span.clone(), label).help(help));
        }
    }
}

fn as_table<'a>(
    name: &'static str,
    value: &'a Spanned<DeValue<'a>>,
    report: &mut Report,
) -> Option<Table<'a>> {
    if let DeValue::Table(table) = value.get_ref() {
        return Some(Table::new(name, table, value.span()));
    }
    let label = format!("this is {}", kind(value.get_ref()));
    report.push(Diagnostic::new(format!("{name} is a table"), value.span(), label));
    None
}
