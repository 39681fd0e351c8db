//! Where in an answer a value might stand: within a run of the bytes that tokens and their spellings are made of, which base64
//! may have broken into lines.

use std::ops::Range;

use memchr::memmem;
use zeroize::Zeroizing;

/// The shortest line that may be one of many of base64. Encoders break after 60 (OpenSSL, GitHub), 64 (PEM) or 76 (MIME).
pub(super) const LINE: usize = 40;

/// Whether a byte may stand in a token, or in what an encoder makes of one. What closes a JSON value, an event or a line does not,
/// so that what ends with it is whole.
pub(super) fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"'`,<>()[]{}|".contains(&byte)
}

/// Whether all of these may.
pub(super) fn are_of_tokens(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| is_of_token(*byte))
}

/// The length of the run at the end of these bytes.
pub(super) fn run_at_the_end(bytes: &[u8]) -> usize {
    let mut rest = without_token(bytes);
    while let Some(line) = without_break(rest) {
        let before = without_token(line);
        if line.len() - before.len() < LINE {
            break;
        }
        rest = before;
    }
    bytes.len() - rest.len()
}

fn without_token(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| !is_of_token(*byte)).map_or(0, |at| at + 1);
    bytes.get(..end).unwrap_or_default()
}

/// What stands before a line's end, of which only the begin may have come.
fn without_break(bytes: &[u8]) -> Option<&[u8]> {
    let ends: [&[u8]; 3] = [b"\r\n", b"\n", b"\r"];
    ends.iter().find_map(|end| bytes.strip_suffix(*end))
}

/// These bytes without the breaks between lines of base64, and where each that is left stood. None where there is no such break.
/// A string of JSON has its breaks as escapes.
pub(super) fn joined(bytes: &[u8]) -> Option<(Zeroizing<Vec<u8>>, Vec<usize>)> {
    let mut breaks = breaks(bytes);
    if breaks.is_empty() {
        return None;
    }
    breaks.sort_by_key(|gap| gap.start);
    let begins = [0].into_iter().chain(breaks.iter().map(|gap| gap.end));
    let ends = breaks.iter().map(|gap| gap.start).chain([bytes.len()]);
    let places: Vec<_> = begins.zip(ends).flat_map(|(begin, end)| begin..end).collect();
    let left = places.iter().filter_map(|at| bytes.get(*at).copied()).collect();
    Some((Zeroizing::new(left), places))
}

fn breaks(bytes: &[u8]) -> Vec<Range<usize>> {
    let ends = |end: &'static [u8], back: &'static [u8]| {
        memmem::find_iter(bytes, end).map(move |at| {
            let before = bytes.get(..at).unwrap_or_default();
            at - if before.ends_with(back) { back.len() } else { 0 }..at + end.len()
        })
    };
    let after_line = |gap: &Range<usize>| {
        let line = gap.start.checked_sub(LINE).and_then(|begin| bytes.get(begin..gap.start));
        line.is_some_and(are_of_tokens)
    };
    ends(b"\n", b"\r").chain(ends(br"\n", br"\r")).filter(after_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_event_a_line_or_a_value_of_json_ends_with_is_whole() {
        for whole in ["data: {\"a\":1}\n\n", "{\"a\":\"b\"}\n", "{\"a\":1}", "a word ", "a line\n", "[1,"] {
            assert_eq!(run_at_the_end(whole.as_bytes()), 0, "{whole}");
        }
        for (text, run) in [("two words", 5), ("sk-abc", 6), ("{\"key\":\"a%2Fb", 5)] {
            assert_eq!(run_at_the_end(text.as_bytes()), run, "{text}");
        }
        let line = "x".repeat(60);
        assert_eq!(run_at_the_end(format!("a {line}\r\n{line}\n").as_bytes()), 123);
        assert_eq!(run_at_the_end(format!("a {line}\nbc").as_bytes()), 63);
    }

    #[test]
    fn only_breaks_between_long_lines_of_tokens_are_taken_out() {
        let line = "x".repeat(60);
        for text in [
            format!("{line}\nab"),
            format!("{line}\r\nab"),
            format!("{line}\\nab"),
            format!("{line}\\r\\nab"),
        ] {
            let (left, places) = joined(text.as_bytes()).unwrap();
            assert_eq!(*left, format!("{line}ab").into_bytes(), "{text}");
            assert_eq!((places[59], places[60]), (59, text.len() - 2));
        }
        assert!(joined(b"a line\nand another, with enough words to be a long one\nof prose").is_none());
    }
}
