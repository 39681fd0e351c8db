//! Finds placeholders, of any agent of this host, in what is about to leave: one search for the host's tag in all of
//! its forms at once.
//!
//! What is found: the tag as it is and in base64 (an interface that takes files takes them so), percent-encoded in a target, in
//! the decoded user and password of basic authentication, across the parts of a body. What is not: a tag that was
//! encoded otherwise (base64 with a line's end within the tag, compression, `\u` escapes, the masked frames of a WebSocket). That hides nothing from anybody: a placeholder opens
//! nothing outside of the one place where the gate looks for it.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use crate::placeholder::Tag;

/// What is searched for.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    forms: AhoCorasick,
}

impl Search {
    /// None where the search cannot be made, which is as good as not knowing the tag.
    pub(crate) fn new(tag: &Tag) -> Option<Self> {
        let plain = [tag.as_str(), tag.upper()];
        let forms = plain.into_iter().flat_map(base64_forms).chain(plain.map(str::to_owned));
        // Leftmost matches are found by vector instructions; which is found first does not matter.
        let search = AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(forms);
        Some(Self { forms: search.ok()? })
    }

    /// Whether a placeholder stands in these bytes.
    pub(crate) fn hits(&self, bytes: &[u8]) -> bool {
        self.forms.is_match(bytes)
    }

    /// Whether one stands in a part of a target, percent-encoded or not.
    pub(crate) fn hits_encoded(&self, text: &str) -> bool {
        self.hits(text.as_bytes()) || (text.contains('%') && self.hits(&unescaped(text.as_bytes())))
    }

    /// Whether one stands in the value of a header, as it is or inside of basic authentication.
    pub(crate) fn hits_value(&self, value: &[u8]) -> bool {
        self.hits(value) || basic(value).is_some_and(|pair| self.hits(&pair))
    }
}

/// The search through a body, part by part. It keeps less than one tag.
#[derive(Debug, Default)]
pub(crate) struct InBody {
    tail: Vec<u8>,
}

impl InBody {
    /// Whether a placeholder ends in this part.
    pub(crate) fn hits(&mut self, search: &Search, part: &[u8]) -> bool {
        let across = {
            let head = part.get(..KEPT).unwrap_or(part);
            self.tail.extend_from_slice(head);
            search.hits(&self.tail)
        };
        if part.len() >= KEPT {
            self.tail.clear();
            self.tail.extend_from_slice(part.get(part.len() - KEPT..).unwrap_or_default());
        } else {
            let surplus = self.tail.len().saturating_sub(KEPT);
            self.tail.drain(..surplus);
        }
        across || search.hits(part)
    }
}

/// One less than the longest form of a tag: the most of one that can stand at the end of a part without being one.
const KEPT: usize = (Tag::LENGTH * 8).div_ceil(6) - 2;

/// What stands in base64 (RFC 4648) wherever a text was encoded within a longer one: it may begin at any of the three bytes of a
/// group. Letters that depend on its neighbours are left out. Letters and digits give the same in both alphabets.
pub(crate) fn base64_forms(text: &str) -> impl Iterator<Item = String> {
    (0..3).map(move |before| {
        let encoded = STANDARD_NO_PAD.encode([&vec![0; before], text.as_bytes()].concat());
        let own = (before * 8).div_ceil(6)..((before + text.len()) * 8) / 6;
        encoded.get(own).unwrap_or_default().to_owned()
    })
}

/// The user and password of basic authentication, decoded (RFC 7617); none for any other value.
pub(crate) fn basic(value: &[u8]) -> Option<Vec<u8>> {
    let (scheme, rest) = scheme(value)?;
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    STANDARD.decode(rest).ok()
}

/// The scheme of a value and what comes after it and its spaces.
pub(crate) fn scheme(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = memchr::memchr(b' ', value)?;
    let (scheme, rest) = value.split_at_checked(space)?;
    Some((scheme, rest.trim_ascii()))
}

/// Percent-decoded, once (RFC 3986, 2.1). What is no escape stays.
pub(crate) fn unescaped(text: &[u8]) -> Cow<'_, [u8]> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let pair = (digit(after.first()), digit(after.get(1)));
        if let (b'%', (Some(high), Some(low))) = (first, pair) {
            plain.push(u8::try_from(high * 16 + low).unwrap_or(b'%'));
            rest = after.get(2..).unwrap_or_default();
        } else {
            plain.push(*first);
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE;

    use super::*;

    fn tag() -> Tag {
        Tag::new(&[7; 32])
    }

    #[test]
    fn a_placeholder_is_found_as_it_is_escaped_and_in_basic_authentication() {
        let (tag, search) = (tag(), Search::new(&tag()).unwrap());
        let escaped = tag.as_str().bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
        assert!(search.hits_encoded(&format!("/a?b=c{escaped}d")), "{escaped}");
        assert!(search.hits_encoded(&format!("/a?b=x{}y", tag.upper())));
        let pair = STANDARD.encode(format!("user:xx{}", tag.as_str()));
        assert!(search.hits_value(format!("bAsIc   {pair}").as_bytes()));
        assert!(search.hits_value(format!("Bearer sk-{}", tag.as_str()).as_bytes()));
        assert!(!search.hits_value(b"Bearer something") && !search.hits_encoded("/%zz%"));
    }

    #[test]
    fn a_placeholder_is_found_in_base64_wherever_it_begins_and_whatever_is_beside_it() {
        let (tag, search) = (tag(), Search::new(&tag()).unwrap());
        for form in [tag.as_str(), tag.upper()] {
            for before in 0..9 {
                for around in [0x00, 0xff, b'"', b'A'] {
                    let text = [&vec![around; before], form.as_bytes(), &[around; 5]].concat();
                    for engine in [&STANDARD, &URL_SAFE] {
                        let body = format!("{{\"content\":\"{}\"}}", engine.encode(&text));
                        assert!(search.hits(body.as_bytes()), "{before} {around} {body}");
                        for size in [1, 2, 3, 7, 11, 12, 13, 14, 20] {
                            let mut seen = InBody::default();
                            let mut parts = body.as_bytes().chunks(size);
                            assert!(parts.any(|part| seen.hits(&search, part)), "parts of {size}");
                        }
                    }
                }
            }
            for found in base64_forms(form) {
                assert!((12..=KEPT + 1).contains(&found.len()), "{found}");
            }
        }
    }

    #[test]
    fn a_placeholder_is_found_across_every_border_of_parts() {
        let (tag, search) = (tag(), Search::new(&tag()).unwrap());
        let body = format!("{{\"key\":\"sk-{}abc\"}}", tag.as_str()).into_bytes();
        for size in 1..body.len() {
            let mut seen = InBody::default();
            assert!(body.chunks(size).any(|part| seen.hits(&search, part)), "parts of {size}");
            assert!(seen.tail.len() <= KEPT * 2);
        }
        let mut seen = InBody::default();
        assert!(!std::iter::repeat_n(b"harmless".as_slice(), 100).any(|part| seen.hits(&search, part)));
    }
}
