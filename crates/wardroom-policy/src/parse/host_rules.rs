//! Which rule for host names a text breaks, for saying it. What is a host name is decided by the model's parser alone: this
//! is asked only where that has said no.

/// The rule that is broken, as a sentence; `None` where it is none of the usual ones.
pub(crate) fn broken_rule(text: &str) -> Option<String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let name = name.strip_suffix('.').unwrap_or(name);
    character(name)
        .or_else(|| empty_label(name))
        .or_else(|| name.split('.').find_map(label))
        .or_else(|| length(name))
        .or_else(|| international(name))
}

fn character(name: &str) -> Option<String> {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let bad = name.chars().find(|c| c.is_whitespace() || (c.is_ascii() && !letter(*c)))?;
    let what = match bad {
        '_' => "an underscore".to_owned(),
        ' ' => "a space".to_owned(),
        c => format!("{c:?}"),
    };
    Some(format!("{what} cannot stand in a host name"))
}

fn empty_label(name: &str) -> Option<String> {
    let rule = if name.contains("..") || name.ends_with('.') {
        "two dots with nothing between them"
    } else if name.starts_with('.') {
        "a host name cannot begin with a dot"
    } else {
        return None;
    };
    Some(rule.to_owned())
}

fn label(label: &str) -> Option<String> {
    if label.starts_with('-') || label.ends_with('-') {
        return Some(format!("the label {label:?} begins or ends with a hyphen"));
    }
    // RFC 1035, 2.3.4. What is not ASCII is longer once it is encoded, by an amount that is not known here.
    if label.is_ascii() && label.len() > 63 {
        return Some(format!("a label has at most 63 bytes, and one here has {}", label.len()));
    }
    // UTS #46, CheckHyphens.
    let reserved = label.get(2..4) == Some("--") && !label.to_ascii_lowercase().starts_with("xn--");
    reserved
        .then(|| format!("the label {label:?} has two hyphens where only encoded names (`xn--`) have them"))
}

fn length(name: &str) -> Option<String> {
    let length = name.len();
    (name.is_ascii() && length > 253).then(|| format!("a host name has at most 253 bytes, this has {length}"))
}

fn international(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    if lower.split('.').any(|label| label.starts_with("xn--")) {
        return Some("a label with `xn--` encodes no valid name".to_owned());
    }
    (!name.is_ascii()).then(|| "not a valid international name (IDNA), or too long as one".to_owned())
}
