//! Bytes that an agent chose: kept exactly, cut to a bound, and never shown raw.

use std::fmt::{self, Display, Write};

use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};

/// Bytes chosen by an agent, cut to a bound with the length and digest of the whole.
///
/// The bytes need not be UTF-8. [`Display`] escapes control characters, so that printing one to a terminal
/// cannot move the cursor or forge a line (attack C9, L4).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Captured {
    #[cbor(n(0), with = "minicbor::bytes")]
    shown: Vec<u8>,
    #[n(1)]
    whole: Option<Whole>,
}

/// What was there before [`Captured`] was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Whole {
    /// Length in bytes before the cut.
    #[n(0)]
    pub length: u64,
    /// SHA-256 of all the bytes before the cut.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub sha256: [u8; 32],
}

impl Captured {
    /// Keeps at most `bound` bytes of `bytes`; what is cut is represented by its length and digest.
    #[must_use]
    pub fn cut(bytes: &[u8], bound: usize) -> Self {
        match bytes.get(..bound) {
            Some(shown) if bytes.len() > bound => Self {
                shown: shown.to_vec(),
                whole: Some(Whole {
                    length: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
                    sha256: Sha256::digest(bytes).into(),
                }),
            },
            Some(_) | None => Self { shown: bytes.to_vec(), whole: None },
        }
    }

    /// Keeps a path. Linux bounds one at 4,096 bytes (`PATH_MAX`), and so does this.
    #[must_use]
    pub fn path(bytes: &[u8]) -> Self {
        Self::cut(bytes, 4096)
    }

    /// The same, kept to at most `bound` bytes; the length and digest stay those of the whole.
    #[must_use]
    pub fn shortened(&self, bound: usize) -> Self {
        let cut = Self::cut(&self.shown, bound);
        Self { whole: self.whole.or(cut.whole), shown: cut.shown }
    }

    /// The bytes that were kept.
    #[must_use]
    pub fn shown(&self) -> &[u8] {
        &self.shown
    }

    /// What stands behind the bytes for what was cut; empty where nothing was.
    #[must_use]
    pub fn what_was_cut(&self) -> String {
        self.whole.map(|whole| format!("… ({} bytes)", whole.length)).unwrap_or_default()
    }

    /// The length and digest of the whole, when it was cut.
    #[must_use]
    pub fn whole(&self) -> Option<Whole> {
        self.whole
    }
}

impl From<&str> for Captured {
    fn from(text: &str) -> Self {
        Self::path(text.as_bytes())
    }
}

impl Display for Captured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(&self.shown, f)?;
        f.write_str(&self.what_was_cut())
    }
}

/// Writes bytes so that they are safe on a terminal and unambiguous: printable text as it is, everything else
/// (controls, C1 controls, bidirectional overrides, invalid UTF-8, the backslash) as an escape.
///
/// # Errors
/// Only those of the formatter.
pub fn escape(bytes: &[u8], out: &mut impl Write) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.write_str("\\\\")?,
                c if c.is_control() || is_invisible(c) => write!(out, "{}", c.escape_unicode())?,
                c => out.write_char(c)?,
            }
        }
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

/// Characters that cannot be seen, or change how their neighbours are shown: Unicode's `Default_Ignorable_Code_Point`, the
/// categories Cf, Zl, Zp and Zs but for the space, and the empty pattern of Braille.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    // Most text has none, and can be told by its first comparison.
    c >= '\u{a0}' && INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// From `DerivedCoreProperties.txt` and `UnicodeData.txt`.
#[rustfmt::skip]
const INVISIBLE: &[(char, char)] = &[
    ('\u{a0}', '\u{a0}'), ('\u{ad}', '\u{ad}'), ('\u{34f}', '\u{34f}'), ('\u{600}', '\u{605}'), ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'), ('\u{70f}', '\u{70f}'), ('\u{890}', '\u{891}'), ('\u{8e2}', '\u{8e2}'), ('\u{115f}', '\u{1160}'),
    ('\u{1680}', '\u{1680}'), ('\u{17b4}', '\u{17b5}'), ('\u{180b}', '\u{180f}'), ('\u{2000}', '\u{200f}'),
    ('\u{2028}', '\u{202f}'), ('\u{205f}', '\u{206f}'), ('\u{2800}', '\u{2800}'), ('\u{3000}', '\u{3000}'),
    ('\u{3164}', '\u{3164}'), ('\u{fe00}', '\u{fe0f}'), ('\u{feff}', '\u{feff}'), ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'), ('\u{110bd}', '\u{110bd}'), ('\u{110cd}', '\u{110cd}'), ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'), ('\u{1d173}', '\u{1d17a}'), ('\u{e0000}', '\u{e0fff}'),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_bidi_overrides_are_escaped() {
        let shown = Captured::path(b"a\x1b[2Jb\n\xff\xe2\x80\xae\\").to_string();
        assert_eq!(shown, "a\\u{1b}[2Jb\\u{a}\\xff\\u{202e}\\\\");
    }

    #[test]
    fn what_cannot_be_seen_is_escaped() {
        assert!(INVISIBLE.iter().all(|(first, last)| first <= last));
        let marks = "\u{ad}\u{34f}\u{61c}\u{115f}\u{180e}\u{200b}\u{202e}\u{206a}\u{206f}\u{3164}\u{fe0f}\u{feff}\u{ffa0}\u{fff9}\u{fffb}";
        let tags_and_spaces = "\u{e0000}\u{e0041}\u{e0fff}\u{a0}\u{2003}\u{202f}\u{3000}";
        for c in marks.chars().chain(tags_and_spaces.chars()) {
            assert!(is_invisible(c), "{c:?}");
        }
        let seen = " aäß€→日\u{301}\u{1f600}\u{fffd}";
        assert_eq!(Captured::from(seen).to_string(), seen);
        assert_eq!(Captured::from("a\u{e0041}\u{a0}").to_string(), "a\\u{e0041}\\u{a0}");
    }

    #[test]
    fn a_cut_keeps_length_and_digest_of_the_whole() {
        let cut = Captured::cut(b"hello world", 5);
        assert_eq!(cut.shown(), b"hello");
        let whole = cut.whole().unwrap();
        assert_eq!(whole.length, 11);
        assert_eq!(whole.sha256, <[u8; 32]>::from(Sha256::digest(b"hello world")));
        assert_eq!(Captured::cut(b"hello", 5).whole(), None);
        assert_eq!(cut.shortened(3).whole(), Some(whole));
        assert_eq!(Captured::path(b"hello world").shortened(5), cut);
    }
}
