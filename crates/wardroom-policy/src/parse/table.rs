//! Reads one table of a policy key by key. What was asked for is known; what is left over is a mistake, so a key that
//! nobody reads cannot be ignored.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

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

    /// A number above 0, whole or not.
    pub(crate) fn number(&mut self, key: &'static str, report: &mut Report) -> Option<At<f64>> {
        let value = self.take(key)?;
        let parsed = match value.get_ref() {
            DeValue::Float(float) => float.as_str().replace('_', "").parse::<f64>().ok(),
            DeValue::Integer(integer) => integer.as_str().parse::<f64>().ok(),
            DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => None,
        };
        match parsed {
            Some(number) if number.is_finite() && number > 0.0 => {
                Some(At { value: number, span: value.span() })
            }
            Some(_) | None => {
                report.push(wrong_kind(key, "a number above 0, without quotes", value));
                None
            }
        }
    }

    /// One word of a closed list.
    pub(crate) fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
        report: &mut Report,
    ) -> Option<At<T>> {
        let text = self.text(key, report)?;
        let found = words.iter().find(|(word, _)| *word == text.value).map(|(_, meaning)| *meaning);
        if found.is_none() {
            report.push(unknown_word(key, &text, words.iter().map(|(word, _)| *word)));
        }
        found.map(|value| At { value, span: text.span })
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
                | DeValue::Table(_) => report.push(wrong_kind(entry.key, "a text between quotes", value)),
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

/// A text that is not empty and has no control characters.
pub(crate) fn text(key: &str, value: &Spanned<DeValue<'_>>, report: &mut Report) -> Option<At<String>> {
    let DeValue::String(found) = value.get_ref() else {
        report.push(wrong_kind(key, "a text between quotes", value));
        return None;
    };
    if found.trim().is_empty() {
        let help = format!("leave `{key}` out, or write something");
        report.push(Diagnostic::new(format!("`{key}` is empty"), value.span(), "says nothing").help(help));
        return None;
    }
    if let Some(bad) = found.chars().find(|c| c.is_control()) {
        let title = format!("`{key}` has a control character");
        report.push(Diagnostic::new(title, value.span(), format!("{bad:?} cannot stand here")));
        return None;
    }
    Some(At { value: found.to_string(), span: value.span() })
}

/// A whole number within a range.
pub(crate) fn integer(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    range: Range<u64>,
    report: &mut Report,
) -> Option<At<u64>> {
    let DeValue::Integer(found) = value.get_ref() else {
        report.push(wrong_kind(key, "a whole number, without quotes", value));
        return None;
    };
    match u64::from_str_radix(found.as_str(), found.radix()) {
        Ok(number) if range.contains(&number) => Some(At { value: number, span: value.span() }),
        Ok(_) | Err(_) => {
            let title = format!("`{key}` is out of range");
            let label = format!("from {} to {}", range.start, range.end.saturating_sub(1));
            report.push(Diagnostic::new(title, value.span(), label));
            None
        }
    }
}

/// A word that is not on a closed list.
pub(crate) fn unknown_word(
    key: &str,
    found: &At<String>,
    words: impl Iterator<Item = &'static str> + Clone,
) -> Diagnostic {
    let known: Vec<String> = words.clone().map(|word| format!("{word:?}")).collect();
    let label = format!("`{key}` is {}", known.join(" or "));
    let title = format!("unknown value {:?} for `{key}`", found.value);
    Diagnostic::new(title, found.span.clone(), label).maybe_help(did_you_mean(&found.value, words))
}

fn twice(key: &str, found: &[At<String>], report: &mut Report) {
    for (index, item) in found.iter().enumerate() {
        let earlier = found.iter().take(index).find(|earlier| earlier.value == item.value);
        if let Some(earlier) = earlier {
            let title = format!("{:?} stands twice in `{key}`", item.value);
            report.push(
                Diagnostic::new(title, item.span.clone(), "again here")
                    .related(earlier.span.clone(), "first here"),
            );
        }
    }
}

fn wrong_kind(key: &str, wanted: &str, value: &Spanned<DeValue<'_>>) -> Diagnostic {
    let label = format!("this is {}", kind(value.get_ref()));
    Diagnostic::new(format!("`{key}` is {wanted}"), value.span(), label)
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
