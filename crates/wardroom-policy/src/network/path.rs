//! Paths of requests: one canonical spelling, and the patterns that rules write.
//!
//! A path that servers read in more than one way has no canonical spelling. It is *ambiguous*, and no pattern matches it:
//! whoever permits `/public/**` has not permitted what some server finds behind `/public/..%2fadmin`.

use std::fmt::{self, Display, Write};

/// The canonical spelling of a path, or `None` for one that servers read in more than one way.
///
/// RFC 3986, 6.2.2: escapes of unreserved characters are decoded, the others get capital digits, and dot segments are
/// removed (5.2.4). A canonical path is its own canonical spelling.
pub(crate) fn canonical(raw: &str) -> Option<String> {
    if raw.is_empty() {
        return Some("/".to_owned());
    }
    let segments: Option<Vec<String>> = raw.strip_prefix('/')?.split('/').map(segment).collect();
    let segments = segments?;
    // An empty segment is only at the end, as in `/a/`: elsewhere some servers take `//` for `/`, and others do not.
    let (last, before) = segments.split_last()?;
    if before.iter().any(String::is_empty) {
        return None;
    }
    let mut kept: Vec<&str> = Vec::new();
    for segment in before {
        match segment.as_str() {
            "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    match last.as_str() {
        "." => kept.push(""),
        ".." => {
            kept.pop();
            kept.push("");
        }
        other => kept.push(other),
    }
    Some(format!("/{}", kept.join("/")))
}

/// One segment in its canonical spelling, or `None` where it is ambiguous.
fn segment(raw: &str) -> Option<String> {
    let mut spelled = String::with_capacity(raw.len());
    let mut meant = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let byte = escaped(bytes.next()?, bytes.next()?)?;
                if !unreserved(byte) {
                    write!(spelled, "%{byte:02X}").ok()?;
                    meant.push(byte);
                    continue;
                }
                byte
            }
            // Unescaped, these are parameters to some servers, separators or the end of the path to others, or no
            // part of a URI at all.
            b';' | b'\\' | b'?' | b'#' | 0x00..=0x20 | 0x7f.. => return None,
            plain => plain,
        };
        spelled.push(char::from(byte));
        meant.push(byte);
    }
    plain_meaning(&meant).then_some(spelled)
}

/// Whether servers agree on what a decoded segment means.
fn plain_meaning(meant: &[u8]) -> bool {
    // Overlong forms and half characters, which lenient decoders take for `.` and `/`.
    let Ok(text) = std::str::from_utf8(meant) else { return false };
    let odd = |c: char| c.is_control() || matches!(c, '/' | '\\' | ';' | '%') || looks_like_one_of_them(c);
    // Windows drops dots and spaces at the end of a name, which makes `.. ` and `...` more than names.
    let only_dots = text.bytes().any(|byte| byte == b' ' || byte == b'.')
        && text.bytes().all(|byte| byte == b' ' || byte == b'.')
        && text != "."
        && text != "..";
    !text.contains(odd) && !only_dots
}

/// Characters that compatibility normalisation (UAX 15) or a best-fit code page turns into a dot, a slash, a backslash, a
/// semicolon or a percent sign.
fn looks_like_one_of_them(c: char) -> bool {
    matches!(
        c,
        '\u{2024}'
            ..='\u{2026}'
                | '\u{2044}'
                | '\u{2215}'
                | '\u{2216}'
                | '\u{37e}'
                | '\u{fe52}'
                | '\u{fe54}'
                | '\u{fe68}'
                | '\u{fe6a}'
                | '\u{ff05}'
                | '\u{ff0e}'
                | '\u{ff0f}'
                | '\u{ff1b}'
                | '\u{ff3c}'
    )
}

fn escaped(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

/// RFC 3986, 2.3.
fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// A path as a rule writes it: `*` is one segment that is not empty, `**` any number of segments, also none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    parts: Vec<Part>,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PatternError {
    /// A `*` beside other characters.
    Star,
    /// It could never match; paths are compared in this spelling.
    Spelling(String),
    /// It could never match: no canonical path is like this.
    Ambiguous,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    One,
    Any,
    Literal(String),
}

impl PathPattern {
    /// Reads a pattern. Escapes are written as canonical paths have them, and what is not ASCII as it is.
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        let parts: Vec<Part> = text.strip_prefix('/').unwrap_or(text).split('/').map(part).collect();
        if parts.iter().any(|part| matches!(part, Part::Literal(literal) if literal.contains('*'))) {
            return Err(PatternError::Star);
        }
        let pattern = Self { text: text.to_owned(), parts };
        let spelling = encoded(text);
        match canonical(&spelling) {
            Some(canonical) if canonical == spelling => Ok(pattern),
            Some(canonical) => Err(PatternError::Spelling(canonical)),
            None => Err(PatternError::Ambiguous),
        }
    }

    /// A pattern that no path matches, for a text that is none.
    pub(crate) fn never(text: &str) -> Self {
        // Segments have no slash.
        Self { text: text.to_owned(), parts: vec![Part::Literal(format!("/{text}"))] }
    }

    /// Whether a canonical path is one of the pattern's.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else { return false };
        let segments: Vec<&str> = path.split('/').collect();
        covers(&self.parts, &segments, |part, segment| match part {
            Part::One => !segment.is_empty(),
            Part::Literal(literal) => literal == segment,
            Part::Any => false,
        })
    }

    /// Whether every path of another pattern is also one of this one's. A no may be wrong for patterns with several `**`.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        covers(&self.parts, &other.parts, |part, other| match (part, other) {
            (Part::One, Part::One) => true,
            (Part::One, Part::Literal(literal)) => !literal.is_empty(),
            (Part::Literal(one), Part::Literal(other)) => one == other,
            (Part::One | Part::Literal(_), _) | (Part::Any, _) => false,
        })
    }
}

impl Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Matches parts against a sequence: [`Part::Any`] takes as few as it can, and one more each time the rest does not fit.
/// Time grows with the product of both lengths at most.
fn covers<T>(parts: &[Part], items: &[T], fits: impl Fn(&Part, &T) -> bool) -> bool {
    let (mut part, mut item) = (0_usize, 0_usize);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match (parts.get(part), items.get(item)) {
            (None, None) => return true,
            (Some(Part::Any), _) => {
                retry = Some((part, item));
                part += 1;
                continue;
            }
            (Some(wanted), Some(found)) if fits(wanted, found) => {
                part += 1;
                item += 1;
                continue;
            }
            (Some(_), _) | (None, Some(_)) => {}
        }
        match retry {
            Some((any, from)) if from < items.len() => {
                retry = Some((any, from + 1));
                part = any + 1;
                item = from + 1;
            }
            Some(_) | None => return false,
        }
    }
}

fn part(text: &str) -> Part {
    match text {
        "*" => Part::One,
        "**" => Part::Any,
        literal => Part::Literal(encoded(literal)),
    }
}

/// A text with what is not ASCII in escapes, as canonical paths have it.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii() {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
