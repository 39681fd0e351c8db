//! Values of a policy's TOML, each of the one kind that its key takes.

use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::DeValue;
use wardroom_model::bytes::is_invisible;

use crate::diagnose::{At, Diagnostic, Report, did_you_mean};

/// A text of one line that is not empty and has no control characters and no invisible ones.
pub(crate) fn text(key: &str, value: &Spanned<DeValue<'_>>, report: &mut Report) -> Option<At<String>> {
    without(key, value, report, |c| c.is_control() || is_invisible(c))
}

/// A text of any number of lines that is not empty and has no other control characters.
pub(crate) fn lines(key: &str, value: &Spanned<DeValue<'_>>, report: &mut Report) -> Option<At<String>> {
    without(key, value, report, |c| (c.is_control() && !matches!(c, '\n' | '\r')) || is_invisible(c))
}

fn without(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    report: &mut Report,
    forbidden: impl Fn(char) -> bool,
) -> Option<At<String>> {
    let DeValue::String(found) = value.get_ref() else {
        report.push(wrong_kind(key, "a text between quotes", value));
        return None;
    };
    if found.trim().is_empty() {
        let help = format!("leave `{key}` out, or write something");
        report.push(Diagnostic::new(format!("`{key}` is empty"), value.span(), "says nothing").help(help));
        return None;
    }
    if let Some(bad) = found.chars().find(|c| forbidden(*c)) {
        let class = if bad.is_control() { "a control character" } else { "an invisible character" };
        let label = format!("U+{:04X} cannot stand here", u32::from(bad));
        report.push(Diagnostic::new(format!("`{key}` has {class}"), value.span(), label).help("take it out"));
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

/// A number within a range, whole or not.
pub(crate) fn number(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    range: &RangeInclusive<f64>,
    report: &mut Report,
) -> Option<At<f64>> {
    let bounds = format!("from {} to {}", range.start(), range.end());
    let found = match value.get_ref() {
        DeValue::Float(float) => float.as_str().replace('_', "").parse::<f64>().ok(),
        // What does not fit is out of every range that there is.
        DeValue::Integer(whole) => u32::from_str_radix(whole.as_str(), whole.radix()).ok().map(f64::from),
        DeValue::String(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => {
            report.push(wrong_kind(key, &format!("a number {bounds}, without quotes"), value));
            return None;
        }
    };
    // Not a number (`nan`) is in no range either.
    let found = found.filter(|number| range.contains(number));
    if found.is_none() {
        report.push(Diagnostic::new(format!("`{key}` is out of range"), value.span(), bounds));
    }
    found.map(|number| At { value: number, span: value.span() })
}

/// A closed list, as text.
pub(crate) fn one_of(words: impl Iterator<Item = &'static str>) -> String {
    words.map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" or ")
}

/// A word that is not on a closed list.
pub(crate) fn unknown_word(
    key: &str,
    found: &At<String>,
    words: impl Iterator<Item = &'static str> + Clone,
) -> Diagnostic {
    let label = format!("`{key}` is {}", one_of(words.clone()));
    let title = format!("unknown value {:?} for `{key}`", found.value);
    Diagnostic::new(title, found.span.clone(), label).maybe_help(did_you_mean(&found.value, words))
}

pub(crate) fn twice(key: &str, found: &[At<String>], report: &mut Report) {
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

pub(crate) fn wrong_kind(key: &str, wanted: &str, value: &Spanned<DeValue<'_>>) -> Diagnostic {
    let label = format!("this is {}", kind(value.get_ref()));
    Diagnostic::new(format!("`{key}` is {wanted}"), value.span(), label)
}

pub(crate) fn kind(value: &DeValue<'_>) -> &'static str {
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
